"""A provider that remembers what reached it, and clients that remember what they were told."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_CHUNK = {"choices": [{"index": 0, "delta": {"content": "hello"}}]}
_USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


class Provider:
    """An upstream on a port of its own. `seen` counts requests by the mark in their prompt."""

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        seen, guard = self.seen, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                mark = body["messages"][-1]["content"]
                with guard:
                    seen[mark] = seen.get(mark, 0) + 1
                try:
                    self._stream() if body.get("stream") else self._answer(body["model"])
                except OSError:
                    self.close_connection = True  # the gateway has gone

            def _answer(self, model: str) -> None:
                time.sleep(random.random() * 0.03)
                message = {"role": "assistant", "content": "hello"}
                choice = {"index": 0, "message": message, "finish_reason": "stop"}
                answer = {"id": "a", "object": "chat.completion", "model": model, "choices": [choice], "usage": _USAGE}
                data = json.dumps(answer).encode()
                self._head("application/json", len(data))
                self.wfile.write(data)

            def _stream(self) -> None:
                events = [json.dumps(_CHUNK)] * 3 + [json.dumps({"choices": [], "usage": _USAGE}), "[DONE]"]
                pieces = [f"data: {event}\n\n".encode() for event in events]
                self._head("text/event-stream", sum(map(len, pieces)))
                for piece in pieces:
                    self.wfile.write(piece)
                    self.wfile.flush()
                    time.sleep(random.random() * 0.02)

            def _head(self, kind: str, length: int) -> None:
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(length))
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *arguments: Any) -> None:
                """The gateway was killed while it was connected."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass
class Told:
    """The answer that one client got to one request. `status` is None if the connection broke before an answer."""

    mark: str
    body: bytes
    status: int | None = None
    decision: str | None = None
    complete: bool = False  # the whole answer came, with its end


@dataclass
class Clients:
    """Threads that send requests to a gateway until they are stopped: allowed, denied and streamed ones.

    `port` is asked for each request, because a gateway that was started again has another one.
    """

    port: Callable[[], int]
    key: str
    count: int = 6
    told: list[Told] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(self.count)]
        for each in self._threads:
            each.start()

    def stop(self) -> None:
        self._stop.set()
        for each in self._threads:
            each.join(120)
            assert not each.is_alive(), "a client still waits for its answer"

    def ask(self, *, stream: bool = False, model: str = "mock-1", timeout: float = 60) -> Told:
        """One request."""
        mark = uuid.uuid4().hex
        document = {"model": model, "stream": stream, "messages": [{"role": "user", "content": mark}]}
        told = Told(mark, json.dumps(document).encode())
        self.told.append(told)
        connection = http.client.HTTPConnection("127.0.0.1", self.port(), timeout=timeout)
        try:
            headers = {"authorization": f"Bearer {self.key}", "content-type": "application/json"}
            connection.request("POST", "/v1/chat/completions", told.body, headers)
            answer = connection.getresponse()
            told.status, told.decision = answer.status, answer.getheader("x-decision-id")
            data = answer.read()
            told.complete = not stream or answer.status != 200 or b"[DONE]" in data
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        return told

    def _run(self) -> None:
        while not self._stop.is_set():
            told = self.ask(stream=random.random() < 0.5, model="mock-1" if random.random() < 0.8 else "other")
            if told.status is None or told.status == 503:
                time.sleep(0.05)
