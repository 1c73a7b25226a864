"""Refused requests that have no entry of their own: they are counted, and recorded so that no flood can fill the log.

Refusals without a principal (an unknown key, a malformed request) are only counted: one entry per reason and interval
in the `system` log. Refusals of a known key go to its organization's log: the first ten a minute one by one, the rest
in aggregate. So do denials of policies and limits beyond their agent's pace (`Denials`): one entry per agent, reason
and interval. Recording a refusal delays no answer, and what could not be written is tried again at the next interval.
An entry says what was asked for: method, path and model of the first few different requests that it counts.

Every second, what is not recorded yet is written into a note, from which it is recorded if this process is killed.
Specification: architecture.md, section 10.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from gateway.audit import refused_note
from gateway.audit.entry import document
from gateway.audit.errors import AuditError
from gateway.audit.intents import SYSTEM, Decided, Refused
from gateway.audit.writer import AuditWriter, Committed
from gateway.dataplane.admission import holders_of
from gateway.errors import Denied, PrincipalHint, looks_like
from gateway.identifiers import uuid7
from gateway.identity.principals import Principal
from gateway.logs import clean
from gateway.pace import Pace, Rate

INTERVAL = 10.0
NOTE_SECONDS = 1.0
ONE_BY_ONE = 10
NAMED = 64  # agents of one organization whose denials are counted apart in one interval
_ASKED = 5  # different requests that one entry names
_LONGEST = 160  # characters of a path or a model
_UNRECORDED = 1000  # entries that wait for the log; while it cannot be written counters go on counting instead
_MINUTE_NS = 60_000_000_000
# Refusals whose detail is one of few words, which say what of the credential was wrong. So does the detail of a share
# that is used up.
EXPLAINED = frozenset({"bad_credentials", "agent_suspended", "peer_refused"})


class Asked(NamedTuple):
    """The call that a request asked for, in the client's words. An entry holds a short and harmless form of it."""

    method: str = ""
    path: str = ""
    model: str = ""


_NOTHING = Asked()


class _Key(NamedTuple):
    """Refusals with the same key are counted together. None of it is text of a client."""

    organization: str
    reason: str
    why: str = ""
    # Of denials by policies and limits; of other refusals only where one has an entry of its own.
    agent: str | None = None
    key: str | None = None
    judged: bool = False


@dataclass(slots=True)
class _Count:
    """A counter, and the event id that its entry will have."""

    first_ns: int
    last_ns: int
    count: int = 0
    event_id: str = field(default_factory=lambda: "rfs_" + uuid7())
    asked: dict[Asked, int] = field(default_factory=dict)
    beside: str = ""  # the entry whose id clients were told

    def add(self, asked: Asked, now: int) -> None:
        self.count += 1
        self.last_ns = now
        if asked in self.asked or (asked != _NOTHING and len(self.asked) < _ASKED):
            self.asked[asked] = self.asked.get(asked, 0) + 1


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
        self._in_flight: set[str] = set()  # the ids of those that the writer has
        self._changed = False  # since the last note
        # The id that clients are told of refusals that they must not tell apart, in this interval.
        self._alike: dict[str, str] = {}
        # Organization to how many entries of its own it had in this minute.
        self._single: dict[str, int] = {}
        self._minute = 0

    def add(self, denied: Denied, owner: PrincipalHint | None = None, asked: Asked = _NOTHING) -> str:
        """Count one refusal; returns the id by which an operator finds the entry that will count it.

        `owner` made the request, if the refusal itself does not name its principal. Refusals that a client must not
        tell apart share one id: that of the first such entry of an interval, which the others name.
        """
        seen = looks_like(denied.detail) if denied.code == "bad_credentials" else ""
        alike = seen if seen in ("unknown", "malformed") else ""
        found = self._add(denied, owner, asked, alike)
        return self._alike[alike] if alike else found

    def _add(self, denied: Denied, owner: PrincipalHint | None, asked: Asked, alike: str) -> str:
        owner = _known_here(denied.principal_hint or owner)
        shared = denied.code == "overloaded" and owner is not None and denied.reasons
        why = denied.detail if denied.code in EXPLAINED or shared else ""
        now = time.time_ns()
        self._tell(denied.code)
        key = _Key(SYSTEM if owner is None else owner.organization, denied.code, why)
        if owner is not None and self._may_stand_alone(owner.organization, now):
            self._changed = True
            alone = self._new(now, alike)
            alone.add(_short(asked), now)
            self._record(_intent(key._replace(agent=owner.agent_id, key=owner.key_id), alone))
            return alone.event_id
        return self._count(key, asked, now, alike)

    def add_denial(self, code: str, owner: PrincipalHint, asked: Asked) -> str:
        """Count one denial by policies or limits; returns the id of the entry that will count it."""
        organization = SYSTEM if _of_peer(owner) else owner.organization
        key = _Key(organization, code, "", owner.agent_id, owner.key_id, judged=True)
        if key not in self._counts and sum(each.organization == key.organization for each in self._counts) >= NAMED:
            key = key._replace(agent=None, key=None)
        return self._count(key, asked, time.time_ns())

    def _new(self, now: int, alike: str) -> _Count:
        made = _Count(now, now)
        if alike and (told := self._alike.setdefault(alike, made.event_id)) != made.event_id:
            made.beside = told
        return made

    def _count(self, key: _Key, asked: Asked, now: int, alike: str = "") -> str:
        self._changed = True
        count = self._counts.get(key)
        if count is None:
            count = self._counts[key] = self._new(now, alike)
        count.add(_short(asked), now)
        return count.event_id

    def add_code(self, code: str) -> None:
        """Count a refusal of the listener, which only knows the reason."""
        self.add(Denied(code))

    def flush(self) -> None:
        """Record every counter and begin anew, and try again what could not be recorded."""
        for intent in [each for event_id, each in self._unrecorded.items() if event_id not in self._in_flight]:
            self._record(intent)
        if len(self._unrecorded) < _UNRECORDED:
            counts, self._counts, self._alike = self._counts, {}, {}
            for key, count in counts.items():
                self._record(_intent(key, count))
        self.note()

    def note(self) -> None:
        """Leave what is not recorded yet, if that has changed."""
        if self._changed:
            self._changed = False
            counted = [_intent(key, count) for key, count in self._counts.items()]
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


def _of_peer(owner: PrincipalHint) -> bool:
    """True for an agent of another gateway, whose organization has no log here."""
    return owner.key_id.startswith("per_")


def _known_here(owner: PrincipalHint | None) -> PrincipalHint | None:
    return None if owner is None or _of_peer(owner) else owner


def _short(asked: Asked) -> Asked:
    """The same as text that harms nobody, whatever the client wrote."""
    return asked if asked == _NOTHING else Asked(*(_harmless(each) for each in asked))


def _harmless(text: str) -> str:
    shown = clean(text[: 2 * _LONGEST])  # a key is cut to its public part before the text is cut
    shown = shown.encode("utf-8", "replace").decode()
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _intent(key: _Key, count: _Count) -> Refused:
    fields: dict[str, str | int | bool | None] = {"detail": key.why} if key.why else {}
    if key.judged:
        fields["judged"] = True
    if count.beside:
        fields["told_as"] = count.beside
    if count.asked:
        named = [
            {"count": many, **{k: v for k, v in each._asdict().items() if v}} for each, many in count.asked.items()
        ]
        fields["asked_json"] = document(named)
        if others := count.count - sum(count.asked.values()):
            fields["asked_others"] = others
    return Refused(
        organization=key.organization,
        event_id=count.event_id,
        reason=key.reason,
        count=count.count,
        first_ns=count.first_ns,
        last_ns=count.last_ns,
        agent=key.agent,
        key=key.key,
        fields=fields,
    )


AGENT: Final = Rate(at_once=600, each_second=1)
ORGANIZATION: Final = Rate(at_once=2400, each_second=4)
UNIT: Final = 4096
"""An entry counts once, and once more for each of so many bytes that are kept of it."""


class Denials:
    """Decides which denials of policies and limits get entries of their own, in one worker; for its event loop.

    A denial costs its agent nothing, and an entry is kept for good: without a pace, an agent that repeats a denied call
    fills the disk on which everybody's calls must be recorded. So each agent, and above it its organization, has a pace
    (`gateway/pace.py`) of entries and of their bytes, of which `workers` have a part each. Calls are judged beyond it
    as well, and an allowed one is always recorded before it is forwarded.
    """

    def __init__(self, workers: int = 1) -> None:
        agent, organization = (Rate(each.at_once, each.each_second / workers) for each in (AGENT, ORGANIZATION))
        self._pace = Pace({"agent": agent, "organization": organization})

    def has_room(self, principal: Principal) -> bool:
        """True if the next denial of this agent has an entry of its own."""
        return self._pace.has_room(*holders_of(principal))

    def spend(self, principal: Principal, entry: Decided) -> None:
        """Count a denial that has an entry of its own."""
        self._pace.spend(*holders_of(principal), amount=1 + _size(entry) // UNIT)


def _size(entry: Decided) -> int:
    """About how many bytes are kept of a decision, in the log and beside it."""
    texts = sum(len(each) for each in entry.fields.values() if each.__class__ is str)
    kept = 0 if entry.content is None else len(entry.content.data)
    return texts + sum(map(len, entry.reasons)) + len(entry.private or b"") + kept
