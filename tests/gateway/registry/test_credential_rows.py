"""The rows of credentials: what is shared is read once, and the two parts of a row are never of two states."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.identity.principals import CredentialRow
from gateway.registry import credential_rows
from gateway.registry.keys.changes import revoke_key
from gateway.registry.organizations import teams
from gateway.registry.organizations.changes import suspend_organization, suspend_team
from gateway.registry.policies.bindings import bind
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, ORG, Home, at_once


@pytest.fixture
def reader(home: Home) -> Iterator[RegistryReader]:
    opened = RegistryReader(home.data.registry_db)
    yield opened
    opened.close()


def row(reader: RegistryReader, home: Home, key: str) -> CredentialRow:
    found = at_once(reader.credential(home.credential(key).id))
    assert found is not None
    return found


def traced(reader: RegistryReader) -> list[str]:
    statements: list[str] = []
    reader._rows.set_trace_callback(statements.append)
    return statements


def shared(statements: list[str]) -> int:
    return sum("FROM organization o" in each for each in statements)


def test_agents_of_one_team_share_what_it_has(home: Home, reader: RegistryReader) -> None:
    teams.create_team(home.registry, actor=ACTOR, organization=ORG, name="support")
    keys = []
    for number in range(5):
        home.agent(f"bot-{number}", team="support" if number else "")
        keys.append(home.key(f"bot-{number}"))
    statements = traced(reader)
    for _ in range(2):
        assert [row(reader, home, key).team for key in keys] == ["", *["support"] * 4]
    assert shared(statements) == 2  # without a team, and with this one
    home.agent("another")  # authority has changed
    row(reader, home, keys[1])
    assert shared(statements) == 3


def test_bindings_of_all_three_subjects_are_together(home: Home, reader: RegistryReader) -> None:
    home.agent(team="support")
    home.activate("a", "b", "c")
    for kind, subject, bundle in (("agent", "bot", "a"), ("team", "support", "b"), ("organization", ORG, "c")):
        bind(
            home.registry,
            actor=ACTOR,
            organization=ORG,
            kind=kind,
            subject=subject,
            bundle=bundle,  # type: ignore[arg-type]  # one of three texts
        )
    bindings = row(reader, home, home.key()).bindings
    assert [found in bindings for found in ('"a"', '"b"', '"c"')] == [True] * 3


def test_a_suspended_team_is_seen_at_once(home: Home, reader: RegistryReader) -> None:
    teams.create_team(home.registry, actor=ACTOR, organization=ORG, name="support")
    home.agent(team="support")
    key = home.key()
    assert row(reader, home, key).team_status == "active"
    suspend_team(home.registry, actor=ACTOR, organization=ORG, team="support")
    assert row(reader, home, key).team_status == "suspended"


def test_a_change_between_the_two_parts_is_not_half_seen(home: Home, reader: RegistryReader) -> None:
    home.agent()
    key = home.key()

    def change(statement: str) -> None:
        if "FROM organization o" in statement and not done:
            done.append(statement)
            revoke_key(home.registry, actor=ACTOR, organization=ORG, key=key_id)
            suspend_organization(home.registry, actor=ACTOR, organization=ORG)

    key_id = row(reader, home, key).key_id
    home.agent("another")  # so that what is shared is read again
    done: list[str] = []
    reader._rows.set_trace_callback(change)
    found = row(reader, home, key)
    assert done
    assert (found.revoked_ns, found.organization_status) == (None, "active")
    found = row(reader, home, key)
    assert found.revoked_ns is not None
    assert found.organization_status == "suspended"


def test_an_unknown_credential_is_none_in_and_out_of_the_cache(home: Home, reader: RegistryReader) -> None:
    for _ in range(2):
        assert at_once(reader.credential("x" * 12)) is None
        assert at_once(reader.workload("spiffe://example.org/none")) is None
        assert at_once(reader.holder("key_none")) is None
        assert at_once(reader.holder("rul_none")) is None
        assert at_once(reader.legacy([b"x"])) is None
    assert not reader._rows.in_transaction


def test_what_is_kept_has_a_bound(home: Home, reader: RegistryReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(credential_rows, "_MOST", 3)
    keys = []
    for number in range(8):
        home.agent(f"bot-{number}", team=f"team-{number}")
        keys.append(home.key(f"bot-{number}"))
    assert [row(reader, home, key).team for key in keys] == [f"team-{number}" for number in range(8)]
    assert len(reader._credentials._shared) <= 3
