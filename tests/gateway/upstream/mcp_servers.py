"""MCP servers for tests, of either era, that say what they are told to say: a test changes `tools` as it goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

STATELESS = "2026-07-28"


@dataclass
class FakeServer:
    """What a server offers, how it speaks, and what it was asked."""

    tools: list[Any]
    # The revision it speaks: one with `initialize` and sessions, unless it is `STATELESS`.
    protocol: str = STATELESS
    # Answers are streams of events, of which others come first.
    streams: bool = False
    # Tools on each page of a list.
    page: int = 100
    key: str = ""
    # What it answers instead, by method.
    instead: dict[str, tuple[int, str, bytes]] = field(default_factory=dict)
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    sessions: set[str] = field(default_factory=set)
    url: str = ""
    # A revision with sessions that it speaks besides.
    also: str = ""

    def answer(self, message: dict[str, Any], session: str | None) -> tuple[int, dict[str, Any] | None, dict[str, str]]:
        """The status, the message and the headers of an answer."""
        method, params = message["method"], message.get("params", {})
        if self.protocol == STATELESS and method == "server/discover":
            return 200, self._result(message, {"supportedVersions": [STATELESS], "capabilities": {}}), {}
        if method == "initialize" and (older := self.also or self.protocol) != STATELESS:
            made = f"session-{len(self.asked)}"
            self.sessions.add(made)
            result = {"protocolVersion": older, "capabilities": {"tools": {}}, "serverInfo": {"name": "fake"}}
            return 200, self._result(message, result), {"Mcp-Session-Id": made}
        if self.protocol != STATELESS and session not in self.sessions:
            return 404, None, {}
        if self.protocol != STATELESS and method.startswith("notifications/"):
            return 202, None, {}
        if method == "tools/list":
            begin = int(params.get("cursor", "0"))
            listed = {"tools": self.tools[begin : begin + self.page]}
            if begin + self.page < len(self.tools):
                listed["nextCursor"] = str(begin + self.page)
            return 200, self._result(message, listed | {"resultType": "complete", "ttlMs": 0}), {}
        if method == "tools/call":
            text = json.dumps(params)
            return (
                200,
                self._result(message, {"content": [{"type": "text", "text": text}], "resultType": "complete"}),
                {},
            )
        error = {"code": -32601, "message": "no such method"}
        return 404, {"jsonrpc": "2.0", "id": message.get("id"), "error": error}, {}

    def _result(self, message: dict[str, Any], result: dict[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": message.get("id"), "result": result}


@contextmanager
def serving(server: FakeServer) -> Iterator[FakeServer]:
    """The server on a port of this machine, until the end of the block."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            server.asked.append((message["method"], dict(self.headers)))
            if server.key and self.headers.get("Authorization") != f"Bearer {server.key}":
                self._send(401, "application/json", b"{}", {})
                return
            if message["method"] in server.instead:
                self._send(*server.instead[message["method"]], {})
                return
            status, found, headers = server.answer(message, self.headers.get("Mcp-Session-Id"))
            body = b"" if found is None else json.dumps(found).encode()
            if server.streams and status == 200:
                first = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress","params":{}}\n\n'
                self._send(200, "text/event-stream", first + b"event: message\ndata: " + body + b"\n\n", headers)
            else:
                self._send(status, "application/json", body, headers)

        def do_DELETE(self) -> None:
            server.sessions.discard(self.headers.get("Mcp-Session-Id", ""))
            self._send(200, "application/json", b"", {})

        def _send(self, status: int, kind: str, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for name, value in (headers | {"Content-Type": kind, "Content-Length": str(len(body))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing is printed."""

    listener = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.url = f"http://127.0.0.1:{listener.server_port}/mcp"
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()
