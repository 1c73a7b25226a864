"""Logs that are ahead of the clock, because it was ahead before and was corrected.

Time never goes back within a log, so a log that is ahead of the clock stands still until the clock has caught up.
Somebody may accept the clock instead. The acceptance is an entry of the log itself, at the time at which the log
stands. Further entries get the same time until the clock has passed it, and each says in `clock_ns` what the clock
said. An acceptance needs no state beside the log: it holds as long as the log's last time is the one that it names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from gateway.audit import storage
from gateway.audit.balance import shown_time
from gateway.audit.intents import SYSTEM, Changed
from gateway.audit.log_reader import LogIndex

WHAT: Final = "clock.accepted"
"""The `what` of a `change` entry that accepts the clock."""

BACKWARD_NS: Final = 5_000_000_000
"""The clock may be so far behind the last entry before a log stops growing (architecture.md, section 16)."""


class Ahead(NamedTuple):
    """A log that stands still because the clock is behind it."""

    log_id: int
    organization: str
    # Of its last entry.
    time_ns: int
    behind_ns: int

    def __str__(self) -> str:
        return f"the clock is {self.behind_ns // 1_000_000_000} s behind the log `{self.organization}`; {self.until}"

    @property
    def until(self) -> str:
        """A text with the time until which the log stands still. Unlike the distance, it stays the same."""
        return f"nothing is recorded there until {shown_time(self.time_ns // 1_000_000_000)}"


HINT: Final = "correct the clock, or type `gateway audit accept-clock`"


def ahead(db: LogIndex, now_ns: int) -> list[Ahead]:
    """The logs that stand still at this reading of the clock."""
    newest = {head.organization: head for head in storage.heads(db)}
    return [
        Ahead(head.id, head.organization, head.time_ns, head.time_ns - now_ns)
        for head in newest.values()
        if head.time_ns - now_ns > BACKWARD_NS and not is_accepted(db, head.id, head.time_ns)
    ]


def are_all(found: list[Ahead], db: LogIndex) -> bool:
    """True if these are all logs of organizations, or all logs there are, so that no request can be recorded."""
    (logs,) = db.execute("SELECT count(DISTINCT organization) FROM log").fetchone()
    without_system = {each.organization for each in found} - {SYSTEM}
    return bool(found) and len(without_system) >= max(1, logs - 1)


def is_accepted(db: LogIndex, log_id: int, time_ns: int) -> bool:
    """True if a clock behind a log that stands at this time was accepted."""
    found = db.execute("SELECT 1 FROM entry WHERE event_id = ?", (acceptance_id(log_id, time_ns),)).fetchone()
    return found is not None


def acceptance_id(log_id: int, time_ns: int) -> str:
    """The event id of the entry that accepts the clock for a log that stands at this time."""
    return f"clk_{log_id}-{time_ns}"


def acceptance(found: Ahead, actor: str, reason: str, now_ns: int) -> Changed:
    """The entry that accepts the clock for this log."""
    return Changed(
        organization=found.organization,
        event_id=acceptance_id(found.log_id, found.time_ns),
        actor=actor,
        what=WHAT,
        fields={"clock_ns": str(now_ns), "until": shown_time(found.time_ns // 1_000_000_000), "reason": reason},
    )
