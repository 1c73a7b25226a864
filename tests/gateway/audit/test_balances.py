"""Balances and refusals against a small model: random calls, cuts, crashes, changes of limits and ends of windows.

The model keeps one sum for each scope and each single window there ever was. It finds the end of a window by looking at
a local clock every quarter of an hour until that shows another day. After every operation all balances of the log
must be the model's, and at the end the log must prove them.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from gateway.audit import recovery
from gateway.audit.balance import COUNTERS, USED, VALUES, Balance
from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.usage.limits import Applied, is_spend
from gateway.usage.reservation import CallReservation
from tests.gateway.audit.conftest import Log, Make

BEGIN = int(datetime(2026, 11, 29, 23, 50, tzinfo=UTC).timestamp())
AUTUMN = int(datetime(2026, 10, 24, 3, 50, tzinfo=UTC).timestamp())
# Clocks change on 25 October, on 1 November at one o'clock, when midnight comes again, never, and on no whole hour.
ZONES = ("Europe/Zurich", "America/Havana", "Asia/Kolkata", "Pacific/Chatham", "UTC")
AGENTS = {"agt_a": "red", "agt_b": "red", "agt_c": ""}
SCOPES = ("agent:agt_a", "agent:agt_b", "agent:agt_c", "team:red", "organization:default", "team:red model:m")
KINDS = ("minute", "hour", "day", "month")


@functools.lru_cache(maxsize=65_536)
def shown(kind: str, second: int, zone: str) -> str:
    """The hour, day or month that a local clock shows."""
    formats = {"hour": "%Y-%m-%dT%H%z", "day": "%Y-%m-%d", "month": "%Y-%m"}
    return datetime.fromtimestamp(second, ZoneInfo(zone)).strftime(formats[kind])


@functools.lru_cache(maxsize=65_536)
def end_of(kind: str, second: int, zone: str) -> int:
    """When a window that begins now ends."""
    if kind == "minute":
        return second // 60 * 60 + 60
    end = second // 900 * 900 + 900
    while shown(kind, end, zone) == shown(kind, second, zone):
        end += 900
    return end


@dataclass
class Call:
    decision: Decided
    scopes: tuple[str, ...]
    second: int
    tokens: int
    spend: int
    # The limits that it is compared with: scope, name and value.
    limits: tuple[tuple[str, str, int], ...] = ()
    # The windows that it counts in, by scope and kind.
    windows: dict[tuple[str, str], int] = field(default_factory=dict)


@dataclass
class Model:
    """The invariants: sums by scope, metric and window, and the calls that are open."""

    used: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    held: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    open: list[Call] = field(default_factory=list)
    limits: dict[tuple[str, str], int] = field(default_factory=dict)
    # The ends of all windows there were, by scope and kind; each end is the name of its window.
    ends: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    told: set[tuple[str, str, int, int, int]] = field(default_factory=set)
    zone: str = "UTC"

    def window(self, scope: str, kind: str, second: int) -> int | None:
        """The window of a scope in which a second is; None if none has begun."""
        return next((end for end in self.ends.get((scope, kind), [])[-1:] if second < end), None)

    def amounts(self, scope: str, counter: str, second: int) -> tuple[int, int]:
        if counter == "open":
            count = sum(scope in call.scopes for call in self.open)
            return count, count
        window = self.window(scope, counter.rpartition("_")[2], second)
        if window is None:
            return 0, 0
        key = scope, counter, window
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

    def tell(self, call: Call, *, refused: bool) -> None:
        """Note the thresholds that are reached by the end of a call, or because it was refused."""
        need = {"requests": 1, "tokens": call.tokens, "spend_nanousd": call.spend}
        for scope, name, value in call.limits:
            metric, _, kind = COUNTERS[name].rpartition("_")
            if not metric or (not value and not refused):
                continue  # nothing is half of a limit of none, but a call that needs nothing can find it overdrawn
            most, mine = value * (1000 if is_spend(name) else 1), self.window(scope, kind, call.second)
            used, held = self.amounts(scope, COUNTERS[name], call.second)
            spent = used - held
            if refused:
                is_full = need[metric] <= most < spent + need[metric] and 100 * spent >= 80 * most
                reached = [100] if is_full else []
            elif call.windows[scope, kind] == self.ends[scope, kind][-1]:
                mine = call.windows[scope, kind]
                used, held = (sums[scope, COUNTERS[name], mine] for sums in (self.used, self.held))
                spent = used - held
                reached = [percent for percent in (50, 80, 100) if 100 * spent >= percent * most]
            else:
                reached = []
            self.told.update((scope, name, value, mine or 0, percent) for percent in reached)

    def add(self, call: Call, sign: int, amounts: tuple[int, int, int], *, held: bool) -> None:
        for scope in call.scopes:
            for kind in KINDS:
                for metric, amount in zip(("requests", "tokens", "spend_nanousd"), amounts, strict=True):
                    key = scope, f"{metric}_{kind}", call.windows[scope, kind]
                    self.used[key] += sign * amount
                    if held and metric != "requests":
                        self.held[key] += sign * amount

    def reserve(self, call: Call) -> None:
        self.open.append(call)
        for scope, kind in itertools.product(call.scopes, KINDS):
            window = self.window(scope, kind, call.second)
            if window is None:
                window = end_of(kind, call.second, self.zone)
                self.ends.setdefault((scope, kind), []).append(window)
            call.windows[scope, kind] = window
        self.add(call, 1, (1, call.tokens, call.spend), held=True)

    def settle(self, call: Call, settled: tuple[int, int, int]) -> None:
        self.open.remove(call)
        self.add(call, -1, (1, call.tokens, call.spend), held=True)
        self.add(call, 1, settled, held=False)
        self.tell(call, refused=False)


class Rig:
    """The real writer on a clock of its own, and the model beside it."""

    def __init__(self, log: Log, seed: int, zones: tuple[str, ...], processes: int) -> None:
        self.log = log
        self.random = random.Random(seed)
        self.zones = zones
        self.second = AUTUMN if zones else BEGIN
        self.model = Model()
        self.boots = 0
        self.denied = 0
        self.writers = [self.new_writer() for _ in range(processes)]

    @property
    def writer(self) -> AuditWriter:
        return self.random.choice(self.writers)

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
            organization="default",
            scopes=scopes,
            limits=applied,
            tokens=tokens,
            spend_nanousd=spend,
            zone=self.model.zone,
        )
        decision = Make.decided(agent=agent, reservation=wanted)
        limits = tuple((scope, name, value) for (scope, name), value in self.model.limits.items() if scope in scopes)
        call = Call(decision, scopes, self.second, tokens, spend, limits)
        expected = self.model.has_room(call)
        assert self.writer.write_sync(decision).entry["allow"] is expected
        if expected:
            self.model.reserve(call)
        else:
            self.denied += 1
            self.model.tell(call, refused=True)

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
        """The processes are gone with all that they had open and had not written, and another one recovers."""
        for writer in self.writers:
            writer._log._kept = None
            writer.close()
        self.writers = [self.new_writer() for _ in self.writers]
        closed = recovery.recover(self.writer, {writer.boot for writer in self.writers}).closed
        assert closed == len(self.model.open)
        for call in sorted(self.model.open, key=lambda call: call.decision.event_id):
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

    def change_zone(self) -> None:
        if self.zones:
            self.model.zone = self.random.choice(self.zones)

    def compare(self) -> None:
        known = self.log.balances()
        for scope in SCOPES:
            balance = known.get(scope, Balance())
            for counter in ("open", *USED):
                assert balance.at(counter, self.second // 60) == self.model.amounts(scope, counter, self.second)
            assert balance.used(self.second // 60) == [self.model.amounts(scope, each, self.second)[0] for each in USED]

    def run(self, operations: int) -> None:
        steps: list[tuple[Callable[[], None], int]] = [
            *((self.call, 50), (self.complete, 35), (self.change_limit, 8), (self.pass_time, 6), (self.crash, 1)),
            (self.change_zone, 2),
        ]
        actions, weights = zip(*steps, strict=True)
        for number, action in enumerate(self.random.choices(actions, weights, k=operations), 1):
            action()
            self.compare()
            if number % 2500 == 0:
                assert self.log.verify().findings == []  # with calls that are open


@pytest.mark.parametrize(
    ("operations", "zones", "processes"),
    [
        pytest.param(300, ZONES, 1, id="zones"),
        pytest.param(300, (), 2, id="turns"),
        pytest.param(10_000, (), 1, id="many", marks=pytest.mark.slow),
        pytest.param(10_000, ZONES, 1, id="many-zones", marks=pytest.mark.slow),
        pytest.param(10_000, ZONES, 3, id="many-turns", marks=pytest.mark.slow),
    ],
)
def test_every_balance_is_the_models(log: Log, operations: int, zones: tuple[str, ...], processes: int) -> None:
    rig = Rig(log, operations, zones, processes)
    rig.run(operations)
    assert rig.denied > operations // 20
    rig.crash()
    rig.compare()
    assert [balance for balance in log.balances().values() if balance.open] == []
    for writer in rig.writers:
        writer.close()
    assert log.verify().findings == []
    told = [entry for entry in log.entries() if entry["kind"] == "change"]
    assert Counter(map(told_of, told)) == Counter(rig.model.told)  # each once
    assert len({entry["percent"] for entry in told}) == 3


def told_of(entry: dict[str, Any]) -> tuple[str, str, int, int, int]:
    """An entry's threshold, in the words of the model."""
    mine = int(datetime.fromisoformat(entry["resets_at"]).timestamp())
    return entry["scope"], entry["limit_name"], entry["value"], mine, entry["percent"]


def thresholds(log: Log) -> list[tuple[str, int]]:
    return [(entry["limit_name"], entry["percent"]) for entry in log.entries() if entry["kind"] == "change"]


def one_call(writer: AuditWriter, name: str, value: int, tokens: int, settled: tuple[int, int, int]) -> None:
    applied = (Applied(name, "agent:agt_a", COUNTERS[name], value, "agent:a", id="lim_1"),)
    wanted = CallReservation(organization="default", scopes=("agent:agt_a",), limits=applied, tokens=tokens)
    decision = Make.decided(agent="agt_a", reservation=wanted)
    if writer.write_sync(decision).entry["allow"]:
        writer.write_sync(Make.completed(decision, settled=settled))


def test_each_threshold_is_told_once_for_a_window_and_a_value(log: Log) -> None:
    second = BEGIN
    writer, other = (log.writer(clock=lambda: second * 10**9) for _ in range(2))
    for number in range(12):
        one_call((writer, other)[number % 2], "requests_per_day", 10, 0, (1, 0, 0))
    assert thresholds(log) == [("requests_per_day", percent) for percent in (50, 80, 100)]
    one_call(writer, "requests_per_day", 20, 0, (1, 0, 0))  # a raise is another limit to reach
    assert thresholds(log)[3:] == [("requests_per_day", 50)]
    second += 86_400
    for _ in range(5):
        one_call(writer, "requests_per_day", 10, 0, (1, 0, 0))
    assert thresholds(log)[4:] == [("requests_per_day", 50)]
    assert log.verify().findings == []


def test_what_is_only_reserved_reaches_no_threshold_and_a_refusal_the_last_one(log: Log) -> None:
    writer = log.writer()
    one_call(writer, "tokens_per_month", 100, 90, (1, 10, 0))
    one_call(writer, "tokens_per_month", 100, 95, (1, 95, 0))  # refused, but so little is spent
    one_call(writer, "tokens_per_month", 100, 101, (1, 0, 0))  # would never fit
    assert thresholds(log) == []
    one_call(writer, "tokens_per_month", 100, 80, (1, 75, 0))
    assert thresholds(log) == [("tokens_per_month", 50), ("tokens_per_month", 80)]
    for _ in range(2):
        one_call(writer, "tokens_per_month", 100, 16, (1, 0, 0))
    assert thresholds(log)[2:] == [("tokens_per_month", 100)]
    [last] = [entry for entry in log.entries() if entry.get("percent") == 100]
    assert (last["spent"], last["value"], last["needed"], last["limit"]) == (85, 100, 16, "lim_1")
    assert last["agent"] == "agt_a"
    assert log.verify().findings == []


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        (b'"percent":50', b'"percent":80', "the entries before it make 5 of 10 spent"),
        (b'"id":"thr_', b'"id":"thx_', "the entries before it do not reach this threshold"),
        (b'"what":"limit.threshold"', b'"what":"limit.thresholt"', "no entry tells that `agent:agt_a` reached 50 % of"),
    ],
)
def test_a_threshold_that_was_not_reached_is_found(log: Log, old: bytes, new: bytes, found: str) -> None:
    """Also by somebody who could forge the tree: the entries do not make it."""
    writer = log.writer()
    for _ in range(5):
        one_call(writer, "requests_per_day", 10, 0, (1, 0, 0))
    writer.close()
    log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, ?, ?) AS BLOB) WHERE kind = 'change'", old, new)
    assert any(found in each.message for each in log.verify().consequences)


def in_zone(writer: AuditWriter, zone: str, value: int = 9) -> dict[str, Any]:
    """The entry of a call of an organization in a zone, with a limit on the calls of a day."""
    applied = (Applied("requests_per_day", "agent:agt_a", "requests_day", value, "agent:a", id="lim_1"),)
    wanted = CallReservation(organization="default", scopes=("agent:agt_a",), limits=applied, zone=zone)
    return writer.write_sync(Make.decided(agent="agt_a", reservation=wanted)).entry


def used_of(entry: dict[str, Any]) -> int:
    return int(json.loads(entry["reservation_json"])["read"][0][2])


def test_a_window_that_has_begun_keeps_its_end_when_the_zone_changes(log: Log) -> None:
    """Else a change of the zone would give a limit anew in the middle of a day, or take one away for two days."""
    clock = int(datetime(2026, 11, 29, 12, 0, tzinfo=UTC).timestamp())
    writer = log.writer(clock=lambda: clock * 10**9)
    assert used_of(in_zone(writer, "Europe/Zurich")) == 0
    denied = in_zone(writer, "Pacific/Auckland", value=1)  # where it is the next day already
    assert json.loads(denied["limits_json"])[0]["resets_at"] == "2026-11-29T23:00:00Z"
    clock = int(datetime(2026, 11, 29, 22, 59, tzinfo=UTC).timestamp())
    assert used_of(in_zone(writer, "Pacific/Auckland")) == 1
    clock += 60
    assert used_of(in_zone(writer, "Pacific/Auckland")) == 0
    denied = in_zone(writer, "UTC", value=1)
    assert json.loads(denied["limits_json"])[0]["resets_at"] == "2026-11-30T11:00:00Z"
    assert log.verify().findings == []


def test_what_is_settled_after_a_change_of_the_zone_leaves_no_reservation(log: Log) -> None:
    clock = int(datetime(2026, 11, 29, 23, 30, tzinfo=UTC).timestamp())
    writer = log.writer(clock=lambda: clock * 10**9)
    made = []
    for zone, passes in (("UTC", 1800), ("Europe/Zurich", 86_400), ("Asia/Kolkata", 40_000), ("UTC", 0)):
        wanted = CallReservation(organization="default", scopes=("all",), tokens=100, spend_nanousd=7, zone=zone)
        made.append(Make.decided(agent="agt_a", reservation=wanted))
        assert writer.write_sync(made[-1]).entry["allow"] is True
        clock += passes
    for decision in made:
        writer.write_sync(Make.completed(decision, settled=(1, 5, 3)))
    [values] = log.balances().values()
    assert [values.at(f"tokens_{kind}", clock // 60) for kind in KINDS] == [(5, 0), (5, 0), (10, 0), (10, 0)]
    assert all(amount == 0 for amount in values.values()[len(USED) + 2 : len(VALUES)])
    assert log.verify().findings == []


@pytest.mark.parametrize(
    ("forge", "found"),
    [
        pytest.param(lambda ends: [ends[0], 0, ends[2]], "which cannot be", marks=pytest.mark.slow),
        (lambda ends: [ends[0], ends[1] + 10_000, ends[2]], "which cannot be"),
        pytest.param(lambda ends: ends[:2], "its reservation cannot be read", marks=pytest.mark.slow),
        pytest.param(lambda ends: 7, "its reservation cannot be read", marks=pytest.mark.slow),
        (lambda ends: [ends[0], ends[1] - 30, ends[2]], "end of the day"),
    ],
)
def test_forged_ends_of_windows_are_found(log: Log, forge: Callable[[list[int]], object], found: str) -> None:
    writer = log.writer()
    entry = in_zone(writer, "Asia/Kolkata")
    writer.close()
    ends = json.loads(entry["reservation_json"])["ends"]
    old, new = (json.dumps(each, separators=(",", ":")).encode() for each in (ends, forge(ends)))
    log.tamper("UPDATE entry SET leaf = CAST(replace(leaf, ?, ?) AS BLOB)", b'"ends\\":' + old, b'"ends\\":' + new)
    assert any(found in each.message for each in log.verify().consequences)


def test_a_balance_whose_zone_was_taken_away_is_found(log: Log) -> None:
    writer = log.writer()
    in_zone(writer, "Asia/Kolkata")
    writer.close()
    [(amounts,)] = log.rows("SELECT amounts FROM balance")
    log.tamper("UPDATE balance SET amounts = ?", json.dumps(json.loads(amounts)[: len(VALUES)]))
    assert any("windows in another zone" in each.message for each in log.verify().findings)
