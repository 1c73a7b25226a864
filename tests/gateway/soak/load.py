"""The clients of a long load: streams that never end all at once, and a mix of calls beside them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress

import orjson

STREAM_SECONDS = 60
_PER_SECOND = {"small": 8.0, "large": 0.2, "abort": 2.0, "abort_large": 0.1, "error": 1.0, "cut": 0.5, "denied": 2.0}
_TIMEOUT = 180.0


class Load:
    """Clients in the event loop of their caller. `ended` counts how calls have ended."""

    def __init__(self, port: int, key: str, streams: int, draw: random.Random) -> None:
        self._port, self._key, self._streams, self._draw = port, key, streams, draw
        self.ended: Counter[str] = Counter()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()

    async def run(self, seconds: float) -> None:
        """Start everything, spread over the length of one stream; stop after so many seconds, and wait for the end."""
        for number in range(self._streams):
            self._begin(self._stream_again(number * STREAM_SECONDS / self._streams))
        for kind, rate in _PER_SECOND.items():
            self._begin(self._repeat(getattr(self, f"_{kind}"), rate))
        await asyncio.sleep(seconds)
        self._stop.set()
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _repeat(self, call: Callable[[], Awaitable[None]], rate: float) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._draw.expovariate(rate))
                return
            self._begin(call())

    async def _stream_again(self, wait: float) -> None:
        await asyncio.sleep(wait)
        while not self._stop.is_set():
            answer = await self._ask("stream", self._body(f"gpt-4o-paced-{STREAM_SECONDS}", stream=True))
            if b"[DONE]" not in answer:
                self.ended["stream incomplete"] += 1
                await asyncio.sleep(1)

    async def _small(self) -> None:
        await self._ask("small", self._body("gpt-4o-mini"))

    async def _large(self) -> None:
        await self._ask("large", self._body("gpt-4o-mini", self._draw.randint(1, 20) * 1024 * 1024))

    async def _error(self) -> None:
        await self._ask("error", self._body("gpt-4o-500"))

    async def _cut(self) -> None:
        await self._ask("cut", self._body("gpt-4o-cut"))

    async def _denied(self) -> None:
        await self._ask("denied", self._body("o3"))

    async def _abort(self) -> None:
        """A client that leaves in the middle of a stream."""
        await self._leave("abort", self._body("gpt-4o-paced-20", stream=True), self._draw.uniform(0, 5))

    async def _abort_large(self) -> None:
        """A client that leaves in the middle of a large body."""
        body = self._body("gpt-4o-mini", 8 * 1024 * 1024)
        await self._leave("abort large", body, 0, sent=self._draw.randint(1, len(body) - 1))

    async def _ask(self, name: str, body: bytes) -> bytes:
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await self._send(body, len(body))
                try:
                    answer = await reader.read()
                finally:
                    writer.close()
        except (OSError, TimeoutError) as error:
            self.ended[f"{name} {type(error).__name__}"] += 1
            return b""
        status = answer[9:12].decode("ascii", "replace") if answer else "nothing"
        self.ended[f"{name} {status}"] += 1
        return answer

    async def _leave(self, name: str, body: bytes, seconds: float, sent: int | None = None) -> None:
        with suppress(OSError):
            _, writer = await self._send(body, len(body) if sent is None else sent)
            await asyncio.sleep(seconds)
            if self._draw.random() < 0.5:
                writer.transport.abort()
            writer.close()
        self.ended[name] += 1

    async def _send(self, body: bytes, count: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._key}\r\n"
        head += f"Content-Type: application/json\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode())
        sent = memoryview(body)[:count]
        for at in range(0, len(sent), 65536):
            writer.write(sent[at : at + 65536])
            await writer.drain()
        return reader, writer

    def _body(self, model: str, size: int = 100, **more: object) -> bytes:
        messages = [{"role": "user", "content": "word " * (size // 5)}]
        return orjson.dumps({"model": model, "messages": messages, **more})
