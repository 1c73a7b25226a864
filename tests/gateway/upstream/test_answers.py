"""Answers of raw bytes: those of every framing, and those that break the rules of HTTP, whole and in pieces."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from gateway.errors import Denied
from gateway.outbound.client import UpstreamClient

from .raw_upstream import OK, Act, Upstream, fetch, outgoing, run, saying

# The reading of it: status, body, and whether the connection serves another request.
GOOD: dict[str, tuple[bytes, bool, int, bytes, bool]] = {
    "a length": (OK + b"Content-Length: 5\r\n\r\nhello", False, 200, b"hello", True),
    "no bytes": (OK + b"content-length: 0\r\n\r\n", False, 200, b"", True),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", False, 200, b"hello", True),
    "big": (OK + b"transfer-encoding:CHUNKED\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n", False, 200, b"0123456789", True),
    "an extension": (OK + b"transfer-encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\n\r\n", False, 200, b"hello", True),
    "a trailer": (OK + b"transfer-encoding: chunked\r\n\r\n1\r\nh\r\n0\r\nx-sum: 1\r\n\r\n", False, 200, b"h", True),
    "until the end": (OK + b"content-type: a/b\r\n\r\nhello", True, 200, b"hello", False),
    "nothing until the end": (OK + b"\r\n", True, 200, b"", False),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", False, 204, b"", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\n{}", False, 200, b"{}", True),
    "no content at all": (b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n", False, 204, b"", True),
    "no chunks": (b"HTTP/1.1 204 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", False, 204, b"", False),
    "an error": (b"HTTP/1.1 429 Too Many\r\ncontent-length: 2\r\n\r\n{}", False, 429, b"{}", True),
    "after hints": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nlink: </a>\r\n\r\n" + OK + b"content-length: 2\r\n\r\n{}",
        False, 200, b"{}", True,
    ),
    "a farewell": (OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}", True, 200, b"{}", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\n{}", True, 200, b"{}", False),
    "HTTP/1.0 until the end": (b"HTTP/1.0 200 OK\r\n\r\n{}", True, 200, b"{}", False),
    "1.0 kept": (b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length:2\r\n\r\n{}", False, 200, b"{}", True),
    "space around values": (OK + b"content-length:  2 \r\nx-a: \t b \t\r\n\r\n{}", False, 200, b"{}", True),
}  # fmt: skip


@pytest.mark.parametrize("pieces", ["whole", pytest.param("bytes", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", GOOD)
def test_answers_of_every_framing(name: str, pieces: str) -> None:
    raw, close, status, body, kept = GOOD[name]

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        for _ in range(2):
            answer, read = await fetch(client, outgoing(upstream.port))
            assert (answer.status, read) == (status, body)
            assert answer.header(b"x-sum") == b"", "a trailer is no header"
            assert answer.header(b"x-a") in (b"", b"b")
        assert upstream.connections == (1 if kept else 2)

    act = saying(raw, close=close) if pieces == "whole" else _byte_by_byte(raw, close)
    run(act, test)


def _byte_by_byte(raw: bytes, close: bool) -> Act:
    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for at in range(len(raw)):
            writer.write(raw[at : at + 1])
            await asyncio.sleep(0)
        if close:
            writer.close()

    return act


CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
BROKEN_HEADS: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-x\r\n",
    "a request": b"GET / HTTP/1.1\r\n\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "small letters": b"http/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    "no number": b"HTTP/1.1 abc OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\ncontent-length: 2\r\n\r\n{}",
    "four digits": b"HTTP/1.1 2000 OK\r\ncontent-length: 2\r\n\r\n{}",
    "another protocol from here": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    "no colon": OK + b"no colon\r\n\r\n",
    "no name": OK + b": value\r\n\r\n",
    "space in a name": OK + b"a b: c\r\ncontent-length: 2\r\n\r\n{}",
    "space before a colon": OK + b"content-length : 2\r\n\r\n{}",
    "a folded header": OK + b"x-a: b\r\n c\r\ncontent-length: 2\r\n\r\n{}",
    "a header folded at once": OK + b" x-a: b\r\ncontent-length: 2\r\n\r\n{}",
    "a folded length": OK + b"content-length:\r\n 2\r\n\r\n{}",
    "LF alone": OK.replace(b"\r", b"") + b"content-length: 2\n\n{}",
    "LF alone after a header": OK + b"x-a: b\ncontent-length: 2\r\n\r\n{}",
    "LF alone at the end of the head": OK + b"content-length: 2\r\n\n{}",
    "CR alone": OK + b"x-a: b\rcontent-length: 2\r\n\r\n{}",
    "NUL in a value": OK + b"x-a: \x00\r\ncontent-length: 2\r\n\r\n{}",
    "NUL in a name": OK + b"x\x00: a\r\ncontent-length: 2\r\n\r\n{}",
    "two lengths": OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}",
    "the same length twice": OK + b"content-length: 2\r\ncontent-length: 2\r\n\r\n{}",
    "a list of lengths": OK + b"content-length: 2, 2\r\n\r\n{}",
    "a negative length": OK + b"content-length: -2\r\n\r\n{}",
    "a positive length": OK + b"content-length: +2\r\n\r\n{}",
    "a length in hexadecimal": OK + b"content-length: 0x2\r\n\r\n{}",
    "a length with a unit": OK + b"content-length: 2b\r\n\r\n{}",
    "an empty length": OK + b"content-length:\r\n\r\n{}",
    "a length that overflows": OK + b"content-length: 18446744073709551618\r\n\r\n{}",
    "a length and chunks": OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunks and a length": OK + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked twice": OK + b"transfer-encoding: chunked, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "chunked in two headers": OK + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "identity": OK + b"transfer-encoding: identity\r\n\r\n{}",
    "compressed chunks": OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "compressed": OK + b"transfer-encoding: gzip\r\n\r\n{}",
    "chunked and more": OK + b"transfer-encoding: chunked, identity\r\n\r\n{}",
    "an odd coding": OK + b"transfer-encoding: xchunked\r\n\r\n{}",
    "an empty coding": OK + b"transfer-encoding:\r\n\r\n{}",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "no content, but a length": b"HTTP/1.1 204 OK\r\ncontent-length: 2\r\n\r\n{}",
    "a head without end": OK + b"x-a: b\r\n",
    "half a status": b"HTTP/1.1 2",
    "nothing": b"",
    "only hints": b"HTTP/1.1 100 Continue\r\n\r\n",
    "hints without end": b"HTTP/1.1 103 Early\r\n\r\n" * 17,
    "too many headers": OK + b"x: y\r\n" * 129 + b"content-length: 2\r\n\r\n{}",
    "a large header": OK + b"x: " + b"y" * 20_000 + b"\r\ncontent-length: 2\r\n\r\n{}",
    "a large name": OK + b"x" * 20_000 + b": y\r\ncontent-length: 2\r\n\r\n{}",
    "a large head": OK + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 10_000) for n in range(20)),
    "a header without end": OK + b"x: " + b"y" * 500_000,
    "a reason without end": b"HTTP/1.1 200 " + b"y" * 500_000,
}  # fmt: skip
BROKEN_BODIES: dict[str, bytes] = {
    "too short": OK + b"content-length: 10\r\n\r\nhello",
    "a chunk without end": CHUNKED + b"5\r\nhel",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
    "no end of the trailers": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "no size": CHUNKED + b"\r\nhello\r\n0\r\n\r\n",
    "an odd size": CHUNKED + b"zz\r\nhello\r\n0\r\n\r\n",
    "a negative size": CHUNKED + b"-5\r\nhello\r\n0\r\n\r\n",
    "a size with a prefix": CHUNKED + b"0x5\r\nhello\r\n0\r\n\r\n",
    "a size with a space": CHUNKED + b"5 \r\nhello\r\n0\r\n\r\n",
    "a space before a size": CHUNKED + b" 5\r\nhello\r\n0\r\n\r\n",
    "a size that overflows": CHUNKED + b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "LF after a size": CHUNKED + b"5\nhello\r\n0\r\n\r\n",
    "LF after a chunk": CHUNKED + b"5\r\nhello\n0\r\n\r\n",
    "CR after a chunk": CHUNKED + b"5\r\nhello\r0\r\n\r\n",
    "a longer chunk": CHUNKED + b"5\r\nhello!\r\n0\r\n\r\n",
    "a shorter chunk": CHUNKED + b"5\r\nhell\r\n0\r\n\r\n",
    "a bad trailer": CHUNKED + b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    "LF after a trailer": CHUNKED + b"5\r\nhello\r\n0\r\nx: y\n\r\n",
    "an extension with LF": CHUNKED + b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "trailers without end": CHUNKED + b"5\r\nhello\r\n0\r\n" + b"x: y\r\n" * 40_000,
    "a trailer without end": CHUNKED + b"5\r\nhello\r\n0\r\nx: " + b"y" * 400_000,
    "an extension without end": CHUNKED + b"5;" + b"y" * 400_000,
}  # fmt: skip
_SENT = {**BROKEN_HEADS, **BROKEN_BODIES}


@pytest.mark.parametrize("pieces", ["whole", pytest.param("pieces", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", _SENT)
def test_answers_that_break_the_rules(name: str, pieces: str) -> None:
    """They end at once, in an error, and the connection serves nobody else. No text quotes them."""
    raw, head = _SENT[name], name in BROKEN_HEADS
    size = 4096 if len(raw) > 4096 else 1
    parts = [raw[at : at + size] for at in range(0, len(raw), size)] if pieces == "pieces" else [raw]

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        for _ in range(2):
            with pytest.raises(Denied) as denied:
                await fetch(client, outgoing(upstream.port), head_only=head)
            assert denied.value.code == "upstream_error"
            assert "hello" not in denied.value.detail
            assert len(denied.value.detail) < 100
            if len(raw) > 200_000:
                assert "large" in denied.value.detail, "it is not read to its end"
        assert upstream.connections == 2
        assert len(upstream.heads) == 2, "a POST is not sent again"

    run(act, test)


ANOTHER = OK + b"content-length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    ("more", "later"),
    [
        (ANOTHER, False),
        (ANOTHER, True),
        (b"HTTP/1.1 100 Continue\r\n\r\n", False),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True),
        (b"x", True),
    ],
)
def test_bytes_after_an_answer_are_nobodys(more: bytes, later: bool) -> None:
    first = OK + b"content-length: 5\r\n\r\nfirst"

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if later:
            writer.write(first)
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.write(more)
        else:
            writer.write(first + more)

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        for number in (1, 2):
            answer, body = await fetch(client, outgoing(upstream.port))
            assert (answer.status, body) == (200, b"first")
            assert upstream.connections == number
            await upstream.until(lambda: upstream.closed == number)  # noqa: B023  # and it is called here

    run(act, test)


@pytest.mark.parametrize("more", [b"x", b"0\r\n\r\n", b"HTTP/1.1 2x0 OK\r\n"])
def test_an_answer_that_is_longer_than_it_says(more: bytes) -> None:
    """Its end is in doubt."""

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        with pytest.raises(Denied) as denied:
            await fetch(client, outgoing(upstream.port))
        assert denied.value.code == "upstream_error"

    run(saying(OK + b"content-length: 2\r\n\r\n{}" + more), test)
