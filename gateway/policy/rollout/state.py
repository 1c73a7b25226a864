"""The policies in force, and the fate of newer commits: for commands and the control API.

The registry has what is in force. Only the log has the reason why a commit was refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.audit import search
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import LogIndex
from gateway.audit.search import FoundEntry
from gateway.data_directory import DataDirectory
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.records import ActivationRecord, BundleRecord

OK: Final = "ok"
"""The outcome of a commit that came into force."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyAttempt:
    """A commit that came into force (`OK`), or was refused: why, and what was found."""

    id: str
    time_ns: int
    commit: str
    author: str
    actor: str
    outcome: str
    detail: str
    bundles: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class InForce:
    """The activation in force, with its bundles by name."""

    id: str
    commit: str
    author: str
    actor: str
    since_ns: int
    bundles: list[BundleRecord]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyState:
    """The revision in force (None: nothing, so everything is denied), and the last attempts, newest first.

    `refused` is the newest of them if it was refused and the branch that is followed still has the commit.
    """

    in_force: InForce | None
    attempts: list[PolicyAttempt]
    refused: PolicyAttempt | None


def state(
    registry: Registry, data: DataDirectory, limit: int, followed: Callable[[str], bool] | None = None
) -> PolicyState:
    """At most `limit` attempts, which are recent ones. Raises `GatewayError` if the log cannot be read.

    `followed` tells of a commit whether the branch has it; without it, it counts as if the branch had.
    """
    # In this order, because the log has it later: what comes into force meanwhile is never said to be replaced.
    with opened_log(data) as log:
        attempts = attempted(log, limit)
    active = queries.activation(registry)
    newest = attempts[0] if attempts else None
    if newest is not None and (newest.outcome == OK or not (followed is None or followed(newest.commit))):
        newest = None
    return PolicyState(in_force=None if active is None else _in_force(active), attempts=attempts, refused=newest)


def attempted(log: LogIndex, limit: int) -> list[PolicyAttempt]:
    """At most so many attempts, newest first, which are recent ones."""
    return [_attempt(each) for each in search.activations(log, limit) if each.entry]


def _attempt(found: FoundEntry) -> PolicyAttempt:
    entry = found.entry
    bundles = json.loads(str(entry.get("bundles_json") or "[]"))
    return PolicyAttempt(
        id=found.event_id or str(entry["id"]),
        time_ns=found.time_ns,
        commit=str(entry.get("commit", "")),
        author=str(entry.get("author", "")),
        actor=str(entry.get("actor", "")),
        outcome=str(entry.get("outcome", OK)),
        detail=str(entry.get("detail") or ""),
        bundles=[each["name"] for each in bundles],
    )


def _in_force(active: ActivationRecord) -> InForce:
    bundles = [active.bundles[name] for name in sorted(active.bundles)]
    return InForce(
        id=active.id,
        commit=active.commit,
        author=bundles[0].author if bundles else "",
        actor=active.actor,
        since_ns=active.created_ns,
        bundles=bundles,
    )
