"""Requests refused before any decision: they are counted, and recorded so that no flood can fill the log.

Refusals without a principal (an unknown key, a malformed request) are only counted: one entry per reason and interval
in the `system` log. Refusals of a known key go to its organization's log: the first ten a minute one by one, the rest
in aggregate. Recording a refusal delays no answer, and what could not be written is tried again at the next interval.

Every second, what is not recorded yet is written into a note, from which it is recorded if this process is killed.
Specification: docs/architecture.md, section 10.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field

from gateway.audit import refused_note
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM, Refused
from gateway.audit.writer import AuditWriter, Committed
from gateway.errors import Denied, PrincipalHint
from gateway.identifiers import uuid7

INTERVAL = 10.0
NOTE_SECONDS = 1.0
ONE_BY_ONE = 10
_UNRECORDED = 1000  # entries that wait for the log; while it cannot be written counters go on counting instead
_MINUTE_NS = 60_000_000_000
# Refusals whose detail is one of few words, which say what of the credential was wrong.
_EXPLAINED = frozenset({"bad_credentials", "agent_suspended"})


@dataclass(slots=True)
class _Count:
    """A counter, and the event id that its entry will have."""

    first_ns: int
    last_ns: int
    count: int = 0
    event_id: str = field(default_factory=lambda: "rfs_" + uuid7())


_Key = tuple[str, str, str]
"""Organization, reason, and why: one of few words, never client text."""


class Refusals:
    """The counters of one worker; used from its event loop's thread only.

    `leave` keeps a note beyond the worker's death, `tell` is called with the reason of each refusal.
    """

    def __init__(
        self, writer: AuditWriter, leave: Callable[[bytes], None], tell: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._writer = writer
        self._leave = leave
        self._tell = tell
        self._counts: dict[_Key, _Count] = {}
        self._unrecorded: dict[str, Refused] = {}  # entries that are not durable yet, by event id
        self._in_flight: set[str] = set()  # those of them that the writer has
        self._changed = False  # since the last note
        # Organization to how many entries of its own it had in this minute.
        self._single: dict[str, int] = {}
        self._minute = 0

    def add(self, denied: Denied, owner: PrincipalHint | None = None) -> None:
        """Count one refusal. `owner` made the request, if the refusal itself does not name its principal."""
        owner = denied.principal_hint or owner
        why = denied.detail if denied.code in _EXPLAINED else ""
        now = time.time_ns()
        self._tell(denied.code)
        key = (SYSTEM if owner is None else owner.organization, denied.code, why)
        self._changed = True
        if owner is not None and self._may_stand_alone(owner.organization, now):
            self._record(_intent(key, _Count(now, now, 1), owner))
            return
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = _Count(now, now)
        count.count += 1
        count.last_ns = now

    def add_code(self, code: str) -> None:
        """Count a refusal of the listener, which only knows the reason."""
        self.add(Denied(code))

    def flush(self) -> None:
        """Record every counter and begin anew, and try again what could not be recorded."""
        for intent in [each for event_id, each in self._unrecorded.items() if event_id not in self._in_flight]:
            self._record(intent)
        if len(self._unrecorded) < _UNRECORDED:
            counts, self._counts = self._counts, {}
            for key, count in counts.items():
                self._record(_intent(key, count, None))
        self.note()

    def note(self) -> None:
        """Leave what is not recorded yet, if that has changed."""
        if self._changed:
            self._changed = False
            counted = [_intent(key, count, None) for key, count in self._counts.items()]
            self._leave(refused_note.pack([*self._unrecorded.values(), *counted]))

    async def run(self) -> None:
        """Flush at every interval and keep the note up to date, until cancelled."""
        loop = asyncio.get_running_loop()
        due = loop.time() + INTERVAL
        while True:
            await asyncio.sleep(NOTE_SECONDS)
            if loop.time() < due:
                self.note()
            else:
                self.flush()
                due = loop.time() + INTERVAL

    def _may_stand_alone(self, organization: str, now: int) -> bool:
        minute = now // _MINUTE_NS
        if minute != self._minute:
            self._minute = minute
            self._single.clear()
        used = self._single.get(organization, 0)
        self._single[organization] = used + 1
        return used < ONE_BY_ONE

    def _record(self, intent: Refused) -> None:
        """Hand an entry to the writer. If it takes none now, or cannot record it, the next flush tries again."""
        event_id = str(intent.event_id)
        self._unrecorded[event_id] = intent
        loop = asyncio.get_running_loop()

        def done(future: Future[Committed]) -> None:
            with suppress(RuntimeError):  # the loop is closed: the note still says it
                loop.call_soon_threadsafe(self._settle, event_id, future.exception() is None)

        with suppress(AuditError):
            future = self._writer.submit(intent)
            self._in_flight.add(event_id)
            future.add_done_callback(done)

    def _settle(self, event_id: str, recorded: bool) -> None:
        self._in_flight.discard(event_id)
        if recorded:
            self._unrecorded.pop(event_id, None)
            self._changed = True
            if not self._unrecorded and not self._counts:
                self.note()  # nothing is left to say


def _intent(key: _Key, count: _Count, owner: PrincipalHint | None) -> Refused:
    organization, reason, why = key
    return Refused(
        organization=organization,
        event_id=count.event_id,
        reason=reason,
        count=count.count,
        first_ns=count.first_ns,
        last_ns=count.last_ns,
        agent=owner.agent_id if owner else None,
        key=owner.key_id if owner else None,
        fields={"detail": why} if why else {},
    )
