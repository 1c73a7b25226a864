"""Agents that nobody confirms: suspended in time whether or not it is written, recorded once, and never by surprise.

`machine.py` has them in any order with everything else.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlmodel import select

from gateway.errors import GatewayError
from gateway.registry import pages, queries
from gateway.registry.agents import reviews
from gateway.registry.agents.changes import AgentUpdate, resume_agent, review_agent, suspend_agent, update_agent
from gateway.registry.history import as_of
from gateway.registry.models import Outbox
from gateway.registry.organizations.changes import update_organization
from tests.gateway.conftest import ACTOR, ORG, Home

DAY = 86_400 * 10**9


class Days:
    """The clock, which stands still but for whole days."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._now = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: self._now)

    @property
    def now(self) -> int:
        return self._now

    def to(self, days: float, since: int) -> int:
        self._now = since + int(days * DAY)
        return self._now


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Days:
    return Days(monkeypatch)


def rule(home: Home, **parts: Any) -> None:
    update_organization(home.registry, actor=ACTOR, organization=ORG, **parts)


def review(home: Home, agent: str = "bot") -> None:
    review_agent(home.registry, actor=ACTOR, organization=ORG, agent=agent)


def state(home: Home, agent: str = "bot") -> str:
    return queries.agent(home.registry, ORG, agent).status


def suspensions(home: Home) -> list[dict[str, Any]]:
    with home.registry.read() as session:
        entries = [each.entry for each in session.exec(select(Outbox))]
    return [each for each in entries if each.get("what") == "agent.suspended"]


def test_it_holds_before_it_is_written_and_is_written_once(home: Home, days: Days) -> None:
    home.agent()
    begun = days.now
    rule(home, review_days=90, suspend_after_days=14)
    ends = begun + 104 * DAY
    for at, status in ((90, "active"), (103.9, "active"), (104, "suspended"), (110, "suspended")):
        days.to(at, begun)
        found = queries.agent(home.registry, ORG, "bot")
        assert (found.status, found.version, found.suspends_ns) == (status, 1, ends), at
        assert as_of.agent_at(home.registry, ORG, "bot").agents[0].agent.status == status
        for wanted in ("active", "suspended"):
            listed, _ = pages.agents(home.registry, ORG, after=None, limit=9, status=wanted)
            assert [each.status for each in listed] == ([wanted] if wanted == status else [])
    assert reviews.suspend_unconfirmed(home.registry, days.now) == [f"{ORG}/bot"]
    assert reviews.suspend_unconfirmed(home.registry, days.now) == []
    (entry,) = suspensions(home)
    assert (entry["actor"], entry["fields"]["agent_name"]) == ("gateway:review", "bot")
    assert "its review was due at" in entry["fields"]["reason"]
    assert entry["fields"]["reason"].endswith(", and 14 days have passed since")
    # As of any time it was what requests met, not what was written.
    for at, status in ((103.9, "active"), (104, "suspended"), (109, "suspended"), (110, "suspended")):
        then = as_of.agent_at(home.registry, ORG, "bot", begun + int(at * DAY)).agents[0].agent
        assert (then.status, then.version) == (status, 2 if at == 110 else 1), at


def test_a_late_review_does_not_resume(home: Home, days: Days) -> None:
    home.agent()
    begun = days.now
    rule(home, review_days=10, suspend_after_days=1)
    days.to(11, begun)
    with pytest.raises(GatewayError, match="was not reviewed in time, so it cannot be resumed") as caught:
        resume_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert caught.value.code == "review_overdue"
    assert suspensions(home) == []
    review(home)  # before the control process came
    assert len(suspensions(home)) == 1
    assert (state(home), queries.agent(home.registry, ORG, "bot").version) == ("suspended", 3)
    resume_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    assert state(home) == "active"
    days.to(21.9, begun)
    assert (state(home), reviews.suspend_unconfirmed(home.registry, days.now)) == ("active", [])
    days.to(22, begun)
    assert state(home) == "suspended"


def test_a_review_in_time_changes_nothing(home: Home, days: Days) -> None:
    home.agent()
    begun = days.now
    rule(home, review_days=10, suspend_after_days=1)
    days.to(10.9, begun)
    review(home)
    days.to(21.8, begun)
    assert (state(home), reviews.suspend_unconfirmed(home.registry, days.now)) == ("active", [])


def test_a_changed_period_does_not_undo_what_the_old_one_has_brought_about(home: Home, days: Days) -> None:
    for name in ("one", "two"):
        home.agent(name)
    begun = days.now
    rule(home, review_days=10, suspend_after_days=1)
    days.to(12, begun)
    update = AgentUpdate(review_days=300)
    update_agent(home.registry, actor=ACTOR, organization=ORG, agent="one", update=update)
    assert (state(home, "one"), len(suspensions(home))) == ("suspended", 1)
    rule(home, suspend_after_days=0)
    assert (state(home, "two"), len(suspensions(home))) == ("suspended", 2)
    for name in ("one", "two"):  # nothing asks for a review any more
        resume_agent(home.registry, actor=ACTOR, organization=ORG, agent=name)
    assert suspensions(home)[1]["actor"] == "gateway:review"


def test_a_rule_that_would_suspend_at_once_must_be_meant(home: Home, days: Days) -> None:
    for name in ("one", "two"):
        home.agent(name)
    home.agent("busy", review_days=400)
    begun = days.now
    rule(home, review_days=90)
    days.to(105, begun)
    with pytest.raises(GatewayError, match=r"this would suspend agents at once: `one`, `two`$") as caught:
        rule(home, suspend_after_days=14)
    assert caught.value.code == "would_suspend"
    rule(home, suspend_after_days=16)
    with pytest.raises(GatewayError, match="at once"):
        rule(home, review_days=80)
    rule(home, review_days=80, suspend_now=True)
    assert sorted(each["fields"]["agent_name"] for each in suspensions(home)) == ["one", "two"]
    assert state(home, "busy") == "active"


def test_what_is_suspended_or_has_ended_is_left_alone(home: Home, days: Days) -> None:
    from gateway.registry.agents.changes import retire_agent
    from gateway.registry.organizations.changes import revoke_organization

    for name in ("asleep", "ended", "bot"):
        home.agent(name)
    begun = days.now
    rule(home, review_days=10, suspend_after_days=1)
    suspend_agent(home.registry, actor=ACTOR, organization=ORG, agent="asleep")
    retire_agent(home.registry, actor=ACTOR, organization=ORG, agent="ended")
    days.to(20, begun)
    revoke_organization(home.registry, actor=ACTOR, organization=ORG)
    assert reviews.suspend_unconfirmed(home.registry, days.now) == []
    assert queries.agent(home.registry, ORG, "ended").suspends_ns is None


def test_many_are_suspended_in_several_transactions(home: Home, days: Days, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviews, "_AT_ONCE", 2)
    for number in range(5):
        home.agent(f"bot-{number}")
    begun = days.now
    rule(home, review_days=10, suspend_after_days=1)
    days.to(11, begun)
    assert len(reviews.suspend_unconfirmed(home.registry, days.now)) == len(suspensions(home)) == 5


@pytest.mark.parametrize("wrong", [-1, 367])
def test_what_the_days_must_not_be(home: Home, wrong: int) -> None:
    with pytest.raises(GatewayError, match="1 to 366 days after their review was due"):
        rule(home, suspend_after_days=wrong)
