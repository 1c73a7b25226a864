"""Several processes take turns on one log at random, die and have wrong clocks: balances are what the entries say.

The entries are added up here by a few lines of the test's own.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from gateway.audit import balances, recovery
from gateway.audit import writer as writers
from gateway.audit.errors import AuditError
from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.usage.reservation import CallReservation
from gateway.usage.standing import StandingBalances

if TYPE_CHECKING:
    from tests.gateway.audit.conftest import Log, Make

pytestmark = pytest.mark.slow

SCOPES = ["a", "b", "c", "d"]
BACK = 20 * 10**9
BEGIN = 1_763_164_800 * 10**9  # the middle of a month


def due(log: Log) -> dict[str, tuple[int, ...]]:
    """For each scope the open decisions, and the requests, tokens and reserved tokens of the month."""
    reserved: dict[str, dict[str, Any]] = {}
    sums: dict[str, list[int]] = {}
    for (leaf,) in log.rows("SELECT leaf FROM entry ORDER BY id"):
        entry = json.loads(leaf)
        if entry["kind"] == "decided" and entry["open"]:
            found = reserved[entry["id"]] = json.loads(entry["reservation_json"])
            more = 1, 1, found["tokens"], found["tokens"]
        elif entry["kind"] == "completed":
            found = reserved[entry["decision"]]
            tokens = found["tokens"]
            more = -1, entry["settled_requests"] - 1, entry["settled_tokens"] - tokens, -tokens
        else:
            continue
        for scope in found["scopes"]:
            sums[scope] = [a + b for a, b in zip(sums.get(scope, [0] * 4), more, strict=True)]
    return {scope: tuple(found) for scope, found in sums.items()}


def shown(values: list[int]) -> tuple[int, ...]:
    found = dict(zip(balances.VALUES, values, strict=True))
    return tuple(found[name] for name in ("open", "requests_month", "tokens_month", "reserved_tokens_month"))


class Turns:
    """Three places for processes, and what each can do. The clock of one may be behind."""

    def __init__(self, log: Log, make: Make, draw: random.Random) -> None:
        self._log, self._make, self._draw = log, make, draw
        self._behind = [0, 0, 0]
        self._writers: list[AuditWriter | None] = [None, None, None]
        self._open: list[tuple[Decided, AuditWriter]] = []
        self._reader = StandingBalances(log.data, dict)

    def take(self) -> str:
        place = self._draw.randrange(3)
        if (writer := self._writers[place]) is None:
            writer = self._log.writer(clock=lambda: BEGIN + time.monotonic_ns() % 10**15 - self._behind[place])
            self._writers[place] = writer
        acts: list[tuple[int, Callable[[AuditWriter, int], object]]] = [
            *((30, self.opens), (30, self.closes), (15, self.is_idle), (4, self.is_killed), (2, self.ends)),
            *((4, self.is_behind), (5, self.denies), (3, self.changes), (3, self.recovers), (8, self.is_read)),
        ]
        [act] = self._draw.choices([each for _, each in acts], [weight for weight, _ in acts])
        try:
            act(writer, place)
        except AuditError:
            if not self._behind[place]:
                raise
        return f"{place} {act.__name__}"

    def opens(self, writer: AuditWriter, _place: int) -> None:
        made = [self._make.decided(reservation=self._reservation()) for _ in range(self._draw.choice([1, 2, 12]))]
        for each, answer in zip(made, writer.write_all_sync(made), strict=True):
            if not isinstance(answer, AuditError):
                self._open.append((each, writer))

    def _reservation(self) -> CallReservation:
        scopes = tuple(self._draw.sample(SCOPES, self._draw.randrange(1, 4)))
        return CallReservation(organization="default", scopes=scopes, tokens=self._draw.randrange(100))

    def closes(self, writer: AuditWriter, _place: int) -> None:
        self._draw.shuffle(self._open)
        ended = [self._open.pop()[0] for _ in range(min(len(self._open), self._draw.randrange(1, 5)))]
        settled = [None, (1, self._draw.randrange(300), 0), (0, 0, 0)]
        writer.write_all_sync([self._make.completed(each, settled=self._draw.choice(settled)) for each in ended])

    def is_idle(self, writer: AuditWriter, _place: int) -> None:
        writer._write([])

    def is_killed(self, writer: AuditWriter, place: int) -> None:
        writer._log._kept = None  # it writes nothing more
        self.ends(writer, place)

    def ends(self, writer: AuditWriter, place: int) -> None:
        writer.close()
        self._writers[place] = None

    def is_behind(self, _writer: AuditWriter, place: int) -> None:
        self._behind[place] = self._draw.choice([0, 0, BACK])

    def denies(self, writer: AuditWriter, _place: int) -> None:
        writer.write_sync(self._make.decided(allow=False, reason="denied", open=False))

    def changes(self, writer: AuditWriter, _place: int) -> None:
        writer.write_sync(self._make.change())

    def recovers(self, writer: AuditWriter, _place: int) -> None:
        alive = [each.boot for each in self._writers if each is not None]
        recovery.recover(writer, alive)
        self._open = [(each, by) for each, by in self._open if by.boot in alive]

    def is_read(self, _writer: AuditWriter, _place: int) -> None:
        wanted = due(self._log)
        for scope in SCOPES:
            found = shown(self._reader.balance("default", scope, now=True).values())
            assert found == wanted.get(scope, (0, 0, 0, 0)), scope


@pytest.mark.parametrize("seed", range(12))
def test_balances_are_what_the_entries_say(log: Log, make: Make, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    draw = random.Random(seed)
    monkeypatch.setattr(writers, "IDLE_SECONDS", 600)
    for module, name, values in (
        (balances, "WRITE_EVERY", (4, 10, 40, 512)),
        (balances, "_SHARED", (1, 3, 10)),
        (balances, "_REMEMBERED", (2, 5, 4096)),
        (balances, "_GROUPS", (2, 8192)),
        (writers, "BALANCES", (3, 8192)),
    ):
        monkeypatch.setattr(module, name, draw.choice(values))
    turns, taken = Turns(log, make, draw), []
    for _ in range(100):
        taken.append(turns.take())
        found = {scope: shown(balance.values()) for scope, balance in log.balances().items()}
        assert found == due(log), taken[-10:]
    log.close()
    assert log.verify().findings == []
