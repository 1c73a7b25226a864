"""Reviews of many requests at once: each as if it were alone, approved only by whoever has looked."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from gateway.approvals import batches, reviews
from gateway.approvals.batches import Choice, Span
from gateway.approvals.records import ReviewedRecord
from gateway.approvals.reviewers import Reviewer
from gateway.audit import grants
from gateway.audit.approval_scope import Scope
from gateway.errors import GatewayError
from gateway.policy.approvals import Requirement
from gateway.registry.agents.changes import AgentUpdate, suspend_agent, update_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.models import ApprovalRequest, Operator
from gateway.registry.organizations.changes import create_organization
from gateway.registry.organizations.teams import create_team
from tests.gateway.approvals.asked import asked
from tests.gateway.approvals.test_reviews import BIG, Desk, desk, refused
from tests.gateway.conftest import ACTOR, ORG

__all__ = ["desk"]


def look(desk: Desk, who: Reviewer, *requests: str) -> None:
    for each in requests:
        reviews.look(desk.home.registry, desk.home.vault, who, ORG, each)


def approve(desk: Desk, who: Reviewer, *requests: str, reason: str = "fine") -> list[ReviewedRecord]:
    return batches.approve(desk.home.registry, who, ORG, requests, reason)


def deny(desk: Desk, who: Reviewer, *requests: str) -> list[ReviewedRecord]:
    return batches.deny(desk.home.registry, who, ORG, requests, "no")


def outcomes(made: Sequence[ReviewedRecord]) -> list[str]:
    """The state of each, or the code of its refusal."""
    return [each.state or (each.refused.code if each.refused else "") for each in made]


def deny_all(desk: Desk, who: Reviewer, span: Span | None = None) -> Counter[str]:
    """As a client does it: until none is left."""
    found: Counter[str] = Counter()
    while True:
        ids, span = batches.next_waiting(desk.home.registry, who, ORG, Choice(), span)
        assert len(ids) <= batches.MOST
        found.update(outcomes(deny(desk, who, *ids)))
        if span is None:
            return found


def test_only_what_somebody_has_looked_at_is_approved(desk: Desk) -> None:
    olga, tom = desk.person("olga"), desk.person("tom")
    first, second, third = (desk.ask(b"%d" % number).id for number in range(3))
    look(desk, olga, first, third)
    look(desk, tom, second)  # another person's look is no look
    made = approve(desk, olga, first, second, third, first)
    assert [each.id for each in made] == [first, second, third]
    assert outcomes(made) == ["approved", "not_looked_at", "approved"]
    assert made[1].refused is not None
    assert f"`gateway approvals show {second} --call`" in made[1].refused.hint
    assert [desk.state(each) for each in (first, second, third)] == ["approved", "waiting", "approved"]
    told = [(each["what"], each["approval"]) for each in desk.entries()][3 + 3 :]  # after the requests and looks
    assert told == [(what, each) for each in (first, third) for what in (grants.REVIEWED, grants.DECIDED)]
    assert desk.ask(b"0").state == "approved"


def test_a_call_that_differs_was_not_looked_at(desk: Desk) -> None:
    olga, first = desk.person("olga"), desk.ask(b"1")
    look(desk, olga, first.id)
    changed = desk.ask(b"1 ")
    demanded = desk.ask(b"1", BIG, Requirement("also"))  # a new revision wants more
    made = approve(desk, olga, first.id, changed.id, demanded.id)
    assert outcomes(made) == ["approved", "not_looked_at", "not_looked_at"]


def test_one_person_has_looked_by_whichever_operator(desk: Desk) -> None:
    olga, of_all, other = desk.person("olga"), desk.person("olga", "owner", None), desk.person("olga-too")
    with desk.home.registry.write() as session:
        for each in (olga, of_all):
            row = session.get(Operator, each.id)
            assert row is not None
            row.issuer, row.subject = "https://login.example", "7"
    request = desk.ask().id
    look(desk, of_all, request)
    assert batches.looked_at(desk.home.registry, olga, [request]) == {request}
    assert outcomes(approve(desk, other, request)) == ["not_looked_at"]
    assert outcomes(approve(desk, olga, request)) == ["approved"]


def test_each_is_reviewed_by_the_rule_of_a_single_one(desk: Desk) -> None:
    """Quorum, four eyes, named reviewers, what is over, what is unknown, and what another organization has."""
    dana, olga, tom = desk.person("dana"), desk.person("olga"), desk.person("tom")
    two = desk.ask(b"1", Requirement("big", quorum=2)).id
    eyes = desk.ask(b"2", Requirement("big", four_eyes=True)).id
    named = desk.ask(b"3", Requirement("law", operators=("olga",))).id
    denied, once = desk.ask(b"4").id, desk.ask(b"5", Requirement("big", scope=Scope(5, 7200, "small ones"))).id
    reviews.deny(desk.home.registry, tom, ORG, denied, "no")
    create_organization(desk.home.registry, actor=ACTOR, name="acme")
    theirs = register_agent(desk.home.registry, actor=ACTOR, organization="acme", name="bot").id
    foreign = asked(desk.home, theirs, organization="acme")
    look(desk, dana, two, once)
    made = approve(desk, dana, two, eyes, named, denied, "apr_nothing", foreign, once)
    assert outcomes(made) == [
        "waiting",
        "not_an_approver",
        "not_an_approver",
        "approval_settled",
        "unknown_approval",
        "unknown_approval",
        "approved",
    ]
    assert made[0].missing == [1]
    assert outcomes(approve(desk, dana, two)) == ["reviewed_before"]
    look(desk, olga, two, eyes, named)
    assert outcomes(approve(desk, olga, two, eyes, named)) == ["approved"] * 3
    found = reviews.one(desk.home.registry, ORG, once)
    assert (found.uses, found.for_pattern) == (1, False)  # nobody approves more than what they have looked at


def test_one_that_cannot_be_reviewed_any_more_leaves_the_others(desk: Desk) -> None:
    """While the reviewer chose, one has expired, one was denied, and the agent of one was suspended."""
    olga, tom = desk.person("olga"), desk.person("tom")
    good, expired, denied = (desk.ask(b"%d" % number).id for number in range(3))
    other = asked(desk.home, desk.home.agent("other"))
    look(desk, olga, good, expired, denied, other)
    with desk.home.registry.write() as session:
        row = session.get(ApprovalRequest, expired)
        assert row is not None
        row.expires_ns = time.time_ns()
    reviews.deny(desk.home.registry, tom, ORG, denied, "no")
    suspend_agent(desk.home.registry, actor=ACTOR, organization=ORG, agent="other")
    made = approve(desk, olga, expired, denied, other, good)
    assert outcomes(made) == ["approval_settled"] * 3 + ["approved"]
    assert [each.refused.detail for each in made if each.refused] == [
        "its time is over",
        "it is denied already",
        "its agent is not active",
    ]
    given = [each for each in desk.entries() if each["what"] == grants.REVIEWED and each["verdict"] == "approved"]
    assert [each["approval"] for each in given] == [good]


def test_one_that_fails_half_way_is_undone_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    olga, (first, second) = desk.person("olga"), [desk.ask(b"%d" % number).id for number in range(2)]
    settled = reviews.settled

    def fail_for_first(session: Any, tenant: Any, row: ApprovalRequest, *given: Any) -> None:
        if row.id == first:
            raise GatewayError("out_of_order", "it cannot be written down")
        settled(session, tenant, row, *given)

    monkeypatch.setattr(reviews, "settled", fail_for_first)
    assert outcomes(deny(desk, olga, first, second)) == ["out_of_order", "denied"]
    assert [desk.state(each) for each in (first, second)] == ["waiting", "denied"]
    assert reviews.one(desk.home.registry, ORG, first).reviews == []
    assert [each["approval"] for each in desk.entries() if each["what"] == grants.REVIEWED] == [second]
    reviews.look(desk.home.registry, desk.home.vault, olga, ORG, first)  # its call is still there


def test_a_reason_that_the_log_does_not_take_refuses_the_batch(desk: Desk) -> None:
    olga, request = desk.person("olga"), desk.ask().id
    refused("invalid_reason", lambda: batches.deny(desk.home.registry, olga, ORG, [request], "two\nlines"))
    assert desk.state(request) == "waiting"


def test_two_people_at_the_same_time(desk: Desk) -> None:
    """One approves what the other denies: each request has one outcome, and everybody is told which."""
    olga, tom = desk.person("olga"), desk.person("tom")
    requests = [desk.ask(b"%d" % number).id for number in range(30)]
    look(desk, olga, *requests)
    made: dict[str, list[ReviewedRecord]] = {"olga": [], "tom": []}
    start = threading.Barrier(2)

    def work(who: str) -> None:
        act, mine = (approve, requests) if who == "olga" else (deny, requests[::-1])
        start.wait(30)
        for part in range(0, len(mine), 5):
            made[who] += act(desk, olga if who == "olga" else tom, *mine[part : part + 5])

    threads = [threading.Thread(target=work, args=(who,)) for who in ("olga", "tom")]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    said = {who: dict(zip((one.id for one in given), outcomes(given), strict=True)) for who, given in made.items()}
    for request in requests:
        by = (said["olga"][request], said["tom"][request])
        assert by in (("approved", "approval_settled"), ("approval_settled", "denied"))
        assert desk.state(request) == (by[0] if by[0] == "approved" else "denied")
    decided = Counter(each["approval"] for each in desk.entries() if each["what"] == grants.DECIDED)
    assert decided == dict.fromkeys(requests, 1)


def test_all_that_wait_are_denied_beyond_one_step(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST", 10)
    olga = desk.person("olga")
    agents = [desk.agent, desk.home.agent("two"), desk.home.agent("three")]
    for number in range(25):
        desk.agent = agents[number % 2]
        desk.ask(b"%d" % number)
    desk.agent = agents[2]
    theirs = desk.ask(b"x", Requirement("law", operators=("lee",))).id
    found = batches.waiting(desk.home.registry, olga, ORG, Choice())
    assert (found.count, found.agents) == (25, 2)
    late = desk.ask(b"late").id  # after it was counted
    assert deny_all(desk, olga, span=found.span) == {"denied": 25}
    assert (desk.state(theirs), desk.state(late)) == ("waiting", "waiting")
    assert batches.waiting(desk.home.registry, olga, ORG, Choice()).count == 1
    assert deny_all(desk, olga) == {"denied": 1}
    assert batches.waiting(desk.home.registry, olga, ORG, Choice()) == batches.Waiting(count=0, agents=0, span=None)
    assert desk.state(theirs) == "waiting"


def test_those_of_others_are_passed_over_step_by_step(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are before the first one of the reviewer's own."""
    monkeypatch.setattr(batches, "_SCANNED", 3)
    monkeypatch.setattr(batches, "_READ", 2)
    olga = desk.person("olga")
    for number in range(8):
        desk.ask(b"%d" % number, Requirement("law", operators=("lee",)))
    mine = desk.ask(b"mine").id
    assert batches.waiting(desk.home.registry, olga, ORG, Choice()).count == 1
    assert batches.next_waiting(desk.home.registry, olga, ORG, Choice(), None)[0] == []
    assert deny_all(desk, olga) == {"denied": 1}
    assert desk.state(mine) == "denied"


def test_a_choice_of_those_that_wait(desk: Desk) -> None:
    registry, olga = desk.home.registry, desk.person("olga")
    create_team(registry, actor=ACTOR, organization=ORG, name="blue")
    update_agent(registry, actor=ACTOR, organization=ORG, agent="bot", update=AgentUpdate(team="blue"))
    big, small = desk.ask(b"1").id, desk.ask(b"2", Requirement("money", scope=Scope(3, 60, "Refunds below 9 EUR"))).id
    desk.agent = desk.home.agent("other")
    other = desk.ask(b"1").id
    for choice, wanted in (
        (Choice(), [big, small, other]),
        (Choice(agent="bot"), [big, small]),
        (Choice(agent=desk.agent), [other]),
        (Choice(team="blue"), [big, small]),
        (Choice(team="none"), []),
        (Choice(matching="BIG"), [big, other]),
        (Choice(matching="refunds below"), [small]),
        (Choice(agent="other", matching="money"), []),
    ):
        found = batches.waiting(registry, olga, ORG, choice)
        ids, left = batches.next_waiting(registry, olga, ORG, choice, found.span)
        assert (ids, left, found.count) == (wanted, None, len(wanted)), choice
    refused("unknown_agent", lambda: batches.waiting(registry, olga, ORG, Choice(agent="nobody")))


def test_the_count_has_only_what_the_person_may_review(desk: Desk) -> None:
    """Alike requests have the same reviewers, but not those for different persons or of different revisions."""
    login = "https://login.example"
    kim, dana, olga = desk.person("kim"), desk.person("dana"), desk.person("olga")
    with desk.home.registry.write() as session:
        row = session.get(Operator, kim.id)
        assert row is not None
        row.issuer, row.subject = login, "7"
    eyes = Requirement("big", four_eyes=True)
    for body, subject in ((b"1", "7"), (b"2", "8"), (b"3", "7"), (b"4", "")):
        desk.ask(body, eyes, person=(login, subject) if subject else None)
    asked_twice = desk.ask(b"5", Requirement("big", quorum=2)).id
    counts = {who.name: batches.waiting(desk.home.registry, who, ORG, Choice()).count for who in (kim, dana, olga)}
    assert counts == {"kim": 3, "dana": 1, "olga": 5}
    look(desk, olga, asked_twice)
    approve(desk, olga, asked_twice)
    assert batches.waiting(desk.home.registry, olga, ORG, Choice()).count == 4
    assert deny_all(desk, kim) == {"denied": 3}


def test_a_denial_that_needs_others_does_not_go_round(desk: Desk) -> None:
    olga = desk.person("olga")
    for number in range(3):
        desk.ask(b"%d" % number, Requirement("big", denials=2))
    assert deny_all(desk, olga) == {"waiting": 3}
    assert deny_all(desk, olga) == {}
    assert deny_all(desk, desk.person("tom")) == {"denied": 3}
