"""The pages of decisions and policies, with a real repository: explanations beside the source, other revisions."""

from __future__ import annotations

import html
import re
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from dulwich.repo import Repo

from gateway.audit import search
from gateway.errors import GatewayError
from gateway.policy.rollout.proposals import Proposals
from gateway.policy.rollout.revisions import MAX_FILE
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR
from tests.gateway.control.dashboard.conftest import Served, text_of
from tests.gateway.control.dashboard.policies import POLICY, TEST, Policies
from tests.gateway.control.dashboard.test_pages import check

pytestmark = pytest.mark.slow  # many requests each; the quick tests have `test_pages.py` and `test_sessions.py`

HERE = "/dashboard/o/default"
REFUSED = ("invalid_file", "policies_file", "invalid_bundle")
"""Files that no proposal may have."""


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
    assert marked == {"6": "allowed", "8": "denied"}
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


def edit(policies: Policies, commit: str = "", file: str = "starter%2Fauthz.rego") -> str:
    return f"{HERE}/policies/commits/{commit or policies.head}/edit/{file}"


def said(text: str, file: str = "starter/authz.rego") -> dict[str, str]:
    """The fields of the form for a file that was changed."""
    return {"file.0": file, "text.0": text}


def test_a_commit_has_its_files_its_changes_and_its_check(served: Served, policies: Policies) -> None:
    policies.activate()
    first = policies.head
    second = policies.commit({"starter/authz.rego": POLICY.replace('"gpt-4o"', '"gpt-5"')}, "Allow gpt-5\n\nAsked for")
    person = served.person()
    listed = person.page(f"{HERE}/policies")
    assert f'href="{HERE}/policies/commits/{second}"' in listed
    assert "Allow gpt-5" in listed
    assert ">not looked at<" in listed
    page = person.page(f"{HERE}/policies/commits/{second[:9]}")
    assert "Asked for" in page
    assert '<li class="less">-allow if input.resource.model in {&#34;gpt-4o&#34;' in page
    assert '<li class="more">+allow if input.resource.model in {&#34;gpt-5&#34;' in page
    text = person.page(f"{HERE}/policies/commits/{second}/files/starter%2Fauthz.rego")
    assert text.count("<li id=") == len(POLICY.splitlines())
    found = person.page(f"{HERE}/policies/commits/{second}/check")
    assert "tests_failed" in found
    assert 'class="failed"' in found
    assert "authz_test.rego:5" in text_of(found)
    good = text_of(person.page(f"{HERE}/policies/commits/{first}/check"))
    assert "Nothing was found" in good
    assert re.search(r"starter\s+1\s+[\d.]+ %\s+starter/authz.rego : \d+", good), good
    compared = person.page(f"{HERE}/policies/commits/{second}/changes", since=second)
    assert "No file differs" in compared
    for path in ("nowhere", "0123456", "%00", f"{second}/files/starter", f"{second}/files/..%2F..%2Fetc%2Fpasswd"):
        answer = person.get(f"{HERE}/policies/commits/{path}")
        assert (answer.status_code, "unknown_" in answer.text) == (404, True), path


def test_a_commit_that_cannot_be_read_says_why(served: Served, policies: Policies) -> None:
    broken = policies.commit({"starter/authz.rego": "package starter.authz\n\nallow if {\n", "starter/.manifest": "{"})
    person = served.person()
    found = text_of(person.page(f"{HERE}/policies/commits/{broken}/check"))
    assert "bad_manifest" in found
    gone = policies.commit(dict.fromkeys(("starter/.manifest", "starter/authz_test.rego")))
    for page in ("", "/check"):
        assert "so nobody asks its rule" in text_of(person.page(f"{HERE}/policies/commits/{gone}{page}"))


def test_without_a_repository_the_page_says_so(served: Served) -> None:
    page = served.person().page(f"{HERE}/policies")
    assert "the policies repository cannot be read" in page
    assert "is not a git repository" in page


def tree(served: Served) -> dict[str, bytes]:
    """What somebody who works in the repository sees: the files, the index, and what is checked out."""
    top = served.home.data.policies
    seen = [each for each in top.rglob("*") if each.is_file() and ".git" not in each.parts]
    return {str(each): each.read_bytes() for each in [*seen, top / ".git/index", top / ".git/HEAD"]}


def test_a_change_is_checked_then_proposed_on_a_branch(served: Served, policies: Policies) -> None:
    policies.activate()
    head, person, before = policies.head, served.person("olga"), tree(served)
    form = person.page(edit(policies))
    assert "tool.type == &#34;web_search&#34;" in form
    fields = {"branch": "no-search", "message": "Allow the search", "act": "check"}
    wrong = person.post(edit(policies), {**fields, "act": "propose", **said(POLICY.replace("allow if", "allow if {"))})
    assert (wrong.status_code, "compile_failed" in wrong.text) == (422, True)
    assert 'class="failed"' in wrong.text, "the finding stands beside its line"
    assert "allow if {" in wrong.text, "nothing has to be typed again"
    text = POLICY.replace('"web_search"', '"code"').replace("\n", "\r\n")  # as browsers send it
    looked = person.post(edit(policies), {**fields, **said(text), "branch": ""})
    assert (looked.status_code, "Nothing was made yet" in looked.text) == (200, True)
    with Repo(str(served.home.data.policies)) as repo:
        assert list(repo.refs.keys(b"refs/heads/")) == [b"main"]
    made = person.post(edit(policies), {**fields, "act": "propose", **said(text)})
    assert (made.status_code, "proposals/no-search" in made.text) == (201, True), text_of(made.text)
    tip = policies.tip("proposals/no-search")
    bundle = policies.bundles(tip)["starter"]
    assert bundle["authz.rego"] == POLICY.replace('"web_search"', '"code"').encode()
    assert bundle[".manifest"] == policies.bundles(head)["starter"][".manifest"]
    with Repo(str(served.home.data.policies)) as repo:
        commit = repo[tip.encode()]
        assert (commit.parents, commit.author, commit.message) == (
            [head.encode()],
            b"olga <olga@gateway>",
            b"Allow the search\n",
        )
    assert (policies.head, tree(served)) == (head, before)
    assert "proposals/no-search" in person.page(f"{HERE}/policies")
    with served.api._context.log() as log:
        entries = [each.entry for each in search.matching(log, 50, search.Filters(kind="change"), 500).found]
    (entry,) = [each for each in entries if each["what"] == "policies.proposed"]
    assert (entry["branch"], entry["commit"], entry["base"]) == ("proposals/no-search", tip, head)
    # The next one goes on from the branch; one of another commit does not move it.
    stale = person.post(edit(policies), {**fields, "act": "propose", **said(POLICY + "\n# stale\n")})
    assert (stale.status_code, "begin again from there" in stale.text) == (422, True)
    onward = person.post(edit(policies, tip), {**fields, "act": "propose", **said(POLICY + "\n# more\n")})
    assert onward.status_code == 201
    with Repo(str(served.home.data.policies)) as repo:
        assert repo[policies.tip("proposals/no-search").encode()].parents == [tip.encode()]


def test_rules_change_with_their_tests_and_new_files_in_one_proposal(served: Served, policies: Policies) -> None:
    policies.activate()
    person, text = served.person(), POLICY.replace('"gpt-4o"', '"gpt-5"')
    moving = person.get(edit(policies, "main"))
    assert (moving.status_code, moving.headers["location"]) == (303, edit(policies))
    form = person.page(edit(policies))
    assert re.findall(r'name="file.\d" value="([^"]*)"', form) == [
        "starter/authz.rego",
        "starter/.manifest",
        "starter/authz_test.rego",
        "",
    ]
    fields = {**said(text), "branch": "five", "act": "propose"}
    assert "tests_failed" in person.post(edit(policies), fields).text
    fields |= {"file.1": "starter/authz_test.rego", "text.1": TEST.replace("gpt-4o", "gpt-5")}
    fields |= {"file.2": "starter/more.rego", "text.2": "package starter.more\r\n\r\nlimit := 3\r\n"}
    made = person.post(edit(policies), fields)
    assert made.status_code == 201, text_of(made.text)
    found = policies.bundles(policies.tip("proposals/five"))["starter"]
    assert found["more.rego"] == b"package starter.more\n\nlimit := 3\n"
    assert b"gpt-5" in found["authz_test.rego"]
    elsewhere = person.post(edit(policies), {**fields, "file.2": "../x.rego", "branch": "six"})
    assert (elsewhere.status_code, "invalid_bundle" in elsewhere.text or "acceptable" in elsewhere.text) == (422, True)


def test_two_people_propose_at_once_and_one_of_them_does(served: Served, policies: Policies) -> None:
    policies.activate()
    person = served.person()
    csrf = person.csrf(person.page(f"{HERE}/policies"))

    def send(number: int) -> int:
        fields = {"csrf": csrf, "branch": "race", "act": "propose", **said(f"{POLICY}\n# number {number}\n")}
        return person.post(edit(policies), fields).status_code

    with ThreadPoolExecutor(4) as threads:
        found = sorted(threads.map(send, range(4)))
    assert found == [201, 422, 422, 422]
    with Repo(str(served.home.data.policies)) as repo:
        assert repo[policies.tip("proposals/race").encode()].parents == [policies.head.encode()]


def test_nothing_is_proposed_where_it_must_not_be(served: Served, policies: Policies) -> None:
    """Whatever branch and file is named, and whatever they lead to."""
    policies.activate()
    head = policies.head
    place = str(served.home.data.policies)

    def refused(branch: str, file: str = "starter/authz.rego", text: str | None = POLICY + "\n# x\n") -> str:
        source = Proposals(served.home.data.policies)
        with pytest.raises(GatewayError) as error:
            source.draft(branch, None, {file: None if text is None else text.encode()})
        return error.value.code

    for branch in (
        "../main",
        "proposals/../main",
        "a/b",
        "-x",
        "x.lock",
        "x..y",
        "x y",
        "é",
        "x" * 90,
        "refs/heads/main",
    ):
        assert refused(branch) == "invalid_branch", branch
    for file in (".git/config.rego", "starter/.git/x.rego", "starter/../other/x.rego", "x.rego", "starter/a\nb.rego"):
        assert refused("fine", file) in REFUSED, file
    for file in (
        "starter/run.sh",
        "starter",
        "starter/authz.rego/x.rego",
        "/etc/x.rego",
        "starter/" + "x" * 2000 + ".rego",
    ):
        assert refused("fine", file) in REFUSED, file
    assert refused("fine", text="x" * (MAX_FILE + 1)) == "invalid_file"
    assert refused("fine", text=POLICY) == "nothing_changed"
    assert refused("fine", "starter/none.rego", None) == "unknown_file"
    (served.home.data.policies / ".git/refs/heads/proposals").mkdir()
    with Repo(place) as repo:
        repo.refs.set_symbolic_ref(b"refs/heads/proposals/link", b"refs/heads/main")
    assert refused("link") == "branch_followed"
    with Repo(place) as repo:
        repo.refs[b"refs/heads/proposals/open"] = head.encode()
        repo.refs.set_symbolic_ref(b"HEAD", b"refs/heads/proposals/open")
    assert refused("open") == "branch_checked_out"
    followed = Proposals(served.home.data.policies, ref="proposals/mine")
    with pytest.raises(GatewayError, match="follows"):
        followed.draft("mine", None, {"starter/authz.rego": b"x"})
    assert policies.tip("main") == head


def test_a_repository_elsewhere_or_that_cannot_be_written_says_what_to_do(served: Served, policies: Policies) -> None:
    source = Proposals(served.home.data.policies, remote="https://git.example/policies.git")
    draft = source.draft("mine", None, {"starter/authz.rego": b"package starter.authz\n"})
    with pytest.raises(GatewayError) as error:
        source.write(draft, author="olga", message="")
    assert (error.value.code, "push" in error.value.hint) == ("proposals_elsewhere", True)
    source = Proposals(served.home.data.policies)
    lock = served.home.data.policies / ".git/refs/heads/proposals/mine.lock"
    lock.parent.mkdir()
    lock.touch()  # git is at it
    draft = source.draft("mine", None, {"starter/authz.rego": b"package starter.authz\n"})
    with pytest.raises(GatewayError) as error:
        source.publish(draft, source.write(draft, author="olga", message=""))
    assert error.value.code == "proposal_moved"
    lock.unlink()
    lock.parent.rmdir()
    with Repo(str(served.home.data.policies)) as repo:
        repo.refs[b"refs/heads/proposals"] = policies.head.encode()  # so there is no directory for ours
    draft = source.draft("mine", None, {"starter/authz.rego": b"package starter.authz\n"})
    made = source.write(draft, author="olga", message="")
    with pytest.raises(GatewayError) as error:
        source.publish(draft, made)
    assert (error.value.code, "patch" in error.value.hint) == ("policies_not_writable", True)


def test_hostile_texts_of_a_repository_are_texts(served: Served, policies: Policies) -> None:
    """In file names, in policies, in what they say, in messages and in names of authors."""
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    body = f'package starter.authz\n\n# {evil} \u202e\u200b\ndeny contains "{evil[2:]}"\n'
    name = "starter/<img src=x onerror=alert(1)>.rego"
    commit = policies.commit(
        {"starter/authz.rego": body, name: f"package starter.more\n\n# {evil}\n"}, evil, f"{evil[:-1]} <x@x>"
    )
    decision = policies.decided(policies.activate(), reasons=(evil[2:],))
    person = served.person()
    bad = policies.commit({name: f"package starter.more\n\n{evil}\n"}, evil)
    at = f"{HERE}/policies/commits/{commit}"
    file = quote(name, safe="")
    for path, shown in (
        (f"{HERE}/policies", evil),
        (at, evil),
        (f"{at}/files/{file}", evil),
        (f"{at}/edit/{file}", evil),
        (f"{at}/changes", evil),
        (f"{HERE}/policies/commits/{bad}/check", None),
        (f"{HERE}/decisions/{decision}", evil[2:]),
        (f"{HERE}/decisions/{decision}/again?commit={commit}", evil[2:]),
    ):
        page = person.page(path)
        check(page, None)
        assert shown is None or shown in text_of(page), path
        assert "\u202e" not in page or "/edit/" in path, path
    for text in (evil, "</textarea><script>alert(1)</script>"):
        answer = person.post(
            edit(policies, commit, file), {**said(text, name), "branch": text, "message": text, "act": "propose"}
        )
        assert answer.status_code == 422
        check(answer.text, None)
