"""The note in which a process leaves its counts of refused requests, in case it is killed.

Refusals are recorded in aggregate, so a killed process has counts that are not in the log. It writes them into a note
every second (`storage/membership.py`), and the control process records them. Each count has the event id of its entry,
so that a count which was recorded before the kill is not recorded again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import fields
from typing import Any

import orjson

from gateway.audit.errors import AuditError
from gateway.audit.intents import Refused
from gateway.audit.writer import AuditWriter

logger = logging.getLogger("gateway.audit.refused_note")


def pack(refused: Iterable[Refused]) -> bytes:
    """The note about these, in one line; empty if there are none."""
    documents = [{item.name: _plain(getattr(each, item.name)) for item in fields(each)} for each in refused]
    return orjson.dumps(documents) if documents else b""


def record(writer: AuditWriter, note: bytes) -> None:
    """Record the counts in a note. If this raises `audit_unavailable`, the note must be kept."""
    try:
        intents = [Refused(**document) for document in orjson.loads(note)]
    except (orjson.JSONDecodeError, TypeError):
        logger.warning("a note about refused requests cannot be read, and is dropped")
        return
    for intent in intents:
        try:
            writer.write_sync(intent)
        except AuditError as error:
            if error.code == "audit_unavailable":
                raise
            if error.code != "event_conflict":  # a later count of the same refusals is in the log
                logger.warning("a count of refused requests cannot be recorded: %s", error.message)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, dict) else value
