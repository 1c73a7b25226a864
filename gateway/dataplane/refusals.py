"""Requests refused before any decision: they are counted, and recorded so that no flood can fill the log.

Refusals without a principal (an unknown key, a malformed request) are only counted: one entry per reason and interval
in the `system` log. Refusals of a known key go to its organization's log: the first ten a minute one by one, the rest
in aggregate. Recording a refusal delays no answer, and counters that could not be written are kept for the next time.
Specification: docs/architecture.md, section 10.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future
from dataclasses import dataclass

from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM, Refused
from gateway.audit.writer import AuditWriter, Committed
from gateway.errors import Denied, PrincipalHint

INTERVAL = 10.0
ONE_BY_ONE = 10
_MINUTE_NS = 60_000_000_000


@dataclass(slots=True)
class _Count:
    count: int
    first_ns: int
    last_ns: int


class Refusals:
    """The counters of one worker; used from its event loop's thread only."""

    def __init__(self, writer: AuditWriter) -> None:
        self._writer = writer
        # (organization, reason, why) to its count since the last entry. `why` is one of few words, never client text.
        self._counts: dict[tuple[str, str, str], _Count] = {}
        # Organization to how many entries of its own it had in this minute.
        self._single: dict[str, int] = {}
        self._minute = 0

    def add(self, denied: Denied, owner: PrincipalHint | None = None) -> None:
        """Count one refusal. `owner` made the request, if the refusal itself does not name its principal."""
        owner = denied.principal_hint or owner
        why = denied.detail if denied.code == "bad_credentials" else ""
        now = time.time_ns()
        if owner is not None and self._may_stand_alone(owner.organization, now):
            count = _Count(1, now, now)
            if self._record((owner.organization, denied.code, why), count, owner):
                return
        self._count((SYSTEM if owner is None else owner.organization, denied.code, why), _Count(1, now, now))

    def add_code(self, code: str) -> None:
        """Count a refusal of the listener, which only knows the reason."""
        self.add(Denied(code))

    def flush(self) -> None:
        """Record every counter and start again from zero."""
        counts, self._counts = self._counts, {}
        for key, count in counts.items():
            if not self._record(key, count, None):
                self._count(key, count)

    async def run(self) -> None:
        """Flush at every interval, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            self.flush()

    def _may_stand_alone(self, organization: str, now: int) -> bool:
        minute = now // _MINUTE_NS
        if minute != self._minute:
            self._minute = minute
            self._single.clear()
        used = self._single.get(organization, 0)
        self._single[organization] = used + 1
        return used < ONE_BY_ONE

    def _count(self, key: tuple[str, str, str], more: _Count) -> None:
        count = self._counts.setdefault(key, _Count(0, more.first_ns, more.last_ns))
        count.count += more.count
        count.first_ns = min(count.first_ns, more.first_ns)
        count.last_ns = max(count.last_ns, more.last_ns)

    def _record(self, key: tuple[str, str, str], count: _Count, owner: PrincipalHint | None) -> bool:
        """Hand an entry to the writer; false if it accepts none now. A later failure puts the count back."""
        organization, reason, why = key
        intent = Refused(
            organization=organization,
            reason=reason,
            count=count.count,
            first_ns=count.first_ns,
            last_ns=count.last_ns,
            agent=owner.agent_id if owner else None,
            key=owner.key_id if owner else None,
            fields={"detail": why} if why else {},
        )
        try:
            future = self._writer.submit(intent)
        except AuditError:
            return False
        loop = asyncio.get_running_loop()

        def done(future: Future[Committed]) -> None:
            if future.exception() is not None and not loop.is_closed():
                loop.call_soon_threadsafe(self._count, key, count)

        future.add_done_callback(done)
        return True
