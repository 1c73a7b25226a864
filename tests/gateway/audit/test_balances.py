"""Balances and refusals against a small model: random calls, cuts, crashes, changes of limits and ends of windows.

The model keeps one sum for each scope and each single window there ever was, so it needs no rule for how a window
begins. After every operation all balances of the database must be the model's, and at the end the log must prove them.
"""

from __future__ import annotations

import functools
import random
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from gateway.audit import recovery
from gateway.audit.balances import USED, Balance
from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.usage.limits import COUNTERS, Applied, is_spend
from gateway.usage.reservation import CallReservation
from tests.gateway.audit.conftest import Log, Make

BEGIN = int(datetime(2026, 11, 29, 23, 50, tzinfo=UTC).timestamp())
AGENTS = {"agt_a": "red", "agt_b": "red", "agt_c": ""}
SCOPES = ("agent:agt_a", "agent:agt_b", "agent:agt_c", "team:red", "organization:default", "team:red model:m")
KINDS = ("minute", "hour", "day", "month")


@functools.lru_cache(maxsize=4096)
def window(kind: str, second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime(
        {"minute": "%Y-%m-%dT%H:%M", "hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "month": "%Y-%m"}[kind]
    )


@dataclass
class Call:
    decision: Decided
    scopes: tuple[str, ...]
    second: int
    tokens: int
    spend: int


@dataclass
class Model:
    """What must hold: sums by scope, metric and window, and the calls that are open."""

    used: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    held: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    open: list[Call] = field(default_factory=list)
    limits: dict[tuple[str, str], int] = field(default_factory=dict)

    def amounts(self, scope: str, counter: str, second: int) -> tuple[int, int]:
        if counter == "open":
            count = sum(scope in call.scopes for call in self.open)
            return count, count
        metric, _, kind = counter.rpartition("_")
        key = scope, metric, window(kind, second)
        return self.used[key], self.held[key]

    def has_room(self, call: Call) -> bool:
        need = {"requests": 1, "tokens": call.tokens, "spend_nanousd": call.spend}
        for (scope, name), value in self.limits.items():
            if scope not in call.scopes:
                continue
            counter = COUNTERS[name]
            used, _ = self.amounts(scope, counter, call.second)
            if used + need.get(counter.rpartition("_")[0], 1) > value * (1000 if is_spend(name) else 1):
                return False
        return True

    def add(self, call: Call, sign: int, amounts: tuple[int, int, int], *, held: bool) -> None:
        for scope in call.scopes:
            for kind in KINDS:
                for metric, amount in zip(("requests", "tokens", "spend_nanousd"), amounts, strict=True):
                    key = scope, metric, window(kind, call.second)
                    self.used[key] += sign * amount
                    if held and metric != "requests":
                        self.held[key] += sign * amount

    def reserve(self, call: Call) -> None:
        self.open.append(call)
        self.add(call, 1, (1, call.tokens, call.spend), held=True)

    def settle(self, call: Call, settled: tuple[int, int, int]) -> None:
        self.open.remove(call)
        self.add(call, -1, (1, call.tokens, call.spend), held=True)
        self.add(call, 1, settled, held=False)


class Rig:
    """The real writer on a clock of its own, and the model beside it."""

    def __init__(self, log: Log, seed: int) -> None:
        self.log = log
        self.random = random.Random(seed)
        self.second = BEGIN
        self.model = Model()
        self.boots = 0
        self.denied = 0
        self.writer = self.new_writer()
        self.db = sqlite3.connect(log.data.audit_db)

    def new_writer(self) -> AuditWriter:
        self.boots += 1
        return self.log.writer(boot=f"boot_{self.boots}", clock=lambda: self.second * 10**9)

    def call(self) -> None:
        agent, team = self.random.choice(list(AGENTS.items()))
        scopes = (f"agent:{agent}", *([f"team:{team}"] if team else []), "organization:default")
        if team and self.random.random() < 0.5:
            scopes = (*scopes, "team:red model:m")
        tokens, spend = self.random.randint(0, 50), self.random.randint(0, 5000)
        applied = tuple(
            Applied(name, scope, COUNTERS[name], value * (1000 if is_spend(name) else 1), "team:red", id="lim_1")
            for (scope, name), value in self.model.limits.items()
            if scope in scopes
        )
        wanted = CallReservation(
            organization="default", scopes=scopes, limits=applied, tokens=tokens, spend_nanousd=spend
        )
        decision = Make.decided(agent=agent, reservation=wanted)
        call = Call(decision, scopes, self.second, tokens, spend)
        expected = self.model.has_room(call)
        assert self.writer.write_sync(decision).entry["allow"] is expected
        if expected:
            self.model.reserve(call)
        else:
            self.denied += 1

    def complete(self) -> None:
        if not self.model.open:
            return
        call = self.random.choice(self.model.open)
        roll = self.random.random()
        # As reported, which may be more than was reserved; cut off, so in full; or never forwarded.
        settled: tuple[int, int, int] | None = (1, self.random.randint(0, 60), self.random.randint(0, 6000))
        if roll < 0.3:
            settled = None
        elif roll < 0.35:
            settled = (0, 0, 0)
        self.writer.write_sync(Make.completed(call.decision, settled=settled))
        self.model.settle(call, settled or (1, call.tokens, call.spend))

    def crash(self) -> None:
        """The process is gone with all that it had open, and another one recovers."""
        self.writer.close()
        self.writer = self.new_writer()
        closed = recovery.recover(self.writer, set()).closed
        assert closed == len(self.model.open)
        for call in list(self.model.open):
            self.model.settle(call, (1, call.tokens, call.spend))

    def change_limit(self) -> None:
        key = self.random.choice(SCOPES), self.random.choice(sorted(COUNTERS))
        if key in self.model.limits and self.random.random() < 0.5:
            del self.model.limits[key]
        else:
            most = 4 if key[1] == "concurrent_requests" else 20 if key[1].startswith("requests") else 400
            self.model.limits[key] = self.random.randint(0, most)
        if len(self.model.limits) > 6:
            del self.model.limits[self.random.choice(list(self.model.limits))]

    def pass_time(self) -> None:
        self.second += self.random.choice((1, 20, 61, 61, 3601, 86_400))

    def compare(self) -> None:
        rows = self.db.execute("SELECT scope, amounts FROM balance").fetchall()
        known = {scope: Balance.of(amounts) for scope, amounts in rows}
        for scope in SCOPES:
            balance = known.get(scope, Balance())
            for counter in ("open", *USED):
                assert balance.at(counter, self.second // 60) == self.model.amounts(scope, counter, self.second)
            assert balance.used(self.second // 60) == [self.model.amounts(scope, each, self.second)[0] for each in USED]

    def run(self, operations: int) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            *((self.call, 50), (self.complete, 35), (self.change_limit, 8), (self.pass_time, 6), (self.crash, 1)),
        ]
        actions, weights = zip(*steps, strict=True)
        for number, action in enumerate(self.random.choices(actions, weights, k=operations), 1):
            action()
            self.compare()
            if number % 2500 == 0:
                assert self.log.verify().findings == []  # with calls that are open


@pytest.mark.parametrize("operations", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_every_balance_is_the_models(log: Log, operations: int) -> None:
    rig = Rig(log, seed=operations)
    rig.run(operations)
    assert rig.denied > operations // 20
    rig.crash()
    rig.compare()
    assert [amounts for (amounts,) in log.rows("SELECT amounts FROM balance") if Balance.of(amounts).open] == []
    rig.writer.close()
    rig.db.close()
    assert log.verify().findings == []
