"""Kept content for commands: opened with the keys of the data directory, or said why it cannot be (content.md)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.audit.lookup import Decision
    from gateway.control.kept_requests import Complete


def read(data: DataDirectory, decision: Decision) -> dict[str, Any]:
    """What is kept of a decision's content, part by part; that it was read is in the log before this returns.

    Raises `no_content`, or `content_unreadable`.
    """
    from gateway.audit import content
    from gateway.control import kept_requests
    from gateway.secrets.vault import Vault

    decided = decision.decided
    with opened_log(data) as db:
        if not content.rows(db, decision.id):
            raise _nothing(decision)
    sealed = _record_reading(data, decision)
    with opened_log(data) as db:
        key = kept_requests.key(lambda: Vault.load(data.keys), sealed, decided)
        return {part: _value(text) for part, text in kept_requests.parts(db, decided, key).items()}


def redacted(decision: Decision, part: str) -> int:
    """How many places of a part were redacted."""
    found = decision.decided if part == "request" else decision.completed
    count = found.entry.get("content_redacted") if found is not None else None
    return count if isinstance(count, int) else 0


def completing(data: DataDirectory) -> Complete:
    """A function that puts the request into the input of a decision, for judging again (`control/kept_requests.py`)."""
    from gateway.control import kept_requests
    from gateway.secrets.vault import Vault

    return kept_requests.completing(lambda: local.reading(data.path), lambda: Vault.load(data.keys))


def with_request(data: DataDirectory, decision: Decision) -> Decision:
    """The decision with the request in its input, if the log keeps it as it was judged. For judging again."""
    with opened_log(data) as db:
        return replace(decision, input=completing(data)(db, decision.decided, decision.input))


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
    from gateway.registry.agents.changes import read_content

    with local.changing(data.path) as registry:
        return read_content(
            registry,
            actor=local.actor(),
            organization=decision.decided.organization,
            agent=str(decision.decided.entry["agent"]),
            decision=decision.id,
        )


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
