"""A data worker's counts of its requests, for `/metrics` and `gateway top`: where each number goes.

This is the hot path, so a request only looks up a few places and adds to integers; `gateway/telemetry/` says what the
numbers are called. The labels are few, whatever clients send: a model has a name of its own only once an upstream has
answered a call to it, at most `MAX_MODELS` of each upstream do, and at most `metrics_agents` agents and `MAX_LIMITED`
limits; the rest is `other`. Counted once for each request: `finished`; once for each call to an upstream: `called`.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.dataplane.phases import Observed
from gateway.errors import PrincipalHint
from gateway.identity.principals import Principal
from gateway.telemetry.catalogue import KINDS, MAX_LIMITED, OUTCOMES
from gateway.telemetry.counts import Counts
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Destination

SAMPLE_SECONDS = 1.0
MAX_MODELS = 50
MAX_ACTIONS = 200
OTHER = "other"
NO_CREDIT = "no_credit"
"""The outcome counted for calls that the upstream refuses because the account has no credit (`upstream_errors.py`)."""
_LONGEST = 128  # characters of a label
_SPACE = 1024 * 1024
_SPACE_OF_AGENT = 512

_FAILED: Final = frozenset(
    {
        *("gateway_error", "gateway_stopped", "outcome_unrecorded", "upstream_incomplete", "cap_exceeded"),
        *("provider_error", "upstream_error", "upstream_timeout", "circuit_open", "counterparty_unproven"),
    }
)


def _bounds(kind: str, name: str) -> tuple[int, ...]:
    return next(family.bounds for family in KINDS[kind].families if family.name == name)


_FAST = _bounds("worker", "aig_added_latency_seconds")
_SLOW = _bounds("upstream", "aig_upstream_call_duration_seconds")
_SIZES = _bounds("worker", "aig_audit_commit_entries")
_FIRST_BYTE = KINDS["upstream"].offset("aig_upstream_first_byte_seconds")
_COST = KINDS["model"].offset("aig_cost_usd")
_AGENT_TOKENS, _AGENT_COST = KINDS["agent"].offset("aig_agent_tokens"), KINDS["agent"].offset("aig_agent_cost_usd")
_FAST_SUM, _SLOW_SUM, _SIZES_SUM = len(_FAST) + 1, len(_SLOW) + 1, len(_SIZES) + 1


class Measures:
    """The numbers of one worker. All methods but `committed` belong to its event loop's thread."""

    def __init__(self, path: Path | None, agents: int) -> None:
        self._counts = Counts(path, _SPACE + agents * _SPACE_OF_AGENT)
        self._numbers = self._counts.numbers
        self._most_agents = agents
        # Places of numbers, by what a request has at hand.
        self._requests: dict[tuple[str, str, str | None, str, bool], int] = {}
        self._calls: dict[tuple[str, str], int] = {}
        self._upstreams: dict[str, int] = {}
        self._models: dict[tuple[str, str | None], int] = {}
        self._agents: dict[str, int] = {}
        self._refusals: dict[str, int] = {}
        self._limits: dict[tuple[str, str, str], int] = {}
        # Names that are labels of their own, by the upstream's id.
        self._named: dict[str, set[str]] = {}
        self._actions: dict[str, set[str]] = {}
        worker, kind = self._open("worker"), KINDS["worker"]
        self._added = worker + kind.offset("aig_added_latency_seconds")
        self._policy = worker + kind.offset("aig_policy_duration_seconds")
        self._commit = worker + kind.offset("aig_audit_commit_duration_seconds")
        self._group = worker + kind.offset("aig_audit_commit_entries")
        self._queue = worker + kind.offset("aig_audit_queue_entries")
        self._running = worker + kind.offset("aig_requests_in_flight")
        self._held = worker + kind.offset("aig_held_bytes")
        self._lost = worker + kind.offset("aig_metrics_lost")

    def finished(self, observed: Observed) -> None:
        """A request has ended."""
        match, numbers = observed.match, self._numbers
        # An agent that is known and refused, for instance a suspended one, is no principal.
        agent = observed.principal or observed.owner
        upstream = "" if match is None else match.destination.id
        key = (upstream, observed.action, observed.model, observed.outcome, observed.judged)
        at = self._requests.get(key)
        if at is None:
            at = self._place_request(observed, key)
        numbers[at] += 1
        if agent is not None and self._most_agents:
            known = self._agents.get(agent.agent_id)
            at = self._place_agent(agent) if known is None else known
            numbers[at + OUTCOMES.index(_outcome(observed))] += 1
            usage = observed.report.usage
            if usage is not None:
                numbers[at + _AGENT_TOKENS] += usage.input
                numbers[at + _AGENT_TOKENS + 1] += usage.output
            if observed.cost_nanousd is not None:
                numbers[at + _AGENT_COST] += observed.cost_nanousd
        if observed.judged_ns:
            took = (observed.judged_ns - observed.judging_ns) // 1000
            numbers[self._policy + bisect_left(_FAST, took)] += 1
            numbers[self._policy + _FAST_SUM] += took
        if observed.sent_ns and observed.closed_ns:
            before = observed.sent_ns - observed.started_ns - observed.request.waited_ns
            took = (before + observed.closed_ns - observed.answered_ns) // 1000
            numbers[self._added + bisect_left(_FAST, took)] += 1
            numbers[self._added + _FAST_SUM] += took

    def called(self, observed: Observed, destination: Destination, outcome: str) -> None:
        """A call to an upstream has ended, and its closing is recorded."""
        upstream, numbers = destination.id, self._numbers
        if observed.rejected is Why.CREDIT:
            outcome = NO_CREDIT
        at = self._calls.get((upstream, outcome))
        if at is None:
            at = self._calls[upstream, outcome] = self._open("call", *_labels(destination), outcome)
        numbers[at] += 1
        sent = observed.sent_ns
        if sent:
            at = self._upstreams.get(upstream)
            if at is None:
                at = self._upstreams[upstream] = self._open("upstream", *_labels(destination))
            took = (observed.answered_ns - sent) // 1000
            numbers[at + bisect_left(_SLOW, took)] += 1
            numbers[at + _SLOW_SUM] += took
            if observed.first_byte_ns is not None:
                took = (observed.first_byte_ns - sent) // 1000
                numbers[at + _FIRST_BYTE + bisect_left(_SLOW, took)] += 1
                numbers[at + _FIRST_BYTE + _SLOW_SUM] += took
        usage = observed.report.usage
        if usage is not None or observed.cost_nanousd is not None:
            at = self._models.get((upstream, observed.model))
            if at is None:
                at = self._place_model(observed, destination)
            if usage is not None:
                numbers[at] += usage.input
                numbers[at + 1] += usage.output
                if usage.cached:
                    numbers[at + 2] += usage.cached
                if usage.cache_write:
                    numbers[at + 3] += usage.cache_write
                if usage.reasoning:
                    numbers[at + 4] += usage.reasoning
            if observed.cost_nanousd is not None:
                numbers[at + _COST] += observed.cost_nanousd

    def refused(self, reason: str) -> None:
        """A request was refused before a decision, perhaps by the listener."""
        at = self._refusals.get(reason)
        if at is None:
            at = self._refusals[reason] = self._open("refusal", reason)
        self._numbers[at] += 1

    def limited(self, organization: str, limits: Sequence[Mapping[str, Any]]) -> None:
        """A call was refused because these limits, as the client is told of them, had no room."""
        for each in limits:
            key = (organization, each["subject"], each["limit"])
            at = self._limits.get(key)
            if at is None:
                label = key if len(self._limits) < MAX_LIMITED else ("", OTHER, key[2])
                at = self._limits.get(label)
                if at is None:
                    at = self._limits[label] = self._open("limit", *label)
            self._numbers[at] += 1

    def committed(self, nanoseconds: int, entries: int) -> None:
        """The log's writer has made a commit. Belongs to its thread."""
        took = nanoseconds // 1000
        self._numbers[self._commit + bisect_left(_FAST, took)] += 1
        self._numbers[self._commit + _FAST_SUM] += took
        self._numbers[self._group + bisect_left(_SIZES, entries)] += 1
        self._numbers[self._group + _SIZES_SUM] += entries

    async def run(self, look: Callable[[], tuple[int, int, int, int]]) -> None:
        """Note at intervals what the worker holds, until cancelled.

        `look` returns the requests in progress, the bytes held in memory and on disk, and the entries that wait.
        """
        while True:
            numbers = self._numbers
            numbers[self._running], numbers[self._held], numbers[self._held + 1], numbers[self._queue] = look()
            await asyncio.sleep(SAMPLE_SECONDS)

    # Places, found once for each combination of labels

    def _open(self, kind: str, *labels: str) -> int:
        at = self._counts.open(kind, tuple(label[:_LONGEST] for label in labels), KINDS[kind].slots)
        if self._counts.lost:
            self._numbers[self._lost] = self._counts.lost
        return at

    def _place_request(self, observed: Observed, key: tuple[str, str, str | None, str, bool]) -> int:
        match, outcome, action, model = observed.match, observed.outcome, observed.action, observed.model
        if match is None:
            names, label = ("", ""), ""
        else:
            names, action = _labels(match.destination), action or match.endpoint.route.action
            action = self._named_within(self._actions, match.destination.id, action, MAX_ACTIONS)
            label = self._model(observed, match.destination, model)
        named = (key[0], action, label, outcome, observed.judged)
        at = self._requests.get(named)
        if at is None:
            at = self._open("request", *names, action, label, _outcome(observed), outcome)
            self._requests[named] = at
        if label == (model or ""):
            self._requests[key] = at  # otherwise clients could name models without end
        return at

    def _place_model(self, observed: Observed, destination: Destination) -> int:
        label = self._model(observed, destination, observed.model)
        at = self._models.get((destination.id, label))
        if at is None:
            at = self._models[destination.id, label] = self._open("model", *_labels(destination), label)
        if label == (observed.model or ""):
            self._models[destination.id, observed.model] = at
        return at

    def _place_agent(self, agent: Principal | PrincipalHint) -> int:
        if len(self._agents) < self._most_agents and agent.name:
            at = self._open("agent", agent.organization, agent.name)
            self._agents[agent.agent_id] = at
            return at
        if OTHER not in self._agents:
            self._agents[OTHER] = self._open("agent", "", OTHER)
        return self._agents[OTHER]

    def _model(self, observed: Observed, destination: Destination, model: str | None) -> str:
        if not model:
            return ""
        if observed.upstream_status is not None and observed.upstream_status < 400:
            return self._named_within(self._named, destination.id, model, MAX_MODELS)
        return model if model in self._named.get(destination.id, ()) else OTHER

    @staticmethod
    def _named_within(named: dict[str, set[str]], upstream: str, name: str, most: int) -> str:
        """The name as a label: one of the first `most` names of this upstream, or `other`."""
        names = named.setdefault(upstream, set())
        if len(names) < most and len(name) <= _LONGEST:
            names.add(name)
        return name if name in names else OTHER


def _labels(destination: Destination) -> tuple[str, str]:
    return destination.organization, destination.name


def _outcome(observed: Observed) -> str:
    outcome = observed.outcome
    if outcome == "ok":
        return "ok"
    if outcome == "client_disconnected":
        return "disconnected"
    # Before a decision it is a refusal like others; after one a call was ended.
    if outcome in _FAILED or (observed.recorded and outcome == "registry_unavailable"):
        return "failed"
    return "denied" if observed.judged else "refused"
