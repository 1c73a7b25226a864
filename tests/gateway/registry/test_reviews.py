"""Agents that nobody confirms: warned of first, suspended later, and never without the warning."""

from __future__ import annotations

import time

import pytest
from sqlmodel import select

from gateway.errors import GatewayError
from gateway.identity.legacy_keys import AGENT as LEGACY
from gateway.registry import agent_updates, changes, inventory, queries, reviews
from gateway.registry.agent_updates import AgentUpdate
from gateway.registry.models import Outbox
from gateway.registry.tenant_changes import update_organization
from tests.gateway.conftest import ACTOR, ORG, Home

DAY = 86_400 * 10**9


def rule(home: Home, **parts: int) -> None:
    update_organization(home.registry, actor=ACTOR, organization=ORG, **parts)


def step(home: Home, days: float) -> tuple[list[str], list[str]]:
    """Who is warned and who is suspended so many days from now."""
    done = reviews.suspend_unconfirmed(home.registry, actor="gateway", now_ns=time.time_ns() + int(days * DAY))
    return [each.removeprefix(f"{ORG}/") for each in done.warned], [
        each.removeprefix(f"{ORG}/") for each in done.suspended
    ]


def state(home: Home, name: str) -> str:
    return queries.agent(home.registry, ORG, name).status


def told(home: Home, what: str) -> list[dict[str, object]]:
    with home.registry.read() as session:
        return [each.entry["fields"] for each in session.exec(select(Outbox)) if each.entry.get("what") == what]


def test_an_agent_is_warned_of_and_then_suspended(home: Home) -> None:
    home.agent("kept")
    home.agent("forgotten", owner="dana@acme.example")
    home.agent(LEGACY)
    home.agent("busy", review_days=400)
    rule(home, review_days=90)
    assert step(home, 300) == ([], [])  # nobody wants it
    rule(home, suspend_after_days=14)
    assert step(home, 89) == ([], [])
    assert step(home, 91) == (["kept", "forgotten"], [])
    (_, warning) = told(home, "agent.review_overdue")
    assert (warning["agent_name"], warning["owner"]) == ("forgotten", "dana@acme.example")
    agent_updates.review_agent(home.registry, actor=ACTOR, organization=ORG, agent="kept")
    assert step(home, 104) == (["kept"], [])  # the review was of today
    assert step(home, 106) == ([], ["forgotten"])
    assert (state(home, "forgotten"), state(home, "kept"), state(home, LEGACY)) == ("suspended", "active", "active")
    (entry,) = told(home, "agent.suspended")
    assert (entry["agent_name"], "review it" in str(entry["reason"])) == ("forgotten", True)
    # Resumed without a review it is warned of again, and not suspended a minute later.
    agent_updates.resume_agent(home.registry, actor=ACTOR, organization=ORG, agent="forgotten")
    assert step(home, 106) == (["forgotten"], [])
    assert step(home, 107) == ([], [])


def test_nobody_is_suspended_without_days_of_warning(home: Home) -> None:
    home.agent("one")
    rule(home, review_days=90, suspend_after_days=14)
    assert step(home, 500) == (["one"], [])  # the gateway was off for a year
    rule(home, suspend_after_days=1)
    assert step(home, 515) == (["one"], [])  # and then the rule changed
    agent_updates.update_agent(
        home.registry, actor=ACTOR, organization=ORG, agent="one", update=AgentUpdate(review_days=10)
    )
    assert step(home, 517) == (["one"], [])
    rule(home, review_days=30)
    assert step(home, 519) == (["one"], [])
    rule(home, suspend_after_days=0)
    assert step(home, 999) == ([], [])
    assert state(home, "one") == "active"


@pytest.mark.slow
def test_a_warning_ends_with_what_it_is_about(home: Home) -> None:
    for name in ("ended", "stays"):
        home.agent(name)
    rule(home, review_days=1, suspend_after_days=2)
    step(home, 2)
    changes.retire_agent(home.registry, actor=ACTOR, organization=ORG, agent="ended")
    tenant = inventory.take(home.registry, time.time_ns() + 2 * DAY).tenants[0]
    assert [(each.name, each.suspend_ns is not None) for each in tenant.agents] == [("stays", True)]
    assert step(home, 3) == ([], [])
    with home.registry.read() as session:
        assert len(reviews.warnings(session, queries.find_organization(session, ORG))) == 1
    assert step(home, 5) == ([], ["stays"])
    assert step(home, 5) == ([], [])


@pytest.mark.parametrize("days", [-1, 367])
def test_what_the_days_must_not_be(home: Home, days: int) -> None:
    with pytest.raises(GatewayError, match="1 to 366 days after a warning"):
        rule(home, suspend_after_days=days)
