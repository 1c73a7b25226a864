"""Rotation: the new key begins, the old one ends by itself, and a revocation ends it at once."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

from gateway.errors import Denied, GatewayError
from gateway.identity.api_keys import ApiKeys
from gateway.identity.key_scope import scope
from gateway.identity.principals import Principals
from gateway.registry import outbox, queries
from gateway.registry.history import as_of
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.keys.rotation import Rotated, Terms, rotate_key, rotate_many
from gateway.registry.reader import RegistryReader
from tests.gateway.conftest import ACTOR, ORG, Home, at_once

DAY = 86_400_000_000_000


def nothing(rotated: Sequence[Rotated]) -> None:
    """For keys that a test takes from the result."""


def rotate(home: Home, **what: object) -> Rotated:
    terms = what.pop("terms", Terms(DAY))
    return rotate_key(
        home.registry,
        home.peppers,
        actor=ACTOR,
        organization=ORG,
        terms=terms,
        deliver=nothing,
        **what,  # type: ignore[arg-type]  # keywords pass through
    )


def works(home: Home, text: str) -> bool:
    reader = RegistryReader(home.data.registry_db)
    try:
        principals = Principals([ApiKeys(reader, home.peppers)])
        at_once(principals.get(home.credential(text), at_once(reader.epochs()).authority))
    except Denied:
        return False
    finally:
        reader.close()
    return True


def test_both_keys_work_until_the_overlap_is_over(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    old = home.key()
    rotated = rotate(home, agent="bot")
    assert works(home, old)
    assert works(home, rotated.new.text)
    now = time.time_ns()
    assert rotated.old.status(now) == "retiring"
    assert rotated.new.record.expires_ns is None
    monkeypatch.setattr(time, "time_ns", lambda: now + DAY + 1)
    assert not works(home, old)
    assert works(home, rotated.new.text)
    assert rotated.old.status(now + DAY + 1) == "expired"


@pytest.mark.parametrize("lifetime_ns", [None, 30 * DAY])
def test_what_is_told_of_before_a_rotation_has_the_expiry_of_then(home: Home, lifetime_ns: int | None) -> None:
    home.agent()
    made = create_key(home.registry, home.peppers, actor=ACTOR, organization=ORG, agent="bot", lifetime_ns=lifetime_ns)
    before_ns = time.time_ns()
    rotated = rotate(home, agent="bot")
    told = {at_ns: as_of.agent_at(home.registry, ORG, "bot", at_ns).agents[0].keys for at_ns in (before_ns, as_of.NOW)}
    assert [each.expires_ns for each in told[before_ns]] == [made.record.expires_ns]
    assert [each.expires_ns for each in told[as_of.NOW]] == [rotated.old.expires_ns, rotated.new.record.expires_ns]


def test_a_revocation_beats_the_overlap(home: Home) -> None:
    home.agent()
    old = home.key()
    rotate(home, key=old)
    assert revoke_key(home.registry, actor=ACTOR, organization=ORG, key=old) is not None
    assert not works(home, old)


def test_scope_and_lifetime_are_carried_over(home: Home) -> None:
    home.agent()
    made = create_key(
        home.registry,
        home.peppers,
        actor=ACTOR,
        organization=ORG,
        agent="bot",
        lifetime_ns=3 * DAY,
        scope=scope(models=["gpt-4o*"], networks=["10.0.0.0/8"]),
    )
    rotated = rotate(home, agent="bot", terms=Terms(10 * DAY))
    new = rotated.new.record
    assert new.scope == made.record.scope == {"models": ["gpt-4o*"], "networks": ["10.0.0.0/8"]}
    assert new.expires_ns == new.created_ns + 3 * DAY
    # The overlap does not make a key last longer than it was made for.
    assert rotated.old.expires_ns == made.record.expires_ns


def test_a_key_is_replaced_once_and_two_work_at_most(home: Home) -> None:
    home.agent()
    first = home.key()
    rotated = rotate(home, agent="bot")
    with pytest.raises(GatewayError, match="replaced already") as caught:
        rotate(home, key=first)
    assert rotated.new.record.id in caught.value.message
    with pytest.raises(GatewayError, match="which is retiring"):
        rotate(home, agent="bot")
    revoke_key(home.registry, actor=ACTOR, organization=ORG, key=first)
    rotate(home, agent="bot")
    with pytest.raises(GatewayError, match="is revoked"):
        rotate(home, key=first)


def test_which_key_must_be_said_if_there_are_two(home: Home) -> None:
    home.agent()
    with pytest.raises(GatewayError, match="no key that works"):
        rotate(home, agent="bot")
    home.key(), home.key()
    with pytest.raises(GatewayError, match="2 keys in use"):
        rotate(home, agent="bot")


def test_many_keys_in_one_transaction(home: Home) -> None:
    for name in ("a", "b", "c"):
        home.agent(name, team="red")
    home.agent("other", team="blue")
    for name in ("a", "b", "other"):
        home.key(name)
    seen: list[str] = []

    def failing(rotated: Sequence[Rotated]) -> None:
        seen.extend(each.new.text for each in rotated)
        raise GatewayError("file_unusable", "the disk is full")

    terms = Terms(DAY)
    with pytest.raises(GatewayError, match="the disk is full"):
        rotate_many(
            home.registry, home.peppers, actor=ACTOR, organization=ORG, terms=terms, team="red", deliver=failing
        )
    assert len(seen) == 2
    assert not any(works(home, text) for text in seen)
    rotated, skipped = rotate_many(
        home.registry, home.peppers, actor=ACTOR, organization=ORG, terms=terms, team="red", deliver=nothing
    )
    assert [each.old.agent for each in rotated] == ["a", "b"]
    assert [each.agent for each in skipped] == ["c"]
    assert all(works(home, each.new.text) for each in rotated)
    assert [each.status(time.time_ns()) for each in queries.keys(home.registry, ORG, "other")] == ["active"]
    with pytest.raises(GatewayError, match="has no agent"):
        rotate_many(
            home.registry, home.peppers, actor=ACTOR, organization=ORG, terms=terms, team="green", deliver=nothing
        )


def test_the_entry_names_both_keys(home: Home) -> None:
    home.agent()
    old = home.key()
    rotated = rotate(home, agent="bot", terms=Terms(DAY, reason="the laptop was lost"))
    entry = outbox._waiting(home.registry, 2**62)[-1].entry
    assert entry["fields"]["reason"] == "the laptop was lost"
    assert entry["what"] == "key.rotated"
    assert entry["fields"]["key"] == rotated.new.record.id
    assert entry["fields"]["replaces"] == rotated.old.id
    assert entry["fields"]["retires_ns"] == str(rotated.old.expires_ns)
    assert old not in str(entry)
    assert rotated.new.text not in str(entry)
