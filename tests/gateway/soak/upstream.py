"""An upstream of small cost for a long load: one event a second for each stream, short answers, and failures.

The name of the model says what it does: `gpt-4o-paced-60` streams sixty events, a second apart; `gpt-4o-500` fails;
`gpt-4o-cut` breaks off in the middle of an answer; every other name gets a short answer.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_MODEL = re.compile(rb'"model" *: *"([^"]*)"')
_PREFIX = 4096  # of a body, in which the model stands

_EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"tick "}}]}\n\n'
_END = (
    b'data: {"id":"c","object":"chat.completion.chunk","choices":[],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":60,"total_tokens":65}}\n\ndata: [DONE]\n\n'
)
_ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"hello"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}'
)
_ERROR = b'{"error":{"message":"broken","type":"server_error"}}'


class Upstream:
    """Serves in the event loop of its caller. `base_url` is known once it has started."""

    base_url = ""

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    def close(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                model = await _model(reader, int(length[1]) if length else 0)
                if not await _answer(writer, model):
                    break
        writer.close()


async def _model(reader: asyncio.StreamReader, left: int) -> bytes:
    """Read a body to its end, and find the model in its beginning."""
    prefix = await reader.readexactly(min(left, _PREFIX))
    left -= len(prefix)
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
    found = _MODEL.search(prefix)
    return found[1] if found else b""


async def _answer(writer: asyncio.StreamWriter, model: bytes) -> bool:
    """Answer one call; false if the connection must end."""
    kind, _, number = model.removeprefix(b"gpt-4o-").partition(b"-")
    if kind == b"paced":
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(int(number)):
            writer.write(_chunk(_EVENT))
            await writer.drain()
            await asyncio.sleep(1)
        writer.write(_chunk(_END) + b"0\r\n\r\n")
    elif kind == b"500":
        writer.write(_head(b"500 Internal Server Error", len(_ERROR)) + _ERROR)
    elif kind == b"cut":
        writer.write(_head(b"200 OK", len(_ANSWER)) + _ANSWER[:40])
        await writer.drain()
        return False
    else:
        writer.write(_head(b"200 OK", len(_ANSWER)) + _ANSWER)
    await writer.drain()
    return True


def _head(status: bytes, length: int) -> bytes:
    return b"HTTP/1.1 %s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % (status, length)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
