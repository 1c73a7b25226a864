"""Denials of policies and limits have entries of their own as long as their agent keeps its pace.

A denial costs its agent nothing, and an entry is kept for good: without a pace, an agent that repeats a denied call
fills the disk on which everybody's calls must be recorded. So each agent, and above it its organization, has a pace
(`gateway/pace.py`) of entries and of their bytes. Calls are judged beyond it as well, and an allowed one is always
recorded before it is forwarded. A denial beyond it is answered in the same way, and counted in one entry of the kind
`refused` (`refusals.py`). Specification: audit-log.md, "When an agent is denied without end".
"""

from __future__ import annotations

from typing import Final

from gateway.audit.intents import Decided
from gateway.dataplane.admission import holders_of
from gateway.identity.principals import Principal
from gateway.pace import Pace, Rate

AGENT: Final = Rate(at_once=600, each_second=1)
ORGANIZATION: Final = Rate(at_once=2400, each_second=4)
UNIT: Final = 4096
"""An entry counts once, and once more for each of so many bytes that are kept of it."""


class Denials:
    """The paces of one worker, which belong to its event loop. `workers` share what an agent may cause."""

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
