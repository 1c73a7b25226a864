"""Server-sent events: what a feed has, sent to one client for as long as it stays and may see it.

The disk is read in threads, a little at a time and only when the client has taken what was sent before, so a slow
client holds up neither the event loop nor others, and the gateway keeps nothing for it. One that stops reading is cut.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from starlette.types import Receive, Send

from gateway.control import places, problems
from gateway.control.places import Threads
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.shares import Holder, Shares

logger = logging.getLogger("gateway.control.event_streams")

MOST: Final = 32
"""Streams that may be open at a time."""
THREADS: Final = 4
"""The threads that read for all streams, so that these keep no request waiting."""

LOOK_SECONDS: Final = 1.0
"""The pause between two reads of a feed; each also checks that the client may still see it."""
HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 20.0
"""The time that a client may take for one piece."""
RECONNECT_MS: Final = 3000

_PIECE: Final = 32 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The next events: the id and the data of each. `place` is the id to go on from, also if there are none.

    `more` says that there may be more at once.
    """

    events: Sequence[tuple[str, bytes]]
    place: str
    more: bool


class Feed(Protocol):
    def next(self) -> Batch:
        """Return the events since the last call. Blocks."""


class EventStreams:
    """All streams of one API. Owned by the event loop's thread. `stop` is set when the gateway ends."""

    def __init__(self, stop: asyncio.Event | None) -> None:
        self.threads = Threads("streams", "streams that are read for", THREADS)
        self._stop = stop
        self._open = Shares("streams of events", MOST)

    def take(self, holders: tuple[Holder, ...]) -> None:
        """Count one more stream, which must be given back. Raises `Problem` if there are too many."""
        places.take(self._open, *holders, seconds=10, code="too_many_streams")

    def give_back(self, holders: tuple[Holder, ...]) -> None:
        self._open.give_back(*holders)

    async def run(
        self,
        feed: Feed,
        check: Callable[[], None],
        headers: Sequence[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
        holders: tuple[Holder, ...],
    ) -> None:
        """Send what the feed has until the client goes, the gateway ends, or `check`, which blocks, raises."""
        ends: list[asyncio.Task[Any]] = [asyncio.create_task(_gone(receive))]
        if self._stop is not None:
            ends.append(asyncio.create_task(self._stop.wait()))

        def step() -> Batch:
            check()
            return feed.next()

        try:
            await send({"type": "http.response.start", "status": 200, "headers": list(headers)})
            await _send(send, b"retry: %d\n\n" % RECONNECT_MS)
            said, last = time.monotonic(), ""
            while not any(each.done() for each in ends):
                batch = await self.threads.run(holders, step)
                for piece in _pieces(batch):
                    await _send(send, piece)
                    said, last = time.monotonic(), batch.place
                if not batch.more:
                    if time.monotonic() - said >= HEARTBEAT_SECONDS:
                        # With an id if it has moved: a client that comes back need not have all that searched again.
                        mark = b"" if batch.place == last else b"id: %s\n" % batch.place.encode()
                        await _send(send, b": here\n" + mark + b"\n")
                        said, last = time.monotonic(), batch.place
                    await asyncio.wait(ends, timeout=LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        except TimeoutError:
            logger.info("a client of the control API has stopped reading its events, and was cut")
            return
        except Exception as error:  # noqa: BLE001  # whatever it is, the client is told, and it is logged
            await _send(send, _end(error))
        finally:
            for each in ends:
                each.cancel()
        await send({"type": "http.response.body", "body": b""})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send(send: Send, piece: bytes) -> None:
    async with asyncio.timeout(SEND_SECONDS):
        await send({"type": "http.response.body", "body": piece, "more_body": True})


def _pieces(batch: Batch) -> list[bytes]:
    """The events as text, a few in each piece: more is sent only when one was taken."""
    found, piece = [], bytearray()
    for place, data in batch.events:
        piece += b"id: %s\ndata: %s\n\n" % (place.encode(), data)
        if len(piece) >= _PIECE:
            found.append(bytes(piece))
            piece.clear()
    return [*found, bytes(piece)] if piece else found


def _end(error: Exception) -> bytes:
    """The last event: why there are no more."""
    if isinstance(error, GatewayError):
        error = problems.of(error)
    if not isinstance(error, Problem):
        logger.exception("a stream of events failed", exc_info=error)
        error = Problem(500, "internal_error", "the gateway failed", hint="see its log")
    return b"event: end\ndata: %s\n\n" % orjson.dumps(error.document())
