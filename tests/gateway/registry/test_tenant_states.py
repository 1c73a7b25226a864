"""Teams, organizations and emergency stops: what they let in, what they leave as it was, and what they record."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sqlmodel import col, select

from gateway.errors import Denied, GatewayError
from gateway.identity import public_keys
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principals
from gateway.registry import emergency_stops
from gateway.registry.agents.changes import AgentUpdate, retire_agent, revoke_agent, suspend_agent, update_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.keys.public_keys import add_public_key
from gateway.registry.keys.rotation import Rotated, Terms, rotate_key
from gateway.registry.keys.spiffe_ids import add_spiffe_id
from gateway.registry.models import Outbox
from gateway.registry.organizations import queries as tenants
from gateway.registry.organizations.changes import (
    create_organization,
    resume_organization,
    resume_team,
    revoke_organization,
    revoke_team,
    suspend_organization,
    suspend_team,
)
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, ORG, Home, at_once

PUBLIC = public_keys.generate("ed25519").public_key()
WHO: dict[str, Any] = {"actor": ACTOR, "organization": ORG}


class Door:
    """The fate of the next request with a key: `in`, or the code and the detail of its refusal."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._reader = RegistryReader(home.data.registry_db)
        self._principals = Principals([ApiKeys(self._reader, home.peppers)])

    def __call__(self, key: str) -> str:
        epoch = at_once(self._reader.epochs()).authority
        try:
            at_once(self._principals.get(self._home.credential(key), epoch))
        except Denied as denied:
            return f"{denied.code} {denied.detail}"
        return "in"

    def text(self, key: str) -> str:
        with pytest.raises(Denied) as caught:
            at_once(self._principals.get(self._home.credential(key), at_once(self._reader.epochs()).authority))
        return caught.value.text

    def close(self) -> None:
        self._reader.close()


@pytest.fixture
def door(home: Home) -> Iterator[Door]:
    made = Door(home)
    yield made
    made.close()


@pytest.fixture
def keys(home: Home) -> dict[str, str]:
    """A key of an agent in a team, of one in no team, and of one in another organization with the same team's name."""
    home.agent("member", team="support")
    home.agent("lonely")
    create_organization(home.registry, actor=ACTOR, name="acme")
    register_agent(home.registry, actor=ACTOR, organization="acme", name="stranger", team="support")
    stranger = create_key(home.registry, home.peppers, actor=ACTOR, organization="acme", agent="stranger")
    return {"member": home.key("member"), "lonely": home.key("lonely"), "stranger": stranger.text}


def fates(door: Door, keys: dict[str, str]) -> list[str]:
    return [door(key) for key in keys.values()]


def told(registry: Registry) -> list[tuple[str, str, str]]:
    """The entries that wait for the log: whose log, what, why."""
    with registry.read() as session:
        rows = session.exec(select(Outbox).order_by(col(Outbox.position))).all()
        return [(row.organization, row.entry["what"], row.entry["fields"].get("reason", "")) for row in rows]


def test_a_team_decides_over_its_agents_and_no_others(home: Home, door: Door, keys: dict[str, str]) -> None:
    assert fates(door, keys) == ["in", "in", "in"]
    assert suspend_team(home.registry, team="support", reason="leak", **WHO) is not None
    assert fates(door, keys) == ["agent_suspended team_suspended", "in", "in"]
    assert door.text(keys["member"]).endswith("until its operator resumes it: its team is suspended")
    assert suspend_team(home.registry, team="support", **WHO) is None
    assert resume_team(home.registry, team="support", **WHO) is not None
    assert resume_team(home.registry, team="support", **WHO) is None
    assert fates(door, keys) == ["in", "in", "in"]
    assert revoke_team(home.registry, team="support", reason="gone", **WHO) is not None
    assert revoke_team(home.registry, team="support", **WHO) is None
    assert fates(door, keys) == ["bad_credentials team_revoked", "in", "in"]
    assert told(home.registry)[-3:] == [
        (ORG, "team.suspended", "leak"),
        (ORG, "team.resumed", ""),
        (ORG, "team.revoked", "gone"),
    ]


def test_an_organization_decides_over_its_agents_and_no_others(home: Home, door: Door, keys: dict[str, str]) -> None:
    assert suspend_organization(home.registry, reason="unpaid", **WHO) is not None
    suspended = "agent_suspended organization_suspended"
    assert fates(door, keys) == [suspended, suspended, "in"]
    assert resume_organization(home.registry, **WHO) is not None
    assert fates(door, keys) == ["in", "in", "in"]
    assert revoke_organization(home.registry, **WHO) is not None
    revoked = "bad_credentials organization_revoked"
    assert fates(door, keys) == [revoked, revoked, "in"]
    assert [what for _, what, _ in told(home.registry)][-3:] == [
        "organization.suspended",
        "organization.resumed",
        "organization.revoked",
    ]
    found = {each.name: each.status for each in tenants.organization_records(home.registry)}
    assert found == {ORG: "revoked", "acme": "active"}


def rotated(home: Home, agent: str) -> Rotated:
    terms = Terms(overlap_ns=10**9)
    return rotate_key(home.registry, home.peppers, terms=terms, deliver=list, agent=agent, **WHO)


def test_an_agent_that_has_ended_is_named_as_the_reason(home: Home) -> None:
    home.agent()
    home.key()
    retire_agent(home.registry, agent="bot", **WHO)
    with pytest.raises(GatewayError) as caught:
        rotated(home, "bot")
    assert caught.value.code == "agent_retired"


def test_nothing_comes_back_from_a_revoked_team(home: Home, door: Door, keys: dict[str, str]) -> None:
    revoke_team(home.registry, team="support", **WHO)
    for attempt in (
        lambda: resume_team(home.registry, team="support", **WHO),
        lambda: suspend_team(home.registry, team="support", **WHO),
        lambda: update_agent(home.registry, agent="member", update=AgentUpdate(team="other"), **WHO),
        lambda: update_agent(home.registry, agent="member", update=AgentUpdate(team=""), **WHO),
        lambda: update_agent(home.registry, agent="lonely", update=AgentUpdate(team="support"), **WHO),
        lambda: home.agent("new", team="support"),
        lambda: home.key("member"),
        lambda: rotated(home, "member"),
        lambda: add_public_key(home.registry, PUBLIC, agent="member", **WHO),
        lambda: add_spiffe_id(home.registry, "spiffe://example.org/member", agent="member", **WHO),
    ):
        with pytest.raises(GatewayError, match="team `support` is revoked"):
            attempt()
    assert fates(door, keys) == ["bad_credentials team_revoked", "in", "in"]
    # Its agents can still be ended themselves.
    assert revoke_agent(home.registry, agent="member", **WHO) is not None


def test_nothing_comes_back_from_a_revoked_organization(home: Home, door: Door, keys: dict[str, str]) -> None:
    revoke_organization(home.registry, **WHO)
    for attempt in (
        lambda: resume_organization(home.registry, **WHO),
        lambda: home.agent("new"),
        lambda: home.key("lonely"),
        lambda: rotated(home, "lonely"),
        lambda: add_public_key(home.registry, PUBLIC, agent="lonely", **WHO),
        lambda: add_spiffe_id(home.registry, "spiffe://example.org/lonely", agent="lonely", **WHO),
        lambda: update_agent(home.registry, agent="lonely", update=AgentUpdate(owner="x"), **WHO),
    ):
        with pytest.raises(GatewayError, match=f"organization `{ORG}` is revoked"):
            attempt()


def test_a_stop_is_one_row_and_its_end_restores_what_was(home: Home, door: Door, keys: dict[str, str]) -> None:
    suspend_agent(home.registry, agent="lonely", **WHO)
    before = fates(door, keys)
    assert before == ["in", "agent_suspended suspended", "in"]
    stop, begun = emergency_stops.stop(home.registry, actor=ACTOR, organization=None, reason="drill")
    assert (begun, stop.organization, stop.reason, stop.actor) == (True, None, "drill", ACTOR)
    assert fates(door, keys) == ["agent_suspended all_stopped"] * 3
    assert door.text(keys["stranger"]).endswith(": all agents are stopped")
    again, begun = emergency_stops.stop(home.registry, actor="local:7", organization=None, reason="again")
    assert (begun, again) == (False, stop)
    # A stop of an organization beside it stays when the other ends.
    emergency_stops.stop(home.registry, reason="leak", **WHO)
    assert [each.organization for each in emergency_stops.stops(home.registry)] == [None, ORG]
    assert emergency_stops.resume(home.registry, actor=ACTOR, organization=None) is not None
    assert fates(door, keys) == ["agent_suspended organization_stopped"] * 2 + ["in"]
    # Changes made meanwhile are not undone either.
    suspend_team(home.registry, team="support", **WHO)
    assert emergency_stops.resume(home.registry, reason="over", **WHO) is not None
    assert emergency_stops.resume(home.registry, **WHO) is None
    assert fates(door, keys) == ["agent_suspended team_suspended", "agent_suspended suspended", "in"]
    assert [each for each in told(home.registry) if each[1].startswith("agents.")] == [
        ("system", "agents.stopped", "drill"),
        (ORG, "agents.stopped", "leak"),
        ("system", "agents.resumed", ""),
        (ORG, "agents.resumed", "over"),
    ]


def test_a_dead_key_is_not_told_of_a_stop(home: Home, door: Door, keys: dict[str, str]) -> None:
    emergency_stops.stop(home.registry, actor=ACTOR, organization=None, reason="drill")
    revoke_key(home.registry, key=keys["member"][:19], **WHO)
    assert door(keys["member"]) == "bad_credentials revoked"
    revoke_agent(home.registry, agent="lonely", **WHO)
    assert door(keys["lonely"]) == "bad_credentials revoked"


def test_a_stop_says_why(home: Home) -> None:
    for reason in ("", "  ", "two\nlines"):
        with pytest.raises(GatewayError) as caught:
            emergency_stops.stop(home.registry, reason=reason, **WHO)
        assert caught.value.code == "invalid_reason"
    with pytest.raises(GatewayError, match="unknown organization `acne`"):
        emergency_stops.stop(home.registry, actor=ACTOR, organization="acne", reason="x")
    assert emergency_stops.stops(home.registry) == []
