"""Mandates in the registry: which can be granted, who sees them, and who ends them."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.registry import mandates
from gateway.registry.agents import registration
from gateway.registry.organizations import changes as organizations
from gateway.registry.records import MandateRecord
from tests.gateway.conftest import ACTOR, ORG, Home

GRANTOR = "acme"
DAY = 86400 * 10**9


@pytest.fixture
def sides(home: Home) -> Home:
    """A home whose `acme` has the agent `buyer`; the other organization has the agent `bot`."""
    by: dict[str, Any] = {"actor": ACTOR}
    for name in (GRANTOR, "initech"):
        organizations.create_organization(home.registry, **by, name=name)
    registration.register_agent(home.registry, **by, organization=GRANTOR, name="buyer", owner="ada@acme.example")
    return home


def grant(home: Home, **more: Any) -> MandateRecord:
    of: dict[str, Any] = {
        "agent": "buyer",
        "to": home.agent(),
        "actions": ["chat.*"],
        "for_ns": DAY,
        "purpose": "drill",
    }
    return mandates.grant(
        home.registry, actor=ACTOR, organization=GRANTOR, **{**of, "amount_microusd": 1_000_000, **more}
    )


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"actions": []}, "invalid_scope"),
        ({"for_ns": 0}, "invalid_duration"),
        ({"for_ns": 400 * DAY}, "invalid_duration"),
        ({"purpose": ""}, "purpose_missing"),
        ({"requests": 0}, "invalid_limit"),
        ({"amount_microusd": -1}, "invalid_amount"),
        ({"to": "globex/nobody"}, "unknown_agent"),
        ({"to": "agt_0198f0f5-0000-7000-8000-000000000000"}, "unknown_agent"),
        ({"to": "buyer"}, "invalid_mandate"),
    ],
)
def test_a_mandate_that_cannot_be_is_refused(sides: Home, more: dict[str, Any], code: str) -> None:
    with pytest.raises(GatewayError) as caught:
        grant(sides, **more)
    assert caught.value.code == code


def test_only_its_sides_see_it_and_only_the_grantor_ends_it(sides: Home) -> None:
    made, registry = grant(sides), sides.registry
    assert [each.id for each in mandates.mandates(registry, ORG)] == [made.id]
    assert mandates.mandate(registry, GRANTOR, made.id) == mandates.mandate(registry, ORG, made.id)
    assert mandates.mandates(registry, "initech") == []
    with pytest.raises(GatewayError):
        mandates.mandate(registry, "initech", made.id)
    for organization in ("initech", ORG):
        with pytest.raises(GatewayError):
            mandates.revoke(registry, actor=ACTOR, organization=organization, mandate=made.id)
    assert mandates.revoke(registry, actor=ACTOR, organization=GRANTOR, mandate=made.id).state == "revoked"
    with pytest.raises(GatewayError):
        mandates.revoke(registry, actor=ACTOR, organization=GRANTOR, mandate=made.id)
