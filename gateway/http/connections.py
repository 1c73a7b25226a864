"""The connections of one listener, in shares: nobody keeps others out by holding connections open.

A connection counts for its address until a request on it was authenticated, and from then on for those whose request it
was (`known`): behind a proxy or a NAT many agents have one address. If a newcomer's address has its whole share, or
everything is taken, the connection closes that has waited longest for its next request: of that address, or of whoever
has most. A client finds it closed as after `keep_alive`, and connects anew. Only if every one of them is busy is the
newcomer refused. Specification: resilience.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeAlias

from gateway.shares import Holder, NoShareError, Shares, address_of

Holders: TypeAlias = tuple[Holder, ...]


class Connection(Protocol):
    """A connection, as far as it counts here."""

    def can_be_spared(self, *, known: bool) -> bool:
        """True if no answer is owed on it. If nobody is known to have sent it, an unfinished request is no reason."""
        ...

    def give_up(self) -> None:
        """Close it now, with whatever has come on it."""
        ...


class Connections:
    """Owned by the event loop's thread."""

    def __init__(self, most: int) -> None:
        self._shares = Shares("connections", most)
        self._holders: dict[Connection, Holders] = {}
        # By each holder: the one that has been used least recently is the first.
        self._of: dict[Holder, dict[Connection, None]] = {}

    def arrive(self, connection: Connection, address: str) -> None:
        """A new connection. `NoShareError` if there is no place, and none can be made."""
        holders = (address_of(address),)
        try:
            self._shares.take(*holders)
        except NoShareError as error:
            if not self._make_room(error.holder):
                raise
            self._shares.take(*holders)
        self._put(connection, holders)

    def known(self, connection: Connection, holders: Holders) -> None:
        """A request of these was authenticated on it. Beyond their share it goes on counting for its address."""
        before = self._holders.get(connection)
        if before is None or before is holders or before == holders:
            return
        try:
            self._shares.take(*holders)
        except NoShareError:
            return
        self.leave(connection)
        self._put(connection, holders)

    def used(self, connection: Connection) -> None:
        """An answer has ended on it: now it has waited for the shortest time of all."""
        for each in self._holders.get(connection, ()):
            mine = self._of[each]
            del mine[connection]
            mine[connection] = None

    def leave(self, connection: Connection) -> None:
        """It is closed, or given up; may be called again."""
        holders = self._holders.pop(connection, None)
        if holders is None:
            return
        self._shares.give_back(*holders)
        for each in holders:
            mine = self._of[each]
            del mine[connection]
            if not mine:
                del self._of[each]

    def _put(self, connection: Connection, holders: Holders) -> None:
        self._holders[connection] = holders
        for each in holders:
            self._of.setdefault(each, {})[connection] = None

    def _make_room(self, holder: Holder | None) -> bool:
        """Give up one connection of this holder, or of anybody; false if all are in use."""
        for connection in self._candidates(holder):
            if connection.can_be_spared(known=self._holders[connection][0].kind != "address"):
                self.leave(connection)
                connection.give_up()
                return True
        return False

    def _candidates(self, holder: Holder | None) -> Iterator[Connection]:
        if holder is not None:
            yield from self._of.get(holder, ())
            return
        # Connections without a key come first: to be without one costs nothing.
        order = sorted(self._of, key=lambda each: (each.kind != "address", -len(self._of[each])))
        for each in order:
            yield from self._of[each]
