"""The acts of a hostile upstream with one request: a function for each way to fail (`ACTS`), and an ordinary answer."""

from __future__ import annotations

import asyncio
import gzip
import socket
import struct
from collections.abc import AsyncIterator, Iterable

from tests.gateway.faults.upstream import Act

Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter

ANSWER = (
    b'{"id":"c","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":1,"total_tokens":6}}'
)
EVENT = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hello"}}]}\n\n'
END = b"data: [DONE]\n\n"
JSON, SSE = b"content-type: application/json\r\n", b"content-type: text/event-stream\r\n"
LARGE = 100_000_000
FOREVER = 3600.0

ACTS: dict[str, Act] = {}


def act(function: Act) -> Act:
    ACTS[function.__name__] = function  # type: ignore[attr-defined]
    return function


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def document(body: bytes, status: bytes = b"200 OK", more: bytes = b"", length: int | None = None) -> bytes:
    size = len(body) if length is None else length
    return b"HTTP/1.1 %s\r\n%s%scontent-length: %d\r\n\r\n%s" % (status, JSON, more, size, body)


def stream_head(more: bytes = b"transfer-encoding: chunked\r\n") -> bytes:
    return b"HTTP/1.1 200 OK\r\n" + SSE + more + b"\r\n"


def stream(*events: bytes) -> bytes:
    return stream_head() + b"".join(map(chunk, events)) + b"0\r\n\r\n"


def reset(writer: Writer) -> bool:
    """Close with a RST, so that what was sent and not read is lost."""
    writer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
    return False


async def say(writer: Writer, data: bytes, *, go_on: bool = True) -> bool:
    """Send these bytes; with `go_on` the connection serves another request."""
    writer.write(data)
    await writer.drain()
    return go_on


async def ordinary(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER))


async def hang(writer: Writer, data: bytes) -> bool:
    await say(writer, data)
    await asyncio.sleep(FOREVER)
    return False


# --- hangs, resets, half of an answer ---------------------------------------------------------------------------------


@act
async def hang_before_head(reader: Reader, writer: Writer) -> bool:
    return await hang(writer, b"")


@act
async def hang_in_head(reader: Reader, writer: Writer) -> bool:
    return await hang(writer, b"HTTP/1.1 200 OK\r\ncontent-type: app")


@act
async def hang_after_head(reader: Reader, writer: Writer) -> bool:
    return await hang(writer, document(b"", length=100))


@act
async def hang_in_document(reader: Reader, writer: Writer) -> bool:
    return await hang(writer, document(ANSWER[:40], length=len(ANSWER)))


@act
async def hang_in_stream(reader: Reader, writer: Writer) -> bool:
    return await hang(writer, stream_head() + chunk(EVENT))


@act
async def reset_before_head(reader: Reader, writer: Writer) -> bool:
    return reset(writer)


@act
async def reset_in_document(reader: Reader, writer: Writer) -> bool:
    await say(writer, document(ANSWER[:40], length=len(ANSWER)))
    await asyncio.sleep(0.3)
    return reset(writer)


@act
async def reset_in_stream(reader: Reader, writer: Writer) -> bool:
    await say(writer, stream_head() + chunk(EVENT))
    await asyncio.sleep(0.3)
    return reset(writer)


@act
async def half_a_document(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER[:40], length=len(ANSWER)), go_on=False)


@act
async def half_of_json(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER[:40]))


@act
async def half_a_stream(reader: Reader, writer: Writer) -> bool:
    return await say(writer, stream_head() + chunk(EVENT), go_on=False)


@act
async def stream_without_end(reader: Reader, writer: Writer) -> bool:
    return await say(writer, stream(EVENT, EVENT))


# --- garbage in a stream ----------------------------------------------------------------------------------------------


@act
async def sse_without_newline(reader: Reader, writer: Writer) -> bool:
    return await say(writer, stream(*[b"x" * 1000] * 1000))


@act
async def sse_huge_event(reader: Reader, writer: Writer) -> bool:
    return await flood(writer, stream_head(), (chunk(b"y" * 1_000_000) for _ in range(40)))


@act
async def sse_invalid_utf8(reader: Reader, writer: Writer) -> bool:
    return await say(writer, stream(b"data: \xff\xfe\x80\n\n", b"\xc3(\n\n", EVENT, END))


@act
async def sse_cr_only(reader: Reader, writer: Writer) -> bool:
    return await say(writer, stream(EVENT.replace(b"\n", b"\r"), END.replace(b"\n", b"\r")))


@act
async def sse_tiny_events(reader: Reader, writer: Writer) -> bool:
    return await flood(writer, stream_head(), [*[chunk(b"\n\n" * 100_000)] * 5, chunk(END), b"0\r\n\r\n"])


@act
async def sse_many_events(reader: Reader, writer: Writer) -> bool:
    events = chunk(b'data: {"choices":[]}\n\n' * 10_000)
    return await flood(writer, stream_head(), [*[events] * 40, chunk(END), b"0\r\n\r\n"])


@act
async def sse_tiny_chunks(reader: Reader, writer: Writer) -> bool:
    pieces = b"".join(chunk(EVENT[at : at + 1]) for at in range(len(EVENT)))
    return await flood(writer, stream_head(), [*[pieces * 40] * 50, chunk(END), b"0\r\n\r\n"])


@act
async def sse_carriage_returns(reader: Reader, writer: Writer) -> bool:
    return await flood(writer, stream_head(), [*[chunk(b"\r" * 200_000)] * 5, chunk(END), b"0\r\n\r\n"])


# --- slow, and large --------------------------------------------------------------------------------------------------


@act
async def drip(reader: Reader, writer: Writer) -> bool:
    await say(writer, stream_head())
    data = chunk(EVENT) * 100
    for at in range(len(data)):
        await say(writer, data[at : at + 1])
        await asyncio.sleep(0.1)
    return False


@act
async def short_drip(reader: Reader, writer: Writer) -> bool:
    writer.write(document(b"", length=30))
    for byte in b'{"x":"' + b"y" * 22 + b'"}':
        await say(writer, bytes([byte]))
        await asyncio.sleep(0.1)
    return True


async def flood(writer: Writer, head: bytes, pieces: Iterable[bytes]) -> bool:
    await say(writer, head)
    for piece in pieces:
        await say(writer, piece)
    return True


@act
async def large_document(reader: Reader, writer: Writer) -> bool:
    piece = b"z" * 1_000_000
    head = document(b'{"x":"', length=LARGE + 8)
    return await flood(writer, head, [*[piece] * 100, b'"}'])


@act
async def large_values(reader: Reader, writer: Writer) -> bool:
    body = b'{"x":[' + b"0," * 5_000_000 + b"0]}"
    return await say(writer, document(body))


@act
async def large_stream(reader: Reader, writer: Writer) -> bool:
    event = chunk(b'data: {"choices":[{"index":0,"delta":{"content":"' + b"z" * 1_000_000 + b'"}}]}\n\n')
    return await flood(writer, stream_head(), [*[event] * 100, chunk(END), b"0\r\n\r\n"])


@act
async def large_error(reader: Reader, writer: Writer) -> bool:
    head = document(b"", b"500 X", length=LARGE)
    return await flood(writer, head, [b"z" * 1_000_000] * 100)


# --- lengths and chunks -----------------------------------------------------------------------------------------------


@act
async def length_too_small(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER, length=20))


@act
async def surplus_answer(reader: Reader, writer: Writer) -> bool:
    """An answer to a question that nobody has asked: the next request must not get it."""
    return await say(writer, document(ANSWER) + document(ANSWER.replace(b"hello", b"smuggled")))


@act
async def late_surplus_answer(reader: Reader, writer: Writer) -> bool:
    await say(writer, document(ANSWER))
    await asyncio.sleep(0.2)
    return await say(writer, document(ANSWER.replace(b"hello", b"smuggled")))


@act
async def two_lengths(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER, more=b"content-length: 5\r\n"), go_on=False)


@act
async def negative_length(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(ANSWER, length=-5), go_on=False)


@act
async def chunks_without_end(reader: Reader, writer: Writer) -> bool:
    head = b"HTTP/1.1 200 OK\r\n" + JSON + b"transfer-encoding: chunked\r\n\r\n"
    return await say(writer, head + chunk(ANSWER), go_on=False)


@act
async def chunk_size_garbage(reader: Reader, writer: Writer) -> bool:
    await say(writer, stream_head() + chunk(EVENT))
    await asyncio.sleep(0.3)
    return await say(writer, b"zz\r\n" + EVENT, go_on=False)


@act
async def chunk_size_endless(reader: Reader, writer: Writer) -> bool:
    head = stream_head() + chunk(EVENT) + b"5;"
    return await flood(writer, head, [b"x" * 1_000_000] * 40)


# --- heads ------------------------------------------------------------------------------------------------------------


@act
async def closed_when_idle(reader: Reader, writer: Writer) -> bool:
    """Keeps the connection by its words, and closes it: the end is sent together with the answer, never later."""
    writer.transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    return await say(writer, document(ANSWER), go_on=False)


@act
async def closed_when_asked(reader: Reader, writer: Writer) -> bool:
    """Answers once, and closes when the next request has come, as a server does whose pause is over just then."""
    await say(writer, document(ANSWER))
    await reader.read(1)
    return reset(writer)


@act
async def http_1_0(reader: Reader, writer: Writer) -> bool:
    return await say(writer, b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + ANSWER, go_on=False)


@act
async def http_1_0_cut(reader: Reader, writer: Writer) -> bool:
    return await say(writer, b"HTTP/1.0 200 OK\r\n" + JSON + b"\r\n" + ANSWER[:50], go_on=False)


@act
async def early_hints(reader: Reader, writer: Writer) -> bool:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    return await say(writer, hints + document(ANSWER))


@act
async def endless_hints(reader: Reader, writer: Writer) -> bool:
    return await flood(writer, b"", _forever(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000))


def _forever(piece: bytes) -> Iterable[bytes]:
    while True:
        yield piece


@act
async def switching(reader: Reader, writer: Writer) -> bool:
    head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    return await say(writer, head, go_on=False)


@act
async def endless_head(reader: Reader, writer: Writer) -> bool:
    return await flood(writer, b"HTTP/1.1 200 OK\r\n", _forever(b"x-a: " + b"b" * 10_000 + b"\r\n"))


@act
async def no_content(reader: Reader, writer: Writer) -> bool:
    return await say(writer, b"HTTP/1.1 204 No Content\r\n\r\n")


@act
async def not_modified(reader: Reader, writer: Writer) -> bool:
    return await say(writer, b"HTTP/1.1 304 Not Modified\r\n\r\n")


@act
async def redirect(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(b"{}", b"307 X", b"location: http://127.0.0.1:1/\r\n"))


@act
async def compressed(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(gzip.compress(ANSWER), more=b"content-encoding: gzip\r\n"))


@act
async def no_http(reader: Reader, writer: Writer) -> bool:
    return await say(writer, b"220 mail.example ESMTP\r\n", go_on=False)


@act
async def broken(reader: Reader, writer: Writer) -> bool:
    return await say(writer, document(b'{"error":{"message":"broken"}}', b"500 X"))


_FLAKY = [False]


@act
async def flaky(reader: Reader, writer: Writer) -> bool:
    """Every other time it breaks off before an answer."""
    _FLAKY[0] = not _FLAKY[0]
    return reset(writer) if _FLAKY[0] else await say(writer, document(ANSWER))


@act
async def paced(reader: Reader, writer: Writer) -> bool:
    """Half a minute of events, for clients that leave."""
    await say(writer, stream_head())
    async for event in _paced():
        await say(writer, chunk(event))
    return await say(writer, chunk(END) + b"0\r\n\r\n")


async def _paced() -> AsyncIterator[bytes]:
    for _ in range(300):
        yield EVENT
        await asyncio.sleep(0.1)
