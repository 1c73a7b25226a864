"""One request and its answer over a real connection: what the client gets of a right, a failed and a broken answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.data_directory import DataDirectory
from gateway.http import listener as server
from gateway.settings import Settings

SETTINGS = Settings(data=DataDirectory(Path("unused")))
LENGTH_5 = [(b"content-length", b"5")]

Application = Callable[[Any, Any, Any], Awaitable[None]]


def start(status: int = 200, headers: Any = ()) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def answering(*messages: dict[str, Any]) -> Application:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(message)

    return application


def exchanges(*applications: Application, method: bytes = b"GET", more: bytes = b"\r\n") -> list[bytes]:
    """All that a client gets of each of these, for a request after which it takes no other answer."""

    async def main() -> list[bytes]:
        left = list(applications)

        async def application(scope: Any, receive: Any, send: Any) -> None:
            await left.pop(0)(scope, receive, send)

        listener = server.listen("127.0.0.1", 0)
        stop = asyncio.Event()
        serving = asyncio.create_task(
            server.serve(application, listener, SETTINGS, server.ConnectionLimits.of(SETTINGS), stop)
        )
        got = []
        for _ in applications:
            reader, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(method + b" / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n" + more)
            got.append(await asyncio.wait_for(reader.read(), 10))
            writer.close()
        stop.set()
        await serving
        return got

    return asyncio.run(main())


def head_and_body(got: bytes) -> tuple[list[bytes], bytes]:
    head, found, rest = got.partition(b"\r\n\r\n")
    assert found
    return head.split(b"\r\n"), rest


def test_the_framing_follows_from_the_head() -> None:
    known, chunks, empty = map(
        head_and_body,
        exchanges(
            answering(start(headers=LENGTH_5), body(b"ab", more=True), body(b"cde")),
            answering(start(), body(b"ab", more=True), body(b"", more=True), body(b"c")),
            answering(start(204), body(b"")),
        ),
    )
    assert (known[0][0], known[1]) == (b"HTTP/1.1 200 OK", b"abcde")
    assert b"content-length: 5" in known[0]
    assert not any(line.startswith(b"transfer-encoding") for line in known[0])
    assert b"transfer-encoding: chunked" in chunks[0]
    assert chunks[1] == b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n"
    assert empty[1] == b""
    assert not any(line.startswith((b"transfer-encoding", b"content-length")) for line in empty[0])


def test_an_answer_to_head_has_no_body() -> None:
    known, unknown = map(
        head_and_body,
        exchanges(
            answering(start(headers=LENGTH_5), body(b"abcde")), answering(start(), body(b"abcde")), method=b"HEAD"
        ),
    )
    assert b"content-length: 5" in known[0]
    assert (known[1], unknown[1]) == (b"", b"")


async def fails(scope: Any, receive: Any, send: Any) -> None:
    raise ZeroDivisionError("secret")


async def says_nothing(scope: Any, receive: Any, send: Any) -> None:
    """Ends without an answer."""


def test_a_defect_is_a_500_that_says_nothing_of_it(caplog: pytest.LogCaptureFixture) -> None:
    values = (b"a\r\nset-cookie: b", b"a\nset-cookie: b", b"a\rb", b"a\x00b")
    headers = [answering(start(headers=[(b"x", value)]), body(b"")) for value in values]
    with caplog.at_level(logging.CRITICAL):
        several = exchanges(fails, says_nothing, answering(body(b"")), *headers)
    for lines, rest in map(head_and_body, several):
        assert lines[0] == b"HTTP/1.1 500 Internal Server Error"
        assert b"x-should-retry: false" in lines
        assert not any(line.startswith((b"x:", b"set-cookie")) for line in lines)
        assert orjson.loads(rest)["error"] == {"message": "the gateway failed", "type": "gateway_error", "code": None}


def test_an_answer_that_breaks_off_is_never_whole(caplog: pytest.LogCaptureFixture) -> None:
    broken = {
        "too short": [start(headers=LENGTH_5), body(b"abc")],
        "without an end": [start(headers=LENGTH_5), body(b"abc", more=True)],
        "too long": [start(headers=LENGTH_5), body(b"abcdef")],
        "chunks without an end": [start(), body(b"abc", more=True)],
        "two heads": [start(), body(b"abc", more=True), start()],
    }
    with caplog.at_level(logging.CRITICAL):
        several = exchanges(*(answering(*messages) for messages in broken.values()))
    for name, got in zip(broken, several, strict=True):
        _, _, rest = got.partition(b"\r\n\r\n")
        assert len(rest) < 5 or not rest.endswith(b"0\r\n\r\n"), name
        assert b"HTTP/1.1 500" not in got, name


def test_a_client_is_told_to_go_on_when_its_body_is_wanted() -> None:
    async def echo(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        while message["more_body"]:
            more = await receive()
            message = {**more, "body": message["body"] + more["body"]}
        await send(start(headers=[(b"content-length", b"%d" % len(message["body"]))]))
        await send(body(message["body"]))

    wait = b"expect: 100-continue\r\ncontent-length: 3\r\n\r\nabc"
    (got,) = exchanges(echo, method=b"POST", more=wait)
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\nabc")
