"""Outages: all requests of somebody, or of everybody, are refused for a minute or more.

A single refusal says little. But an agent, an organization, an upstream, a bundle or the whole gateway of which nothing
succeeds any more needs somebody, whatever the reason is. So each worker counts the refusals since the last success of
each of them, which costs a request a few look-ups in memory, and writes down the longer ones (`runtime/streaks.py`).
All workers together say whether it is an outage: a success at one of them ends it. `gateway status` shows outages, the
control process logs each once, and `/readyz` fails where the whole gateway refuses everything for a reason of its own.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from gateway.dataplane.phases import Observed
from gateway.errors import REASONS
from gateway.identity.principals import Principal
from gateway.policy.cache import Panel
from gateway.runtime import streaks
from gateway.runtime.notes import BufferedNotes
from gateway.runtime.store import RuntimeStore
from gateway.runtime.streaks import Kind, Scope, Streak
from gateway.upstream.routing import Match

logger = logging.getLogger("gateway.dataplane.outages")

SECONDS: Final = 60
"""So long nothing has succeeded in an outage."""
RECENT_SECONDS: Final = 300
"""So long after the last refusal it is not known whether an outage goes on."""
_RETRY_SECONDS: Final = 60
"""So long after the last refusal a worker is ready again, so that requests come and show how it is."""
LEAST: Final = 3
"""Fewer refusals than this are no outage, however far they lie apart."""
WRITTEN_SECONDS: Final = 10  # a streak of refusals is told to other processes from this length on
_SCOPES: Final = 5000  # the most that are remembered

FAULTS: Final = frozenset(
    {"audit_unavailable", "registry_unavailable", "policy_not_loaded", "overloaded", "gateway_error"}
    | {"outcome_unrecorded"}
)
"""Refusals for which neither clients nor policies nor providers are to blame."""
OF_CLIENTS: Final = frozenset(
    {"bad_request", "duplicate_key", "bad_credentials", "agent_suspended", "key_scope", "policy_denied"}
    | {"foreign_reference", "tool_unapproved", "person_required", "approval_required", "unknown_route"}
    | {"wrong_method", "too_large", "unsupported_encoding", "websocket_refused", "limit_exceeded"}
)
"""Refusals that are as somebody wants them, unless the client is to do something else."""
# Of calls that no answer has come to, which the log tells apart.
_BROKEN: Final = {"circuit_open": "upstream_error", "upstream_incomplete": "upstream_error"}
# These say neither that requests are served nor that they are refused.
_NEUTRAL: Final = frozenset({"client_disconnected", "gateway_stopped", "revoked"})

_GATEWAY: Final = Scope("gateway")

_Of: TypeAlias = tuple[Principal | None, Match | None, Panel | None]
"""A request's principal, its upstream, and the bundles that have judged it; None for those it has not reached yet."""


class Outage(NamedTuple):
    """Everything of this scope is refused, in all workers, since `since_ns`."""

    scope: Scope
    since_ns: int
    last_ns: int
    refusals: int
    codes: tuple[str, ...]

    @property
    def is_fault(self) -> bool:
        """True if the gateway itself is to blame for all of it."""
        return FAULTS.issuperset(self.codes)

    @property
    def is_wanted(self) -> bool:
        """True if somebody may want it so."""
        return OF_CLIENTS.issuperset(self.codes)


_Taken = tuple[list[tuple[Scope, Streak]], list[Scope]]


class Outages(BufferedNotes[_Taken]):
    """The streaks of one worker."""

    SECONDS = 5.0
    WHAT = "refusals of everything"

    def __init__(self, store: RuntimeStore, worker: str) -> None:
        super().__init__(store)
        self._worker = worker
        self._streaks: dict[Scope, Streak] = {}
        # Successes that are not in the streaks yet, and their times, by the ids of what they are of: the last of each.
        self._successes: dict[tuple[int, ...], tuple[_Of, int]] = {}
        self._told: set[Scope] = set()

    def finished(self, observed: Observed) -> None:
        """A request has ended."""
        outcome = observed.outcome
        if outcome in _NEUTRAL:
            return
        code = _BROKEN.get(outcome, outcome if outcome in REASONS or outcome in FAULTS else "")
        if outcome == "provider_error" and observed.status != observed.upstream_status:
            code = "upstream_unavailable"  # the provider refuses the gateway's credential
        of, now_ns = (observed.principal, observed.match, observed.panel), time.time_ns()
        if not code:
            # Nearly all requests end so, and what that means for their scopes matters only when somebody looks.
            self._successes[id(of[0]), id(of[1]), id(of[2])] = of, now_ns
            return
        self._note_successes()
        self._note(of, code, now_ns)

    def _note_successes(self) -> None:
        for of, now_ns in self._successes.values():
            self._note(of, "", now_ns)
        self._successes.clear()

    def _note(self, of: _Of, code: str, now_ns: int) -> None:
        for scope in _scopes(*of, code):
            streak = self._streaks.get(scope)
            if streak is None:
                if len(self._streaks) >= _SCOPES:
                    del self._streaks[next(iter(self._streaks))]
                streak = self._streaks[scope] = Streak()
            streak.note(code, now_ns)

    async def works(self) -> bool:
        """False while this worker refuses everything for reasons of the gateway's own. For `/readyz`."""
        self._note_successes()
        streak, now_ns = self._streaks.get(_GATEWAY), time.time_ns()
        found = None if streak is None else _outage(_GATEWAY, [streak], now_ns)
        return found is None or not found.is_fault or now_ns - found.last_ns > _RETRY_SECONDS * 1_000_000_000

    async def flush(self) -> None:
        """Tell other processes what they do not know yet."""
        told, over = self._rows(await self._store.look(streaks.read, self._store.path))
        if told or over:
            await self._store.note(self._written, (told, over))

    def _take(self) -> _Taken | None:
        """A worker that ends refuses nothing any more."""
        return ([], list(self._told)) if self._told else None

    def _write(self, taken: _Taken) -> None:
        told, over = taken
        streaks.write(self._store, self._worker, told, over)
        self._told = (self._told | {scope for scope, _ in told}) - set(over)

    def _rows(self, stored: dict[Scope, dict[str, Streak]]) -> tuple[list[tuple[Scope, Streak]], list[Scope]]:
        """The streaks that others must be told of, which are long ones and successes where others have a streak; and
        those that are of no interest any more.
        """
        self._note_successes()
        told, over = [], []
        for scope, streak in self._streaks.items():
            known = stored.get(scope, {})
            if any(each.success_ns > streak.since_ns for each in known.values()) and streak.refusals:
                streak.begin_anew()
            is_long = streak.refusals >= LEAST and streak.last_ns - streak.since_ns >= WRITTEN_SECONDS * 1_000_000_000
            if is_long or any(each.refusals for worker, each in known.items() if worker != self._worker):
                if known.get(self._worker) != streak:
                    told.append((scope, replace(streak, codes=set(streak.codes))))
            elif self._worker in known:
                over.append(scope)
        return told, over


class Herald:
    """Logs each outage once when it has begun, and once when it is over. Belongs to the control process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[Scope, Outage] = {}

    def look(self, live: Container[str], now_ns: int) -> None:
        """Compare with the last look."""
        found = {each.scope: each for each in read(self._path, live, now_ns)}
        for scope, outage in found.items():
            if scope not in self._known:
                logger.log(logging.WARNING if outage.is_wanted else logging.ERROR, "%s", sentence(outage))
        for scope in self._known.keys() - found.keys():
            logger.warning("this is over: %s was refused", whose(scope))
        self._known = found


def read(path: Path, live: Container[str], now_ns: int) -> list[Outage]:
    """The outages that all workers together have, the widest first. Those that are not `live` do not count."""
    found = []
    for scope, known in streaks.read(path).items():
        success_ns = max(each.success_ns for each in known.values())
        left = [each for worker, each in known.items() if worker in live and each.refusals]
        outage = _outage(scope, left, now_ns, success_ns)
        if outage is not None:
            found.append(outage)
    order: tuple[Kind, ...] = ("gateway", "organization", "upstream", "bundle", "agent")
    return sorted(found, key=lambda each: (order.index(each.scope.kind), each.since_ns, each.scope.id))


def sentence(outage: Outage) -> str:
    """An outage in words."""
    codes = ", ".join(f"`{each}`" for each in outage.codes)
    seconds = (outage.last_ns - outage.since_ns) // 1_000_000_000
    return f"{whose(outage.scope)} has been refused for {seconds} s ({outage.refusals} times): {codes}"


def whose(scope: Scope) -> str:
    """The requests of a scope in words."""
    if scope.kind == "gateway":
        return "every request"
    preposition = {"upstream": "to", "bundle": "judged by"}.get(scope.kind, "of")
    owner = f"{scope.organization}/" if scope.organization not in ("", "default") else ""
    return f"every request {preposition} {scope.kind} `{owner}{scope.name}`"


def _scopes(principal: Principal | None, match: Match | None, panel: Panel | None, code: str) -> Iterator[Scope]:
    """The scopes that a request belongs to. Refusals of unknown clients say nothing, unless the gateway is to blame."""
    if principal is None:
        if code in FAULTS:
            yield _GATEWAY
        return
    yield _GATEWAY
    organization = principal.organization
    yield Scope("organization", organization, organization)
    yield Scope("agent", principal.agent_id, principal.name, organization)
    if match is not None:
        yield Scope("upstream", match.destination.id, match.destination.name, organization)
    if panel is not None and (not code or code.startswith("policy_")):
        for member in panel.members:
            yield Scope("bundle", member.ref.name, member.ref.name)


def _outage(scope: Scope, known: Iterable[Streak], now_ns: int, success_ns: int = 0) -> Outage | None:
    left = [each for each in known if each.refusals and each.last_ns > success_ns]
    if not left:
        return None
    since_ns = max(min(each.since_ns for each in left), success_ns)
    last_ns, refusals = max(each.last_ns for each in left), sum(each.refusals for each in left)
    if refusals < LEAST or last_ns - since_ns < SECONDS * 1_000_000_000:
        return None
    if now_ns - last_ns > RECENT_SECONDS * 1_000_000_000:
        return None
    codes = sorted({code for each in left for code in each.codes})
    return Outage(scope, since_ns, last_ns, refusals, tuple(codes))
