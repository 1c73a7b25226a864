"""Verification of balances: they are added up again from the entries, in the order in which these were written.

`verify.py` hands over every decision and closing. What the entries say about balances (what a decision read, what a
closing settled) is checked on the way, and what the table of balances says at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gateway.audit.balances import Balances, Key, differences, full, number, reservation_of, settled_of
from gateway.audit.entry import Entry

_BEYOND = (KeyError, TypeError, ValueError, IndexError, OverflowError, OSError)
"""What a reservation that this program did not write can end in."""


class BalanceCheck:
    """All balances of a log while it is read."""

    def __init__(self) -> None:
        self._due = Balances()

    def opened(self, entry: Entry) -> str:
        """Take account of a decision that stays open; returns what is wrong with its reservation."""
        try:
            fault = self._misread(entry)
            self._due.reserve(entry)
        except _BEYOND:
            return "its reservation cannot be read"
        return fault

    def closed(self, decision: Entry, closing: Entry) -> str:
        """Take account of the closing of a decision; returns what is wrong with its settlement."""
        try:
            reservation = reservation_of(decision.get("reservation_json"))
            if reservation is None:
                return ""
            settled = settled_of(closing)
            self._due.settle(str(closing["org"]), reservation, settled or full(reservation))
        except _BEYOND:
            return "the reservation of its decision cannot be read"
        return "" if settled else "it does not say what the reservation of its decision was settled at"

    def differences(self, rows: Iterable[tuple[Key, object]]) -> Iterator[str]:
        """How the stored balances differ from those that the entries make."""
        left = dict(self._due.found)
        for key, stored in rows:
            organization, scope = key
            due = left.pop(key, None)
            if due is None:
                yield f"the balance of `{scope}` in `{organization}` is stored, and no entry counts in it"
                continue
            for difference in differences(stored, due):
                yield f"the balance of `{scope}` in `{organization}` was changed: {difference}"
        for organization, scope in left:
            yield f"the balance of `{scope}` in `{organization}` is missing"

    def _misread(self, entry: Entry) -> str:
        """What a decision says it has read of balances, where the entries before it make something else."""
        reservation = reservation_of(entry.get("reservation_json"))
        if reservation is None:
            return ""
        minute = reservation["minute"]
        for scope, counter, used, reserved, _ in reservation.get("read", ()):
            due = tuple(map(number, self._due.get(str(entry["org"]), scope).at(counter, minute)))
            if (used, reserved) != due:
                return (
                    f"it says that `{scope}` had used {used} of {counter}, {reserved} of that reserved; "
                    f"the entries before it make {due[0]} and {due[1]}"
                )
        return ""
