"""Step 4 of a request, its first half: receive the body. Beyond `SPOOLED` bytes it waits on disk, not in memory."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from starlette.types import Receive

from gateway.body import Body, SpooledBody
from gateway.call import Call
from gateway.dataplane.held_bytes import Holding
from gateway.errors import Denied

logger = logging.getLogger("gateway.dataplane.receiving")

SPOOLED = 1024 * 1024
"""A body of more bytes goes to a file."""


class ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


async def receive_body(
    receive: Receive, headers: Mapping[bytes, bytes], limit: int, directory: Path, held: Holding, spooled: Holding
) -> bytes | SpooledBody:
    """The body: bytes, or a file in `directory` if it is large.

    `held` and `spooled` are for what is in memory and on disk. `Denied` with `too_large`, or with `overloaded` where a
    budget or the disk is full.
    """
    if int(headers.get(b"content-length", b"0")) > limit:
        raise _too_large(limit)
    body: SpooledBody | None = None
    pieces: list[bytes] = []
    size = 0
    try:
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError
            piece = message.get("body", b"")
            last = not message.get("more_body", False)
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            pieces.append(piece)
            if size <= SPOOLED:
                held.add(len(piece))
                if last:
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                continue
            spooled.add(sum(map(len, pieces)))
            # On the event loop, where it costs a tenth of a millisecond: the kernel copies the piece. With a thread for
            # each, large bodies that arrive at once kept the thread that writes the log from the interpreter, until all
            # of them had arrived: whoever waits for it sees others take it, and does not insist.
            body = _write(body, directory, pieces)
            held.release()
            pieces.clear()
            if last:
                return body
    except BaseException:
        if body is not None:
            body.release()
        raise


def spooled(call: Call, received: Body) -> Call:
    """The call, whose body goes to a file if it is large and was written anew; for a thread.

    `Denied` with `overloaded` where the disk is full.
    """
    if isinstance(received, bytes) or not isinstance(call.raw, bytes) or len(call.raw) <= SPOOLED:
        return call
    try:
        return replace(call, raw=received.another(call.raw))
    except OSError as error:
        failure = _disk(error)
    raise failure


def _write(body: SpooledBody | None, directory: Path, pieces: list[bytes]) -> SpooledBody:
    try:
        body = body or SpooledBody(directory)
        body.write(pieces)
        return body
    except OSError as error:
        if body is not None:
            body.release()
        # Not raised from it: it would keep the frames in which the file is open, and with them the space on disk.
        failure = _disk(error)
    raise failure


def _disk(error: OSError) -> Denied:
    logger.error("a large body cannot be kept on disk: %s", str(error))
    return Denied("overloaded", f"a large body cannot be kept on disk: {error}")


def _too_large(limit: int) -> Denied:
    return Denied("too_large", reasons=[f"the body may have at most {limit} bytes"])
