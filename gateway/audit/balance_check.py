"""Verification of balances: they are added up again from the entries, in the order in which these were written.

`verify.py` hands over every decision and closing. The entries' statements about balances (what a decision read, what
a closing settled) are checked on the way, and the table of balances at the end.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.audit import over_limits, thresholds
from gateway.audit.balance import COUNTERS, unit
from gateway.audit.balance_rows import UncountedError
from gateway.audit.balances import Balances, beyond, differences, number, reservation_of, settled_of
from gateway.audit.entry import Entry
from gateway.audit.log_reader import LogReader
from gateway.audit.over_limits import Excess

_BEYOND = (KeyError, TypeError, ValueError, IndexError, OverflowError, OSError)
"""The errors that a reservation that this program did not write can end in."""

_BEYOND_MEMBERS = ("beyond_tokens", "beyond_nanousd")
_ESTIMATE = "estimate"  # marks a limit in `read` that accepts estimates, so does not hold exactly

_LONGEST = (60, 26 * 60, 32 * 1440)
"""The most minutes that an hour, a day and a month can have, whatever clocks do."""


class BalanceCheck:
    """All balances of a log while it is read."""

    def __init__(self) -> None:
        self._due = Balances()
        self._told: set[str] = set()  # thresholds that the log tells of
        # Thresholds that are reached and whose entries have not been met yet, with their organizations.
        self._owed: dict[str, tuple[str, Entry]] = {}

    def opened(self, entry: Entry) -> str:
        """Take account of a decision that stays open; returns what is wrong with its reservation."""
        try:
            fault = self._misread(entry)
            self._due.reserve(entry)
        except _BEYOND:
            return "its reservation cannot be read"
        return fault

    def excesses(self, entry: Entry) -> list[Excess]:
        """The limits that a decision has gone over; none if its reservation cannot be read, as `opened` says then."""
        try:
            return list(over_limits.excesses(entry))
        except _BEYOND:
            return []

    def closed(self, decision: Entry, closing: Entry) -> str:
        """Take account of the closing of a decision; returns what is wrong with its settlement."""
        try:
            organization = str(closing["org"])
            held = self._due.closing(organization, str(decision["id"]), decision.get("reservation_json"))
            if held is None:
                return ""
            settled = settled_of(closing)
            self._due.settle(held, settled or (1, held.tokens, held.spend_nanousd))
            for event_id, fields in thresholds.reached(organization, held, self._due):
                if event_id not in self._told:
                    self._owed.setdefault(event_id, (organization, {**fields, "reached_by": decision["id"]}))
        except _BEYOND:
            return "the reservation of its decision cannot be read"
        if settled is None:
            return "it does not say what the reservation of its decision was settled at"
        due = beyond(held, *settled[1:])
        told = {name: closing[name] for name in _BEYOND_MEMBERS if name in closing}
        # Entries of former versions do not say it.
        return (
            "" if not told or told == due else f"it says that it is beyond its reservation by {told}, and is by {due}"
        )

    def told(self, entry: Entry) -> str:
        """Take account of an entry about a threshold; returns what is wrong with it."""
        event_id = str(entry["id"])
        self._told.add(event_id)
        if event_id in self._owed:
            _, due = self._owed.pop(event_id)
            told = {name: entry.get(name) for name in due}
            return "" if told == due else f"the entries before it make {due['spent']} of {due['value']} spent"
        try:
            return "" if self._after_refusal(entry) else "the entries before it do not reach this threshold"
        except _BEYOND:
            return "what it says of a limit cannot be read"

    def untold(self) -> Iterator[tuple[str, str]]:
        """The thresholds that were reached and that no entry tells of, each with its organization."""
        for organization, due in self._owed.values():
            yield (
                organization,
                f"no entry tells that `{due['scope']}` reached {due['percent']} % of {due['limit_name']}",
            )

    def _after_refusal(self, entry: Entry) -> bool:
        """True if a limit was used up as an entry says that followed the refusal of a call."""
        if "needed" not in entry:
            return False
        counter = COUNTERS[str(entry["limit_name"])]
        minute = int(str(entry["minute"]))
        due = self._due.get(str(entry["org"]), str(entry["scope"]))
        used, reserved = due.at(counter, minute)
        value, needed = (int(str(entry[name])) * unit(counter) for name in ("value", "needed"))
        # So much is used of the window that it has begun: it is the balance's own, and nobody has to know a zone.
        ends, limit_id = due.ends(counter, minute), str(entry["limit"])
        limit = thresholds.LimitWindow(
            str(entry["scope"]), counter, used, reserved, value, limit_id, minute, ends, needed
        )
        return any(
            found.event_id == entry["id"] and all(entry.get(name) == told for name, told in found.fields.items())
            for found in thresholds.refused(str(entry["org"]), [limit])
        )

    def differences(self, log: LogReader) -> Iterator[tuple[str | None, str]]:
        """The stored balances that differ from those of the entries, in words, each with its organization, if any."""
        try:
            stored = dict(log.balances())
        except UncountedError as error:
            yield None, str(error)
            return
        except _BEYOND:
            yield None, "an entry that the stored balances do not contain has a reservation that cannot be read"
            return
        left = dict(self._due.found)
        for key, values in stored.items():
            organization, scope = key
            due = left.pop(key, None)
            if due is None:
                yield organization, f"the balance of `{scope}` in `{organization}` is stored, and no entry counts in it"
                continue
            for difference in differences(values, due):
                yield organization, f"the balance of `{scope}` in `{organization}` was changed: {difference}"
        for organization, scope in left:
            yield organization, f"the balance of `{scope}` in `{organization}` is missing"

    def _misread(self, entry: Entry) -> str:
        """The balances that a decision says it has read, where the entries before it make something else."""
        reservation = reservation_of(entry.get("reservation_json"))
        if reservation is None:
            return ""
        minute = reservation["minute"]
        if "ends" in reservation and not _possible(reservation["ends"], minute):
            return f"it says that windows end at the minutes {reservation['ends']}, which cannot be"
        for scope, until in reservation.get("until", {}).items():
            if scope not in reservation["scopes"] or type(until) is not int or until <= minute:
                return f"it says that windows of `{scope}` end at the minute {until}, which cannot be"
        estimated = "estimated" in reservation
        for scope, counter, used, reserved, *more in reservation.get("read", ()):
            if estimated and _ESTIMATE not in more[2:] and counter.startswith(("tokens", "spend")):
                return f"it reserves an estimate, which the limit on {counter} of `{scope}` does not allow"
            due = tuple(map(number, self._due.get(str(entry["org"]), scope).at(counter, minute)))
            if (used, reserved) != due:
                return (
                    f"it says that `{scope}` had used {used} of {counter}, {reserved} of that reserved; "
                    f"the entries before it make {due[0]} and {due[1]}"
                )
        return ""


def _possible(ends: list[int], minute: int) -> bool:
    """True if an hour, a day and a month of some zone can end there. The log's tree does not know the zone."""
    return len(ends) == len(_LONGEST) and all(
        type(end) is int and minute < end <= minute + most for end, most in zip(ends, _LONGEST, strict=True)
    )
