"""Deletion of kept content: what has expired, and everything of an agent. Each deletion is an `erasure` entry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from gateway.audit import content
from gateway.audit.intents import Erased
from gateway.audit.log_reader import LogIndex
from gateway.audit.writer import AuditWriter

BATCH: Final = 500
"""The number of decisions that one entry names: their ids must fit into it."""

_Pending = Callable[[LogIndex], list[tuple[str, str]]]


def expired(writer: AuditWriter, now_ns: int, epoch: int = 0) -> int:
    """Delete the content that has expired; returns of how many decisions."""
    return _erase(writer, lambda db: content.expired(db, now_ns, BATCH), actor="gateway", why="expired", epoch=epoch)


def of_agent(writer: AuditWriter, agent: str, actor: str, epoch: int = 0) -> int:
    """Delete everything that is kept of an agent; returns of how many decisions."""
    return _erase(writer, lambda db: content.of_agent(db, agent, BATCH), actor=actor, why="requested", epoch=epoch)


def _erase(writer: AuditWriter, pending: _Pending, *, actor: str, why: str, epoch: int) -> int:
    count = 0
    with writer.reading() as db:
        while found := pending(db):
            organization = found[0][0]
            decisions = [decision for each, decision in found if each == organization]
            intent = Erased(organization=organization, decisions=decisions, actor=actor, why=why, epoch=epoch)
            erased = int(str(writer.write_sync(intent).entry["count"]))
            if erased == 0:  # another process was quicker, or they would be found again without end
                break
            count += erased
    return count
