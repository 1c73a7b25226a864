"""Between a connection and the application, beside ASGI: the client has gone, and the application knows who it is."""

from __future__ import annotations

from collections.abc import Callable

from gateway.shares import Holder


class Departure:
    """Knows if the client of one request has closed its connection. Owned by the event loop's thread.

    The listener puts one into every request's scope, under `Departure.KEY`, and calls `happened`; the data plane sets
    `tell` to be called then. A task that waits for ASGI's disconnect message would cost ten times as much. The data
    plane calls `known` with those whose authenticated request it is: the connection counts for them from then on. While
    `waits` is set a refusal is told later, and a newcomer may have the connection.
    """

    KEY = "gateway.departure"

    __slots__ = ("gone", "known", "tell", "waits")

    def __init__(self, known: Callable[[tuple[Holder, ...]], None] = lambda _holders: None) -> None:
        self.known = known
        self.gone = self.waits = False
        self.tell: Callable[[], None] | None = None

    def happened(self) -> None:
        self.gone = True
        if self.tell is not None:
            self.tell()
