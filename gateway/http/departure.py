"""How the listener tells the application that the client of a request has gone."""

from __future__ import annotations

from collections.abc import Callable


class Departure:
    """Whether the client of one request has closed its connection. Owned by the event loop's thread.

    The listener puts one into every request's scope, under `Departure.KEY`, and calls `happened`; the data plane sets
    `tell` to be called then. A task that waits for ASGI's disconnect message would cost ten times as much.
    """

    KEY = "gateway.departure"

    __slots__ = ("gone", "tell")

    def __init__(self) -> None:
        self.gone = False
        self.tell: Callable[[], None] | None = None

    def happened(self) -> None:
        self.gone = True
        if self.tell is not None:
            self.tell()
