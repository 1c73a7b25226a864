"""Server-sent events: what a feed has, sent to one client for as long as it stays and may see it.

The disk is read in threads, a little at a time and only when the client has taken what was sent before, so a slow
client holds up neither the event loop nor others, and the gateway keeps nothing for it. One that stops reading is cut.
Format: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson
from starlette.types import Receive, Send

from gateway.control import problems
from gateway.control.problems import Problem
from gateway.errors import GatewayError

logger = logging.getLogger("gateway.control")

MOST: Final = 32
"""Streams that may be open at a time."""
MOST_OF_ONE: Final = 8
"""Of them those of one operator."""

LOOK_SECONDS: Final = 1.0
"""How often a feed is asked for what is new, and whether the client may still see it."""
HEARTBEAT_SECONDS: Final = 15.0
SEND_SECONDS: Final = 20.0
"""How long a client may take for one piece."""
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
        """What has come since the last call. Blocks."""


class EventStreams:
    """All streams of one API. Owned by the event loop's thread. `stop` is set when the gateway ends."""

    def __init__(self, threads: Executor, stop: asyncio.Event | None) -> None:
        self._threads = threads
        self._stop = stop
        self._open: Counter[str] = Counter()

    def take(self, operator: str) -> None:
        """Count one more stream of an operator, which must be given back. Raises `Problem` if there are too many."""
        if self._open.total() >= MOST:
            raise Problem(503, "overloaded", "too many streams are open", headers=[("retry-after", "10")])
        if self._open[operator] >= MOST_OF_ONE:
            detail = f"this operator has {MOST_OF_ONE} streams open already"
            raise Problem(429, "too_many_streams", detail, hint="end one first", headers=[("retry-after", "10")])
        self._open[operator] += 1

    def give_back(self, operator: str) -> None:
        self._open[operator] -= 1

    async def run(
        self,
        feed: Feed,
        check: Callable[[], None],
        headers: Sequence[tuple[bytes, bytes]],
        receive: Receive,
        send: Send,
    ) -> None:
        """Send what the feed has until the client goes, the gateway ends, or `check`, which blocks, raises."""
        loop = asyncio.get_running_loop()
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
                batch = await loop.run_in_executor(self._threads, step)
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
