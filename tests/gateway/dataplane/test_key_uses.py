"""Records of used keys: the time of the last use, and hashes that move to the newest pepper."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing

import pytest

from gateway.audit import storage
from gateway.errors import Denied, GatewayError
from gateway.identity.api_keys import ApiKeys
from gateway.identity.credentials import Peppers, Rehash
from gateway.identity.principals import Principal, Principals
from gateway.registry import queries
from gateway.registry.keys.rotation import Terms, rotate_key
from gateway.registry.reader import RegistryReader
from gateway.registry.secret_keys import peppers
from gateway.runtime import key_uses
from gateway.runtime.key_uses import KeyUses
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ACTOR, ORG, Home, at_once
from tests.rigs.dataplane.key_uses import duties

HOUR = 3_600_000_000_000


def admit(home: Home, text: str, uses: KeyUses, known: Peppers | None = None) -> Principal:
    """Let a key in as a worker does."""
    reader = RegistryReader(home.data.registry_db)
    try:
        principals = Principals([ApiKeys(reader, known or Peppers.load(home.data.keys), uses)])
        return at_once(principals.get(home.credential(text), at_once(reader.epochs()).authority))
    finally:
        reader.close()


def test_a_use_is_known_to_the_hour(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    key = home.key()
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    now = time.time_ns()
    principal = admit(home, key, uses)
    uses.close()
    first = key_uses.read(home.data.runtime_db, [principal.key_id])[principal.key_id]
    assert now <= first <= time.time_ns()
    for later, written in ((HOUR // 2, False), (HOUR + 1, True)):
        monkeypatch.setattr(time, "time_ns", lambda then=first + later: then)
        uses.note(principal.key_id, None)
        assert (principal.key_id in uses._changed) is written
    uses.close()
    assert key_uses.read(home.data.runtime_db, [principal.key_id])[principal.key_id] == first + HOUR + 1


def test_a_key_that_ends_soon_is_known_to_the_minute(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    now = time.time_ns()
    for later, written in ((0, True), (HOUR // 100, False), (HOUR // 60, True)):
        monkeypatch.setattr(time, "time_ns", lambda then=now + later: then)
        uses.note("key_1", now + HOUR)
        assert ("key_1" in uses._changed) is written
        uses.close()


def test_a_key_that_is_refused_is_not_used(home: Home) -> None:
    home.agent()
    right, wrong = home.key(), home.key()
    mixed = right[:20] + wrong[20:-6]
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    from gateway.identity import credentials

    mixed += credentials._check_digits(mixed.encode())
    with pytest.raises(Denied):
        admit(home, mixed, uses)
    uses.close()
    keys = [each.id for each in queries.keys(home.registry, ORG)]
    assert len(keys) == 2
    assert key_uses.read(home.data.runtime_db, keys) == {}


def test_workers_share_the_newest_use(home: Home) -> None:
    for time_ns in (5, 9, 7):
        uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
        uses._changed["key_1"] = time_ns
        uses.close()
    assert key_uses.read(home.data.runtime_db, ["key_1"]) == {"key_1": 9}


def test_what_could_not_be_written_is_written_later(home: Home) -> None:
    async def test() -> None:
        uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
        uses.note("key_1", None)
        home.data.runtime_db.mkdir()  # no file can be there
        task = asyncio.create_task(uses.run())
        while not (uses._complaint and uses._changed):  # noqa: ASYNC110  # a thread brings it about
            await asyncio.sleep(0.01)
        home.data.runtime_db.rmdir()
        task.cancel()
        assert "key_1" in uses._changed
        uses.close()

    asyncio.run(test())
    assert "key_1" in key_uses.read(home.data.runtime_db, ["key_1"])


def test_a_hash_moves_to_the_newest_pepper_when_its_key_is_used(home: Home) -> None:
    home.agent()
    used, unused = home.key(), home.key()
    assert peppers.add(home.registry, home.data.keys, ACTOR) == 2
    assert [(each.version, each.keys) for each in peppers.uses(home.registry, home.data.keys)] == [(1, 2), (2, 0)]
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    for _ in range(3):
        admit(home, used, uses)
    uses.close()
    assert len(key_uses.waiting(home.data.runtime_db, 10)) == 1
    moving = duties(home)
    moving.move_hashes()
    moving._writer.close()
    assert key_uses.waiting(home.data.runtime_db, 10) == []
    assert [(each.version, each.keys) for each in peppers.uses(home.registry, home.data.keys)] == [(1, 1), (2, 1)]
    assert admit(home, used, uses).name == admit(home, unused, uses).name == "bot"
    with pytest.raises(GatewayError, match="1 key that work"):
        peppers.remove(home.registry, home.data.keys, ACTOR, 1)


def test_a_pepper_that_nobody_needs_can_go(home: Home) -> None:
    home.agent()
    key = home.key()
    peppers.add(home.registry, home.data.keys, ACTOR)
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    admit(home, key, uses)
    uses.close()
    moving = duties(home)
    moving.move_hashes()
    moving._writer.close()
    peppers.remove(home.registry, home.data.keys, ACTOR, 1)
    assert not (home.data.keys / "pepper.1").exists()
    assert admit(home, key, uses).name == "bot"
    with pytest.raises(GatewayError, match="newest"):
        peppers.remove(home.registry, home.data.keys, ACTOR, 2)


def test_a_hash_that_nobody_with_the_pepper_made_is_left_out(home: Home) -> None:
    """An attacker who can write `runtime.db` alone cannot give a key another secret."""
    home.agent()
    mine, theirs = home.key(), home.key()
    peppers.add(home.registry, home.data.keys, ACTOR)
    known = Peppers.load(home.data.keys)
    with home.registry.read() as session:
        old = queries.find_key(session, queries.find_organization(session, ORG), mine).digest
    genuine = Rehash.make(home.credential(mine), old, known)
    other = Rehash.make(home.credential(theirs), old, known)
    forged = [
        genuine._replace(new=other.new),
        genuine._replace(old=other.old, new=other.new, seal=bytes(32)),
        genuine._replace(credential=other.credential),
        genuine._replace(pepper=9),
        other._replace(credential=genuine.credential),
    ]
    assert peppers.move(home.registry, known, forged, ACTOR) == 0
    assert peppers.move(home.registry, known, [genuine, genuine], ACTOR) == 1


def test_a_worker_finds_a_new_pepper(home: Home) -> None:
    known = Peppers.load(home.data.keys)
    peppers.add(home.registry, home.data.keys, ACTOR)
    assert known.newest == 1
    known.look()
    assert known.newest == 2


def test_a_retiring_key_that_is_still_used_is_told_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    home.agent()
    old = home.key()
    rotated = rotate_key(
        home.registry,
        home.peppers,
        actor=ACTOR,
        organization=ORG,
        terms=Terms(4 * HOUR),
        deliver=lambda _: None,
        key=old,
    )
    uses = KeyUses(RuntimeStore(home.data.runtime_db), home.peppers)
    start = time.time_ns()

    def reminders() -> int:
        for reminding in (duties(home), duties(home)):  # also after a new start
            reminding.remind()
            reminding.remind()
            reminding._writer.close()
        with closing(storage.connect_read_only(home.data.audit_db)) as db:
            leaves = [leaf for (leaf,) in db.execute("SELECT leaf FROM entry")]
        return sum(b"key.retiring_in_use" in leaf for leaf in leaves)

    admit(home, old, uses)
    uses.close()
    assert reminders() == 0
    monkeypatch.setattr(time, "time_ns", lambda: start + 3 * HOUR + HOUR // 2)
    assert reminders() == 0  # nobody has used it since
    uses.note(rotated.old.id, rotated.old.expires_ns)
    uses.close()
    assert reminders() == 1
