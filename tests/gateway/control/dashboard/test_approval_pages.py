"""Many calls are answered on the Approvals page: those that were chosen, and all that wait."""

from __future__ import annotations

import re

import pytest

from gateway.approvals import batches, reviews
from gateway.control.dashboard.pages import approvals
from gateway.policy.approvals import Requirement
from gateway.registry.agents.changes import suspend_agent
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.dashboard import matrix
from tests.gateway.control.dashboard.conftest import Served, text_of

PAGE = "/dashboard/o/default/approvals"


def waiting(served: Served, many: int, agent: str = "bot", *demanded: Requirement) -> list[str]:
    identifier = served.home.agent(agent)
    return [asked(served.home, identifier, *demanded, body=b"%d" % number) for number in range(many)]


def state(served: Served, request: str) -> str:
    return reviews.one(served.home.registry, ORG, request).state


def said(page: str) -> str:
    return " ".join(text_of(page).split())


def row(page: str, request: str) -> str:
    """The text of a request's row."""
    (found,) = (each for each in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if request in each)
    return said(found)


def test_the_chosen_calls_are_approved_that_the_person_has_looked_at(served: Served) -> None:
    first, second, third = waiting(served, 3)
    person, other = served.person("olga"), served.person("tom")
    for each in (first, third):
        assert person.post(f"{PAGE}/{each}/look").status_code == 200
    other.post(f"{PAGE}/{second}/look")
    page = person.page(PAGE)
    assert page.count('name="chosen"') == 3
    assert [("by you" in row(page, each)) for each in (first, second, third)] == [True, False, True]
    assert "2 of the 3 that wait here" in page
    done = person.post(f"{PAGE}/several/approve", {"chosen": f"{first},{second}", "reason": "fine"})
    assert done.status_code == 200
    assert "1 call was reviewed." in done.text
    assert "1 call was left as before" in done.text
    assert "you have not looked at its call: open it and look first" in row(done.text, second)
    assert f'href="{PAGE}/{second}"' in done.text
    assert [state(served, each) for each in (first, second, third)] == ["approved", "waiting", "waiting"]
    page = person.page(PAGE)
    assert page.count('name="chosen"') == 2  # what is answered cannot be chosen
    denied = person.post(f"{PAGE}/several/deny", {"chosen": f"{first},{second},{third}", "reason": "no"})
    assert "2 calls were reviewed." in denied.text
    assert "it is approved already" in row(denied.text, first)
    assert "chosen" not in person.page(PAGE)


def test_a_form_that_is_sent_twice_is_answered_twice_and_made_once(served: Served) -> None:
    (request,) = waiting(served, 1, "bot", Requirement("big", denials=2))
    person = served.person()
    fields = {"chosen": request, "reason": "no", "once": "the-same"}
    for _ in range(2):
        assert "1 call was reviewed." in person.post(f"{PAGE}/several/deny", fields).text
    assert len(reviews.one(served.home.registry, ORG, request).reviews) == 1


def test_a_choice_of_nothing_and_a_denial_without_a_reason_change_nothing(served: Served) -> None:
    (request,) = waiting(served, 1)
    person = served.person()
    none = person.post(f"{PAGE}/several/approve", {"reason": "x"})
    assert (none.status_code, "no call was chosen" in none.text) == (422, True)
    assert person.post(f"{PAGE}/several/deny", {"chosen": request, "reason": ""}).status_code == 422
    assert person.post(f"{PAGE}/several/revoke", {"chosen": request, "reason": "x"}).status_code == 404
    assert state(served, request) == "waiting"


def test_who_may_not_review_is_offered_nothing(served: Served) -> None:
    waiting(served, 1)
    viewer = served.person("vic", "viewer", ORG)
    page = viewer.page(PAGE)
    assert ("chosen" in page, "deny-all" in page, "Deny" in page) == (False, False, False)
    assert "No call waits that you may review." in viewer.page(f"{PAGE}/deny-all")


def test_all_that_wait_are_denied_after_their_count_was_shown(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps, of which each visit makes some: nothing is done that the page has not counted before."""
    monkeypatch.setattr(batches, "MOST", 2)
    monkeypatch.setattr(approvals, "_STEPS", 2)
    (other,) = waiting(served, 1, "other")
    mine = waiting(served, 5)
    (gone,) = waiting(served, 1, "gone")
    person = served.person()
    page = person.page(f"{PAGE}/deny-all", agent="bot")
    assert "5 calls of 1 agent wait that you may review, agent “bot”." in said(page)
    assert "gateway approvals deny --all --agent bot --reason REASON" in page
    page = person.page(f"{PAGE}/deny-all")
    assert "7 calls of 3 agents wait that you may review." in said(page)
    late = asked(served.home, served.home.agent("late"))
    suspend_agent(served.home.registry, actor=ACTOR, organization=ORG, agent="gone")
    (*_, form) = (each for each in matrix.links(page).forms if each[1] == f"{PAGE}/deny-all")
    done = person.post(f"{PAGE}/deny-all", {**form[2], "reason": "not today"})
    assert ("4 calls were denied." in done.text, "3 calls of 2 agents wait still" in said(done.text)) == (True, True)
    assert 'value="not today"' in done.text
    (*_, form) = (each for each in matrix.links(done.text).forms if each[1] == f"{PAGE}/deny-all")
    done = person.post(f"{PAGE}/deny-all", form[2])
    assert ("6 calls were denied." in done.text, "None is left" in done.text) == (True, True)
    assert "its agent is not active" in row(done.text, gone)
    assert [state(served, each) for each in (*mine, other)] == ["denied"] * 6
    assert [state(served, each) for each in (gone, late)] == ["waiting"] * 2
    without = person.post(f"{PAGE}/deny-all", {"reason": "x", "agent": "late"})  # nobody has seen a count
    assert (without.status_code, without.headers["location"]) == (303, f"{PAGE}/deny-all?agent=late")
    assert state(served, late) == "waiting"
