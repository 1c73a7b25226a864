"""The states of a decision, and who may end it. Every closing that the request does not make itself is made here.

    denied               recorded as a denial, as an allow that its reservation turned around, or as a dry run, whatever
                         it allows; nothing follows
    awaiting approval    recorded as a denial of a call that people must approve; the call that runs then is another
                         decision, which names the same request (`grants.py`)
    open                 it has a row in `open_decision`, under the process (`boot`) that recorded it
    owed                 open, but its closing could not be recorded: the writer of that process keeps the closing in
                         memory and tries again. Nobody else can tell this state from `open`
    closed by request    the request has recorded its own outcome, whatever that was (`gateway/dataplane/evidence.py`)
    closed by writer     what was owed is recorded: the request's closing, now `late`, or `not_forwarded` for a decision
                         whose commit was in doubt, so that its request was refused
    closed by recovery   its process died, and what that process owed went with it: the outcome is `unknown`

The row in `open_decision` goes with the closing, in one transaction, and there can be only one closing: the first one
stands. The diagram is in architecture.md, section 10.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from enum import StrEnum
from itertools import islice
from typing import Final

from gateway.audit import grants
from gateway.audit.draft import Draft, draft
from gateway.audit.entry import Entry
from gateway.audit.intents import Completed, Decided

_NOT_FORWARDED: Final = "not_forwarded"
_UNKNOWN: Final = "unknown"
_LATE: Final = "late"


class State(StrEnum):
    """The log's entries of a decision."""

    DENIED = "denied"
    AWAITING_APPROVAL = "awaiting_approval"
    OPEN = "open"
    CLOSED_BY_REQUEST = "closed_by_request"
    CLOSED_BY_WRITER = "closed_by_writer"
    CLOSED_BY_RECOVERY = "closed_by_recovery"


def recorded(decision: Entry) -> State:
    """The state that a `decided` entry begins with."""
    if decision["open"]:
        return State.OPEN
    awaits = decision["reason"] == grants.REASON and not decision["allow"] and "approval" in decision
    return State.AWAITING_APPROVAL if awaits else State.DENIED


def closed(closing: Entry) -> State:
    """The state that a `completed` entry ends with: who has closed the decision."""
    if closing["outcome"] == _UNKNOWN:
        return State.CLOSED_BY_RECOVERY
    if closing["outcome"] == _NOT_FORWARDED or closing.get(_LATE):
        return State.CLOSED_BY_WRITER
    return State.CLOSED_BY_REQUEST


def late(closing: Completed) -> Completed:
    """The request's own closing, recorded by the writer afterwards. Its client never saw the end of the answer."""
    return replace(closing, fields={**closing.fields, _LATE: True}, others=tuple(map(late, closing.others)))


def not_forwarded(decision: Decided) -> Completed:
    """Closes a decision that may be in the log although its request was told that it is not. It used nothing."""
    return Completed(
        organization=decision.organization,
        decision_id=decision.event_id,
        agent=decision.agent,
        outcome=_NOT_FORWARDED,
        settled=(0, 0, 0),
        epoch=decision.epoch,
        others=tuple(map(not_forwarded, decision.others)),
    )


def unknown(organization: str, decision_id: str, agent: str | None, epoch: int) -> Completed:
    """Closes a decision whose process has died. Its usage is not known, so all that it reserved counts."""
    return Completed(organization=organization, decision_id=decision_id, agent=agent, outcome=_UNKNOWN, epoch=epoch)


CAPACITY: Final = 10_000
"""The closings that one writer owes. Further ones are left to recovery."""


class Owed:
    """The closings that one writer owes, by event id: it appends them with the next commit that succeeds.

    Any thread may use it. If the process dies first, recovery closes the decisions.
    """

    def __init__(self, boot: str) -> None:
        self._boot = boot
        self._guard = threading.Lock()
        self._closings: dict[str, Draft] = {}

    def __len__(self) -> int:
        return len(self._closings)

    def add(self, failed: Draft, *, in_doubt: bool = False) -> None:
        """Remember the closing that must still be recorded, if there is one, after this draft has failed.

        `in_doubt`: the draft may be in the log although its caller got an error.
        """
        intent = failed.intent
        if isinstance(intent, Completed):
            closing = late(intent)
        elif isinstance(intent, Decided) and intent.open and in_doubt:
            closing = not_forwarded(intent)
        else:
            return
        with self._guard:
            if len(self._closings) < CAPACITY:
                self._closings.setdefault(closing.event_id, draft(closing, self._boot))

    def settle(self, event_id: str) -> None:
        """Forget a closing: it is in the log, or can never be."""
        if self._closings:
            with self._guard:
                self._closings.pop(event_id, None)

    def first(self, count: int) -> list[Draft]:
        """The oldest closings. They stay owed until they are settled."""
        with self._guard:
            return list(islice(self._closings.values(), count))
