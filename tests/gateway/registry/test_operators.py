"""Operators and their tokens in the registry."""

from __future__ import annotations

import time

import pytest
from sqlmodel import select

from gateway.errors import GatewayError
from gateway.identity import credentials, operator_roles
from gateway.registry.models import Outbox
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR, ORG, Home


def add(home: Home, name: str = "olga", role: str = "owner", organization: str | None = None) -> str:
    return operators.add_operator(home.registry, actor=ACTOR, organization=organization, name=name, role=role).id


def token(home: Home, name: str = "olga", organization: str | None = None, **more: object) -> str:
    made = operators.create_token(
        home.registry,
        home.peppers,
        actor=ACTOR,
        organization=organization,
        operator=name,
        **more,  # type: ignore[arg-type]
    )
    return made.text


def entries(home: Home) -> list[tuple[str, str, dict[str, object]]]:
    with home.registry.read() as session:
        rows = session.exec(select(Outbox).order_by(Outbox.position)).all()  # type: ignore[arg-type]
        return [(row.organization, row.entry["what"], row.entry["fields"]) for row in rows]


def test_an_operator_of_the_whole_gateway_is_in_the_log_of_the_deployment(home: Home) -> None:
    found = add(home)
    add(home, organization=ORG)
    (log, what, fields), (other, _, _) = entries(home)[-2:]
    assert (log, what, other) == ("system", "operator.added", ORG)
    assert fields == {
        "operator": found,
        "operator_name": "olga",
        "operator_version": 1,
        "role": "owner",
        "status": "active",
    }


def test_names_are_unique_among_the_living_of_one_place(home: Home) -> None:
    create_organization(home.registry, actor=ACTOR, name="acme")
    for place in (None, ORG, "acme"):
        add(home, organization=place)
        with pytest.raises(GatewayError, match="exists already"):
            add(home, organization=place)
        assert operators.revoke_operator(home.registry, actor=ACTOR, organization=place, operator="olga")
        add(home, organization=place)
    assert [each.status for each in operators.operators(home.registry, "acme")] == ["revoked", "active"]


def test_an_operator_of_one_organization_is_not_found_in_another(home: Home) -> None:
    create_organization(home.registry, actor=ACTOR, name="acme")
    mine = add(home, organization=ORG)
    for place in (None, "acme"):
        with pytest.raises(GatewayError, match="unknown operator"):
            operators.operator(home.registry, place, mine)


def test_a_token_is_stored_as_a_hash_and_dies_with_its_operator(home: Home) -> None:
    add(home)
    text = token(home, lifetime_ns=3600 * 10**9)
    parsed = credentials.parse(text)
    assert parsed is not None
    assert parsed.kind == "operator"
    assert text.split("_")[3].encode() not in home.data.registry_db.read_bytes()
    with home.registry.read() as session:
        found = operators.by_credential(session, parsed.id)
    assert found is not None
    row, holder, record = found
    assert credentials.matches(parsed, row.digest, home.peppers.current)
    assert (holder.name, record.status(time.time_ns())) == ("olga", "active")
    assert record.status(time.time_ns() + 3601 * 10**9) == "expired"
    operators.revoke_operator(home.registry, actor=ACTOR, organization=None, operator="olga", reason="left")
    assert [each.status(time.time_ns()) for each in operators.tokens(home.registry, None, "olga")] == ["revoked"]
    with pytest.raises(GatewayError, match="is revoked"):
        token(home)
    assert "secret" not in repr(entries(home))
    assert text not in repr(entries(home))


def test_history_says_who_and_why(home: Home) -> None:
    add(home, role="viewer")
    update = {"actor": "local:7", "organization": None, "operator": "olga", "role": "admin"}
    assert operators.update_operator(home.registry, **update, reason="promoted") is not None  # type: ignore[arg-type]
    assert operators.update_operator(home.registry, **update) is None  # type: ignore[arg-type]
    found = operators.operator_versions(home.registry, None, "olga")
    assert [(each.role, each.actor, each.reason) for each in found] == [
        ("viewer", ACTOR, ""),
        ("admin", "local:7", "promoted"),
    ]


OWNERS_ONLY = {"organizations", "operators", "token-keys", "secret-keys", "content"}


@pytest.mark.parametrize(
    ("role", "reads", "writes"),
    [
        ("owner", set(operator_roles.NOUNS), set(operator_roles.NOUNS)),
        ("admin", set(operator_roles.NOUNS), set(operator_roles.NOUNS) - OWNERS_ONLY),
        ("auditor", set(operator_roles.NOUNS), set()),
        ("viewer", set(operator_roles.NOUNS) - {"operators", "secret-keys", "content", "audit"}, set()),
        ("nobody", set(), set()),
    ],
)
def test_roles(role: str, reads: set[str], writes: set[str]) -> None:
    assert {noun for noun in operator_roles.NOUNS if operator_roles.may(role, noun, write=False)} == reads
    assert {noun for noun in operator_roles.NOUNS if operator_roles.may(role, noun, write=True)} == writes


def test_scopes() -> None:
    assert operator_roles.within(None, "agents", write=True)
    assert operator_roles.within(["read"], "agents", write=False)
    assert not operator_roles.within(["read", "teams:write"], "agents", write=True)
    assert operator_roles.within(["agents:write"], "agents", write=False)
    assert operator_roles.narrower(["agents:read"], ["agents:write"])
    assert operator_roles.narrower(["agents:read"], ["read"])
    assert not operator_roles.narrower(["read"], ["agents:read"])
    assert not operator_roles.narrower(None, ["read"])
    with pytest.raises(GatewayError) as raised:
        operator_roles.check_scopes(["agent:write"])
    assert raised.value.hint == "did you mean `agents:write`?"
    with pytest.raises(GatewayError, match="without any scope"):
        operator_roles.check_scopes([])
