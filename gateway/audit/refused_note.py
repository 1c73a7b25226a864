"""Counts of refused requests that a process leaves behind, for whoever finds it dead.

Refusals are recorded in aggregate, so some are only counted when a process is killed. It writes them into a note every
second (`storage/liveness.py`). Each has the event id that its entry will have: what was recorded meanwhile is not
recorded again.
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

logger = logging.getLogger("gateway.audit")


def pack(refused: Iterable[Refused]) -> bytes:
    """The note about these, in one line; empty if there are none."""
    documents = [{item.name: _plain(getattr(each, item.name)) for item in fields(each)} for each in refused]
    return orjson.dumps(documents) if documents else b""


def record(writer: AuditWriter, note: bytes) -> None:
    """Record what a note says. Raises `audit_unavailable`: then the note must be kept."""
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
