"""Requests about the audit log, and for the sums over it."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gateway.audit.lookup import Decision
from gateway.audit.proofs import Proof
from gateway.audit.search import MOST_LOOKED_AT, Filters, Found
from gateway.control.decisions import JudgedAgain
from gateway.control.usage_reports import UsageAsked, UsageLine, UsageReport
from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.client import Client
from gateway.usage.totals import Counts


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry, and the name of the agent that it is about, as far as the log says it."""

    found: Found
    agent_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """One entry; of a decision also what was kept of it, and what its bundles say when they are asked again."""

    found: Found
    decision: Decision | None = None
    again: JudgedAgain | None = None


@dataclass(slots=True)
class Listing:
    """The newest entries that match, oldest first. `stopped_ns` is where the search gave up, if it did."""

    entries: Sequence[Listed]
    stopped_ns: int | None
    looked_at: int
    _client: Client
    _query: dict[str, Any]
    _next: str

    def more(self) -> Sequence[Listed]:
        """Those that were written since, or since this was asked."""
        page = self._client.get(
            "audit", "entries", **self._query, cursor=self._next, limit=str(self._client.transport.page)
        ).body
        self._next = page["next"]
        return [_listed(each) for each in page["items"]]


def listed(gateway: Client, wanted: Filters, limit: int) -> Listing:
    query = {
        "organization": wanted.organization,
        "everywhere": "true" if wanted.organization is None else None,
        "agent": wanted.agent,
        "id": wanted.id,
        "kind": wanted.kind,
        "allow": None if wanted.allow is None else str(wanted.allow).lower(),
        "reason": wanted.reason,
        "model": wanted.model,
        "person": wanted.person,
        "since": documents.time_text(wanted.since_ns),
        "until": documents.time_text(wanted.until_ns),
    }
    pages: list[list[dict[str, Any]]] = []  # the newest first
    following, before, left, looked_at = "", None, limit, 0
    while True:
        size = str(min(gateway.transport.page, left))
        page = gateway.get("audit", "entries", **query, before=before, limit=size).body
        pages.append(page["items"])
        following, before = following or page["next"], page["older"]
        left, looked_at = left - len(page["items"]), looked_at + page["looked_at"]
        gave_up = page["stopped"] is not None and looked_at >= MOST_LOOKED_AT
        if before is None or left <= 0 or gave_up:
            break
    found = [_listed(each) for items in reversed(pages) for each in items]
    stopped = documents.nanoseconds(page["stopped"]) if gave_up else None
    return Listing(found, stopped, looked_at, gateway, query, following)


def show(gateway: Client, event_id: str, *, explained: bool = False) -> LookedUp:
    body = gateway.get("audit", "entries", event_id, explain="true" if explained else None).body
    found, shown = _found(body["entry"]), body["decision"]
    if shown is None:
        return LookedUp(found=found)
    completed = None if shown["completed"] is None else _found(shown["completed"])
    decision = Decision(_found(shown["decided"]), completed, shown["input"])
    again = JudgedAgain(
        bundles=shown["bundles"],
        verdict=shown["judged_again"],
        agrees=shown["agrees"],
        problem=shown["problem"],
    )
    return LookedUp(found=found, decision=decision, again=again)


def checkpoint(gateway: Client, organization: str) -> str:
    note: str = gateway.get("audit", "checkpoint", organization=organization).body["checkpoint"]
    return note


def proof(gateway: Client, organization: str | None, event_id: str | None, since: int | None) -> Proof:
    query = {"organization": organization, "entry": event_id, "since": None if since is None else str(since)}
    body = gateway.get("audit", "proof", **query).body
    try:
        return Proof(
            organization=body["organization"],
            checkpoint=body["checkpoint"],
            index=body["index"],
            leaf=None if body["leaf"] is None else base64.b64decode(body["leaf"], validate=True),
            inclusion=[base64.b64decode(each, validate=True) for each in body["inclusion"]],
            consistency=[base64.b64decode(each, validate=True) for each in body["consistency"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GatewayError("unexpected_answer", "the gateway's answer is no proof") from error


def report(gateway: Client, asked: UsageAsked) -> UsageReport:
    query = {
        "by": ",".join(asked.by),
        "since": asked.since,
        "until": asked.until,
        "at": asked.at,
        "zone": asked.zone,
        **asked.only,
    }
    body = gateway.get("usage", **query).body
    lines = [
        UsageLine(
            key=each["key"],
            counts=documents.record(Counts, each["counts"]),
            agent_id=each["agent_id"],
            window=each["window"],
            since_ns=documents.nanoseconds(each["from"]),
        )
        for each in body["items"]
    ]
    since_ns, until_ns = documents.nanoseconds(body["from"]), documents.nanoseconds(body["to"])
    return UsageReport(lines=lines, since_ns=since_ns, until_ns=until_ns, zones=body["zones"])


def _found(item: dict[str, Any]) -> Found:
    return Found(
        position=0,
        organization=item["organization"],
        seq=item["seq"],
        kind=item["kind"],
        time_ns=documents.nanoseconds(item["time"]),
        entry=item["entry"],
        event_id=item["id"],
    )


def _listed(item: dict[str, Any]) -> Listed:
    return Listed(_found(item), item["agent_name"])
