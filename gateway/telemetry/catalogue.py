"""The metrics that data workers count: their names, types and labels, and where each stands in a block of numbers.

A *block* is a list of integers for one combination of labels (an upstream, an agent, a reason). `KINDS` says for each
kind of block which metrics its numbers are. A worker only adds to integers; names, units and the text format are the
control process's. The names follow Prometheus' conventions (https://prometheus.io/docs/practices/naming/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

MICROSECOND: Final = 1e-6
NANODOLLAR: Final = 1e-9

OUTCOMES: Final = ("ok", "denied", "refused", "failed", "disconnected")
"""The ends of requests, as a label: `denied` by a recorded decision or a later revocation, `refused` before a decision,
`failed` after one."""

MAX_LIMITED: Final = 200
"""The number of limits with a series of their own; those of further subjects are counted together."""

TOKENS: Final = ("input", "output", "cached", "cache_write", "reasoning")
"""Kinds of tokens. `cached` and `cache_write` are parts of `input`, `reasoning` is one of `output`."""

_FAST: Final = (100, 250, 500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000)
_SLOW: Final = tuple(1000 * each for each in (10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 120_000))
_SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


@dataclass(frozen=True, slots=True)
class MetricFamily:
    """One metric. With `values`, it has a number for each, told apart by the label `label`.

    A histogram has a number for each of its `bounds`, one for what is beyond them, and the sum. `unit` is what one of
    the worker's integers is in the metric's unit.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    label: str = ""
    values: tuple[str, ...] = ()
    bounds: tuple[int, ...] = ()
    unit: float = 1

    @property
    def slots(self) -> int:
        return len(self.bounds) + 2 if self.type == "histogram" else len(self.values) or 1


@dataclass(frozen=True, slots=True)
class BlockKind:
    """A kind of block: its labels, and its metrics in the order of their numbers."""

    labels: tuple[str, ...]
    families: tuple[MetricFamily, ...]

    @property
    def slots(self) -> int:
        return sum(family.slots for family in self.families)

    def offset(self, name: str) -> int:
        """The place where the numbers of a metric begin."""
        at = 0
        for family in self.families:
            if family.name == name:
                return at
            at += family.slots
        raise KeyError(name)


def _seconds(name: str, text: str, bounds: tuple[int, ...]) -> MetricFamily:
    return MetricFamily(name, "histogram", text, bounds=bounds, unit=MICROSECOND)


KINDS: Final[dict[str, BlockKind]] = {
    "request": BlockKind(
        ("organization", "upstream", "action", "model", "outcome", "reason"),
        (MetricFamily("aig_requests", "counter", "Requests of agents, each once, by how they ended."),),
    ),
    "refusal": BlockKind(
        ("reason",),
        (MetricFamily("aig_refusals", "counter", "Requests refused before a decision, also by the listener."),),
    ),
    "model": BlockKind(
        ("organization", "upstream", "model"),
        (
            MetricFamily("aig_tokens", "counter", "Tokens, as upstreams report them.", "kind", TOKENS),
            MetricFamily("aig_cost_usd", "counter", "Cost of calls that have a price, in dollars.", unit=NANODOLLAR),
        ),
    ),
    "upstream": BlockKind(
        ("organization", "upstream"),
        (
            _seconds("aig_upstream_call_duration_seconds", "From sending a call to the end of its answer.", _SLOW),
            _seconds("aig_upstream_first_byte_seconds", "From sending a call to the answer's first byte.", _SLOW),
        ),
    ),
    "call": BlockKind(
        ("organization", "upstream", "outcome"),
        (MetricFamily("aig_upstream_calls", "counter", "Calls to upstreams, retries and fallbacks too, by outcome."),),
    ),
    "agent": BlockKind(
        ("organization", "agent"),
        (
            MetricFamily("aig_agent_requests", "counter", "Requests by agent.", "outcome", OUTCOMES),
            MetricFamily("aig_agent_tokens", "counter", "Tokens by agent.", "kind", ("input", "output")),
            MetricFamily("aig_agent_cost_usd", "counter", "Cost by agent, in dollars.", unit=NANODOLLAR),
        ),
    ),
    "limit": BlockKind(
        ("organization", "subject", "limit"),
        (MetricFamily("aig_limit_refusals", "counter", "Calls that a limit had no room for, by whose limit it was."),),
    ),
    "worker": BlockKind(
        (),
        (
            _seconds("aig_added_latency_seconds", "Time of requests in the gateway: not upstream, no upload.", _FAST),
            _seconds("aig_policy_duration_seconds", "Time that judging a request takes.", _FAST),
            _seconds("aig_audit_commit_duration_seconds", "Time of one commit of the audit log.", _FAST),
            MetricFamily("aig_audit_commit_entries", "histogram", "Entries that share one commit.", bounds=_SIZES),
            MetricFamily("aig_audit_queue_entries", "gauge", "Entries that wait for a commit."),
            MetricFamily("aig_requests_in_flight", "gauge", "Requests in progress."),
            MetricFamily("aig_held_bytes", "gauge", "Bytes of bodies that are held.", "where", ("memory", "disk")),
            MetricFamily(
                "aig_workers_stalled", "counter", "Data workers replaced because their event loop stood still."
            ),
            MetricFamily("aig_metrics_lost", "counter", "Series that are not counted for want of space."),
        ),
    ),
}
