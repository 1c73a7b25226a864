"""A hostile upstream: raw answers, well formed and not, in a thread with an event loop of its own.

The model's name says what it does: `gpt-4o-NAME` calls the function `NAME` of `ACTS` (in `acts.py`), and another name
gets an ordinary answer. It counts the requests for each name, and throws prompts away as they come.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress

Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]
"""Answers one request; false if the connection must be closed."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_MODEL = re.compile(rb'"model" *: *"gpt-4o-([a-z0-9_]+)"')
_PREFIX = 4096  # of a body, in which the model stands


class HostileUpstream:
    """Started by its constructor; `base_url` for `gateway upstreams add`."""

    def __init__(self, acts: Mapping[str, Act], ordinary: Act) -> None:
        self.seen: Counter[str] = Counter()
        self._acts, self._ordinary = acts, ordinary
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2048))
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(30)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        running = [each for each in self._tasks if each is not None]
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        self._tasks.add(task)
        ended = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError, ConnectionError)
        with suppress(*ended):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                name = await _name(reader, int(length[1]) if length else 0)
                self.seen[name] += 1
                if not await self._acts.get(name, self._ordinary)(reader, writer):
                    break
                await writer.drain()
        self._tasks.discard(task)
        writer.close()


async def _name(reader: asyncio.StreamReader, left: int) -> str:
    prefix = await reader.readexactly(min(left, _PREFIX))
    left -= len(prefix)
    while left:
        piece = await reader.read(min(left, 256 * 1024))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
    found = _MODEL.search(prefix)
    return found[1].decode() if found else ""
