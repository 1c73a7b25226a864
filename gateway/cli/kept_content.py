"""Kept content for commands: opened with the keys of the data directory, or said why it cannot be (docs/content.md)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from gateway.cli.audit_files import opened_log
from gateway.errors import Denied, GatewayError
from gateway.processes import local
from gateway.settings import DataDirectory

if TYPE_CHECKING:
    from gateway.audit.lookup import Decision
    from gateway.audit.search import Found

Input: TypeAlias = dict[str, Any] | None


def read(data: DataDirectory, decision: Decision) -> dict[str, Any]:
    """What is kept of a decision's content, part by part; that it was read is in the log before this returns.

    Raises `no_content`, or `content_unreadable`.
    """
    from gateway.audit import content

    decided = decision.decided
    with opened_log(data.audit_db) as db:
        if not content.rows(db, decision.id):
            raise _nothing(decision)
    sealed = _record_reading(data, decision)
    with opened_log(data.audit_db) as db:
        return {part: _value(text) for part, text in _opened(db, decided, _key(data, sealed, decided)).items()}


def redacted(decision: Decision, part: str) -> int:
    """How many places of a part were redacted."""
    found = decision.decided if part == "request" else decision.completed
    count = found.entry.get("content_redacted") if found is not None else None
    return count if isinstance(count, int) else 0


def completing(data: Path) -> Callable[[sqlite3.Connection, Found, Input], Input]:
    """A function that puts the request into the input of a decision, where the log keeps it as it was judged.

    This is for judging again. Nothing is shown, so no reading is recorded. What cannot be opened is left out.
    """
    keys: dict[str, bytes | None] = {}

    def complete(db: sqlite3.Connection, decided: Found, document: Input) -> Input:
        from gateway.upstream import strict_json

        entry = decided.entry
        if document is None or "content_commitment" not in entry or "content_redacted" in entry:
            return document
        try:
            agent = str(entry["agent"])
            if agent not in keys:
                keys[agent] = _key(DataDirectory(data), _sealed_key(data, decided), decided)
            body = strict_json.parse(_opened(db, decided, keys[agent])["request"].encode())
            return {**document, "request": {**document["request"], "body": body}}
        except (GatewayError, Denied, OSError, KeyError, TypeError):
            return document

    return complete


def with_request(data: DataDirectory, decision: Decision) -> Decision:
    """The decision with the request in its input, if the log keeps it as it was judged. For judging again."""
    with opened_log(data.audit_db) as db:
        return replace(decision, input=completing(data.path)(db, decision.decided, decision.input))


def read_request(data: DataDirectory, decision: Decision) -> Decision | None:
    """The decision with the request in its input, for an answer that shows values of it; None if it is not to be had.

    That it was read is in the log before this returns. Raises `GatewayError` if that cannot be recorded.
    """
    filled = with_request(data, decision)
    if filled.input is decision.input:
        return None
    _record_reading(data, decision)
    return filled


def _record_reading(data: DataDirectory, decision: Decision) -> bytes | None:
    """Record that the content of a decision is read; returns the sealed key of its agent."""
    from gateway.registry import agent_updates

    with local.changing(data.path) as registry:
        return agent_updates.read_content(
            registry,
            actor=local.actor(),
            organization=decision.decided.organization,
            agent=str(decision.decided.entry["agent"]),
            decision=decision.id,
        )


def _opened(db: sqlite3.Connection, decided: Found, key: bytes | None) -> dict[str, str]:
    from gateway.audit import content

    return {
        part: content.unseal(
            key,
            sealed,
            organization=decided.organization,
            agent=str(decided.entry["agent"]),
            decision=decided.event_id,
            part=part,
        ).decode("utf-8", "replace")
        for part, sealed in content.rows(db, decided.event_id)
    }


def _key(data: DataDirectory, sealed: bytes | None, decided: Found) -> bytes | None:
    """The key of the agent of a decision; None if it was destroyed."""
    from gateway.registry import content_keys
    from gateway.registry.vault import Vault

    if sealed is None:
        return None
    return content_keys.opened(Vault.load(data.keys), sealed, decided.organization, str(decided.entry["agent"]))


def _sealed_key(data: Path, decided: Found) -> bytes | None:
    from gateway.registry import queries

    with local.reading(data) as registry:
        return queries.content_key(registry, decided.organization, str(decided.entry["agent"]))


def _nothing(decision: Decision) -> GatewayError:
    entry = decision.decided.entry
    why = ""
    if "content_commitment" in entry:
        why = " any more: it has expired, or was erased"
    elif omitted := entry.get("content_omitted"):
        why = f": {omitted}"
    hint = "`gateway agents update AGENT --keep-content --retention-days N` keeps that of later calls"
    return GatewayError("no_content", f"no content of `{decision.id}` is kept{why}", subject=decision.id, hint=hint)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
