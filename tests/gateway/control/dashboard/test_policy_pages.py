"""The pages of decisions and policies, with a real repository: explanations beside the source, other revisions."""

from __future__ import annotations

import html
import re

import pytest

from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR
from tests.gateway.control.dashboard.conftest import Served, text_of
from tests.gateway.control.dashboard.policies import POLICY, Policies
from tests.gateway.control.dashboard.test_pages import check

HERE = "/dashboard/o/default"


@pytest.fixture
def policies(served: Served) -> Policies:
    return Policies.made(served.home)


def test_an_explanation_stands_beside_the_lines_of_its_revision(served: Served, policies: Policies) -> None:
    first = policies.activate()
    decision = policies.decided(first)
    # What is in force now is another text, on other lines: the page shows the one that judged.
    policies.commit({"starter/authz.rego": POLICY.replace("# Only", "# Later: only")})
    policies.activate()
    page = served.person().page(f"{HERE}/decisions/{decision}")
    check(page, None)
    lines = dict(re.findall(r'<li id="b1-1-(\d+)" value="\d+"( class="\w+")?>', page))
    assert len(lines) == len(POLICY.splitlines())
    marked = {number: mark.split('"')[1] for number, mark in lines.items() if mark}
    assert marked == {"3": "tried", "6": "held", "8": "held"} or marked == {"6": "held", "8": "held"}, marked
    assert "# Only the models" in text_of(page)
    assert "Later" not in page
    assert 'href="#b1-1-8"' in page
    assert "Judged again now, the policies give the verdict that was recorded" in page


def test_another_revision_says_what_it_would_have_decided_and_why(served: Served, policies: Policies) -> None:
    decision = policies.decided(policies.activate())
    person, path = served.person(), f"{HERE}/decisions/{decision}/again"
    same = person.page(path)
    assert "The same verdict" in same
    assert "no file that can matter differs" in same
    loose = policies.commit({"starter/authz.rego": POLICY.replace('"web_search"', '"code"')})
    found = text_of(person.page(path, commit=loose[:10], bundle="starter"))
    assert "Another verdict" in found
    assert "denied policy_denied" in " ".join(found.split())
    assert f"gateway explain {decision} --commit {loose[:10]} --bundle starter" in found
    broken = policies.commit({"starter/authz.rego": "package starter.authz\n\nallow if {\n"})
    assert "It cannot be judged" in person.page(path, commit=broken)
    unknown = person.get(path, commit="nowhere")
    assert (unknown.status_code, "unknown_commit" in unknown.text) == (422, True)
    policies.commit({"starter/authz.rego": None, "starter/.manifest": None, "starter/authz_test.rego": None})
    gone = person.get(path, commit="main")
    assert (gone.status_code, "no bundle" in text_of(gone.text)) == (422, True)


def test_people_of_one_organization_try_what_was_in_force_alone(served: Served, policies: Policies) -> None:
    create_organization(served.home.registry, actor=ACTOR, name="acme")
    decision = policies.decided(policies.activate(), organization="acme")
    unseen = policies.commit({"starter/authz.rego": POLICY.replace("no web search", "a secret plan")})
    person = served.person("ada", "auditor", "acme")
    path = f"/dashboard/o/acme/decisions/{decision}/again"
    assert "The same verdict" in person.page(path)
    for name in (unseen, "main"):
        answer = person.get(path, commit=name)
        assert (answer.status_code, "secret plan" in answer.text) == (422, False)
    policies.activate()
    assert "a secret plan" in html.unescape(person.page(path, commit=unseen))
    other = policies.decided(policies.activate())
    assert person.get(f"/dashboard/o/acme/decisions/{other}/again").status_code == 404


def test_content_that_is_not_kept_is_said(served: Served, policies: Policies) -> None:
    decision = policies.decided(policies.activate())
    reads = POLICY + '\ndeny contains "too warm" if input.request.body.temperature > 1\n'
    commit = policies.commit({"starter/authz.rego": reads.replace('"web_search"', '"code"')})
    found = text_of(served.person().page(f"{HERE}/decisions/{decision}/again", commit=commit))
    assert "Perhaps another verdict" in found
    assert "content is not kept, and policies read it: request.body.temperature" in found
