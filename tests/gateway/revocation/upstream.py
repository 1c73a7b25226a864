"""A provider whose streams never end: they go on until their reader has gone."""

from __future__ import annotations

import asyncio
import threading

import orjson

from tests.gateway.dataplane.conftest import COMPLETION

PACE = 0.05
_EVENT = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": "word "}}]}) + b"\n\n"
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"


class Upstream:
    """Served by a thread of its own. `running` counts its streams."""

    def __init__(self) -> None:
        self.running = 0
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        started.wait()

    def _run(self, started: threading.Event) -> None:
        async def serve() -> None:
            self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
            server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
            self.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            started.set()
            await self._stop.wait()
            server.close()

        asyncio.run(serve())  # cancels what still runs

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(request.split(b"content-length:")[1].split(b"\r\n")[0])
                if orjson.loads(await reader.readexactly(size)).get("stream"):
                    await self._stream(writer)
                body = orjson.dumps(COMPLETION)
                head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
                writer.write(head % len(body) + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the run is over; an uncaught one would be logged by the stream's own callback
        finally:
            writer.close()

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        self.running += 1
        try:
            writer.write(_HEAD)
            while True:
                writer.write(b"%x\r\n%s\r\n" % (len(_EVENT), _EVENT))
                await writer.drain()
                await asyncio.sleep(PACE)
        finally:
            self.running -= 1
