"""The present work of a running gateway: rates between two looks at what its workers have counted, for `gateway top`.

Everything is read from the data directory, by the rights of the user who asks; no process is asked. Rates are those of
the time between the looks, sums are since the gateway was started.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.data_directory import DataDirectory
from gateway.processes import status
from gateway.processes.metrics import upstreams
from gateway.registry.database import Registry
from gateway.runtime import contacts
from gateway.runtime.contacts import Contact
from gateway.storage.liveness import members
from gateway.telemetry import collection
from gateway.telemetry.catalogue import KINDS, OUTCOMES
from gateway.telemetry.collection import Key, Totals


@dataclass(frozen=True, slots=True)
class AgentLoad:
    """One agent, or all those without metrics of their own (`other`, of no organization)."""

    organization: str
    name: str
    requests_per_second: float
    tokens_per_second: float
    requests: int
    # Since the start: denied by policies or limits, refused before a decision, failed.
    denied: int
    refused: int
    failed: int
    tokens: int
    cost_usd: float


@dataclass(frozen=True, slots=True)
class UpstreamLoad:
    """One upstream. Latencies are means of the calls that have ended between the looks; None if none has."""

    organization: str
    name: str
    state: str  # `ok`, `failing`, `open` (a circuit breaker) or `unused`
    calls_per_second: float
    calls: int
    failures: int
    first_byte_seconds: float | None
    call_seconds: float | None
    last_error: str


@dataclass(frozen=True, slots=True)
class Load:
    """The whole gateway."""

    time_ns: int
    window_seconds: float
    workers: int
    requests_in_flight: int
    requests_per_second: float
    added_latency_seconds: float | None
    policy_seconds: float | None
    commit_seconds: float | None
    entries_per_commit: float | None
    waiting_entries: int
    held_bytes: int
    agents: list[AgentLoad] = field(default_factory=list)
    upstreams: list[UpstreamLoad] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Look:
    """The counts up to a moment."""

    monotonic: float
    totals: Totals


def look(data: DataDirectory) -> Look:
    return Look(time.monotonic(), collection.collect(data.metrics, members(data)))


def between(data: DataDirectory, registry: Registry, before: Look, now: Look) -> Load:
    """The events between two looks, and the state at the second."""
    change = _Change(before, now)
    worker: Key = ("worker", ())
    gauges = now.totals.blocks.get(worker, [0] * KINDS["worker"].slots)
    at = KINDS["worker"].offset
    held = at("aig_held_bytes")
    return Load(
        time_ns=time.time_ns(),
        window_seconds=round(change.seconds, 3),
        workers=len(now.totals.alive),
        requests_in_flight=gauges[at("aig_requests_in_flight")],
        requests_per_second=change.rate([key for key in now.totals.blocks if key[0] == "request"], slice(0, 1)),
        added_latency_seconds=change.mean(worker, "aig_added_latency_seconds"),
        policy_seconds=change.mean(worker, "aig_policy_duration_seconds"),
        commit_seconds=change.mean(worker, "aig_audit_commit_duration_seconds"),
        entries_per_commit=change.mean(worker, "aig_audit_commit_entries"),
        waiting_entries=gauges[at("aig_audit_queue_entries")],
        held_bytes=sum(gauges[held : held + 2]),
        agents=_agents(now.totals, change),
        upstreams=_upstreams(data, registry, now.totals, change),
    )


class _Change:
    """The differences between two looks."""

    def __init__(self, before: Look, now: Look) -> None:
        self.seconds = max(now.monotonic - before.monotonic, 0.001)
        self._before = before.totals.blocks
        self._now = now.totals.blocks

    def of(self, key: Key) -> list[int]:
        now = self._now.get(key) or [0] * KINDS[key[0]].slots
        before = self._before.get(key)
        # If the gateway was started again in between, everything is new.
        return now if before is None else [max(0, b - a) for a, b in zip(before, now, strict=True)]

    def rate(self, keys: Sequence[Key], part: slice) -> float:
        return round(sum(sum(self.of(key)[part]) for key in keys) / self.seconds, 2)

    def mean(self, key: Key, name: str) -> float | None:
        """The mean of what a histogram was told between the looks, in its unit."""
        at = KINDS[key[0]].offset(name)
        family = next(each for each in KINDS[key[0]].families if each.name == name)
        *counts, total = self.of(key)[at : at + family.slots]
        return round(total * family.unit / sum(counts), 6) if sum(counts) else None


def _agents(totals: Totals, change: _Change) -> list[AgentLoad]:
    """The busiest first."""
    at = KINDS["agent"].offset
    outcomes, tokens, cost = slice(0, len(OUTCOMES)), at("aig_agent_tokens"), at("aig_agent_cost_usd")
    found = []
    for (kind, labels), numbers in totals.blocks.items():
        if kind == "agent":
            ended = dict(zip(OUTCOMES, numbers[outcomes], strict=True))
            found.append(
                AgentLoad(
                    labels[0],
                    labels[1],
                    change.rate([(kind, labels)], outcomes),
                    change.rate([(kind, labels)], slice(tokens, tokens + 2)),
                    sum(ended.values()),
                    ended["denied"],
                    ended["refused"],
                    ended["failed"],
                    sum(numbers[tokens : tokens + 2]),
                    round(numbers[cost] / 1e9, 6),
                )
            )
    return sorted(found, key=lambda each: (-each.requests_per_second, -each.requests, each.name))


def _upstreams(data: DataDirectory, registry: Registry, totals: Totals, change: _Change) -> list[UpstreamLoad]:
    seen, breakers = contacts.read(data.runtime_db), status.open_breakers(data)
    found = []
    for id_, organization, name in upstreams(registry):
        contact = seen.get(id_, Contact())
        calls = [key for key in totals.blocks if key[0] == "call" and key[1][:2] == (organization, name)]
        latencies: Key = ("upstream", (organization, name))
        count = sum(totals.blocks[key][0] for key in calls)
        state = "ok" if contact.success_ns >= contact.error_ns else "failing"
        found.append(
            UpstreamLoad(
                organization,
                name,
                "open" if breakers.get(id_) else state if contact != Contact() else "unused",
                change.rate(calls, slice(0, 1)),
                count,
                sum(totals.blocks[key][0] for key in calls if key[1][2] not in ("ok", "client_disconnected")),
                change.mean(latencies, "aig_upstream_first_byte_seconds"),
                change.mean(latencies, "aig_upstream_call_duration_seconds"),
                contact.error if state == "failing" else "",
            )
        )
    return found
