"""Bytes that two HTTP parsers could read differently: each has exactly one answer, and no second request is served.

The cases are data: what is sent, and the status and reason code that come back. All of them run against one data plane
on connections of their own; afterwards the upstream must have seen nothing but the well-formed control request.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import pytest

from gateway.dataplane import refusals
from tests.effort import Meter

from .conftest import COMPLETION, Gateway, Seen, Start, answer, chat, read_reply, until

BODY = b'{"model":"gpt-4o","messages":[{"role":"user","content":"smuggled"}]}'
SMUGGLED = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def post(*lines: bytes, body: bytes = BODY, target: bytes = b"/v1/chat/completions", version: bytes = b"1.1") -> bytes:
    """A request with exactly these header lines besides the key, which is put in for `KEY`."""
    head = [b"POST %s HTTP/%s" % (target, version), b"Authorization: Bearer KEY", *lines]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


HOST = b"Host: gateway"
JSON = b"Content-Type: application/json"
LENGTH = b"Content-Length: %d" % len(BODY)
PLAIN = (HOST, JSON, LENGTH)
CHUNKED = b"Transfer-Encoding: chunked"
CHUNKS = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)


@dataclass(frozen=True)
class Case:
    note: str
    sent: bytes
    status: int
    code: str


CASES = [
    Case(note, sent, status, code)
    for note, sent, status, code in [
        # Message length
        ("length and chunks", post(*PLAIN, CHUNKED, body=CHUNKS), 400, "bad_request"),
        ("chunks and length", post(CHUNKED, *PLAIN, body=b"0\r\n\r\n" + SMUGGLED), 400, "bad_request"),
        ("two equal lengths", post(*PLAIN, LENGTH), 400, "bad_request"),
        ("two lengths", post(*PLAIN, b"Content-Length: 0"), 400, "bad_request"),
        ("a list of lengths", post(HOST, JSON, b"Content-Length: 5, 5", body=b"{}   "), 400, "bad_request"),
        ("negative length", post(HOST, JSON, b"Content-Length: -1"), 400, "bad_request"),
        ("signed length", post(HOST, JSON, b"Content-Length: +5"), 400, "bad_request"),
        ("hexadecimal length", post(HOST, JSON, b"Content-Length: 0x5"), 400, "bad_request"),
        ("empty length", post(HOST, JSON, b"Content-Length: "), 400, "bad_request"),
        ("huge length", post(HOST, JSON, b"Content-Length: 99999999999999999999"), 400, "bad_request"),
        ("two transfer encodings", post(HOST, JSON, CHUNKED, CHUNKED, body=CHUNKS), 400, "bad_request"),
        ("identity after chunked", post(HOST, JSON, b"Transfer-Encoding: chunked, identity"), 400, "bad_request"),
        ("unknown encoding", post(HOST, JSON, b"Transfer-Encoding: xchunked", body=CHUNKS), 400, "bad_request"),
        ("quoted encoding", post(HOST, JSON, b'Transfer-Encoding: "chunked"', body=CHUNKS), 400, "bad_request"),
        (
            "compressed chunks",
            post(HOST, JSON, b"Transfer-Encoding: gzip, chunked", body=CHUNKS),
            415,
            "unsupported_encoding",
        ),
        ("space before the colon", post(HOST, JSON, b"Content-Length : 5"), 400, "bad_request"),
        ("tab before the colon", post(HOST, JSON, b"Transfer-Encoding\t: chunked", body=CHUNKS), 400, "bad_request"),
        ("folded header", post(HOST, JSON, b"X: a\r\n Transfer-Encoding: chunked", LENGTH), 400, "bad_request"),
        ("vertical tab", post(HOST, JSON, b"Transfer-Encoding: \x0bchunked", body=CHUNKS), 400, "bad_request"),
        ("NUL in a value", post(*PLAIN, b"X: a\x00b"), 400, "bad_request"),
        ("bare CR in a value", post(*PLAIN, b"X: a\rTransfer-Encoding: chunked"), 400, "bad_request"),
        ("bare LF as line end", post(HOST, JSON, b"X: a\nTransfer-Encoding: chunked", LENGTH), 400, "bad_request"),
        ("no length for a body", post(HOST, JSON), 400, "bad_request"),
        # Chunks
        ("bad chunk size", post(HOST, JSON, CHUNKED, body=b"zz\r\n{}\r\n0\r\n\r\n"), 400, "bad_request"),
        ("negative chunk size", post(HOST, JSON, CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"), 400, "bad_request"),
        ("chunk size beyond 64 bits", post(HOST, JSON, CHUNKED, body=b"f" * 17 + b"\r\n{}"), 400, "bad_request"),
        ("chunk size with 0x", post(HOST, JSON, CHUNKED, body=b"0x2\r\n{}\r\n0\r\n\r\n"), 400, "bad_request"),
        ("chunk longer than it says", post(HOST, JSON, CHUNKED, body=b"1\r\n{}\r\n0\r\n\r\n"), 400, "bad_request"),
        ("LF in chunk framing", post(HOST, JSON, CHUNKED, body=b"2\n{}\n0\n\n"), 400, "bad_request"),
        ("endless extension", post(HOST, JSON, CHUNKED, body=b"2;x=" + b"y" * 300_000), 400, "bad_request"),
        ("endless trailer", post(HOST, JSON, CHUNKED, body=b"0\r\nX: " + b"y" * 300_000), 400, "bad_request"),
        # The request line
        ("absolute target", post(*PLAIN, target=b"http://evil/v1/chat/completions"), 400, "bad_request"),
        ("absolute target of ours", post(*PLAIN, target=b"http://gateway/v1/chat/completions"), 400, "bad_request"),
        ("fragment", post(*PLAIN, target=b"/v1/chat/completions#x"), 400, "bad_request"),
        ("authority target", post(*PLAIN, target=b"gateway:80"), 400, "bad_request"),
        ("asterisk", post(*PLAIN, target=b"*"), 400, "bad_request"),
        ("raw UTF-8 in the target", post(*PLAIN, target="/v1/ä".encode()), 400, "bad_request"),
        ("space in the target", post(*PLAIN, target=b"/v1/chat /completions"), 400, "bad_request"),
        ("HTTP/1.0", post(*PLAIN, version=b"1.0"), 400, "bad_request"),
        ("HTTP/0.9", b"GET /v1/models\r\n\r\n", 400, "bad_request"),
        ("HTTP/1.2", post(*PLAIN, version=b"1.2"), 400, "bad_request"),
        ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, "bad_request"),
        ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        ("lower case method", b"get" + post(*PLAIN)[4:], 400, "bad_request"),
        ("CONNECT", b"CONNECT gateway:80 HTTP/1.1\r\nHost: gateway\r\n\r\n", 400, "bad_request"),
        # Paths: only the bytes of the table match
        ("encoded dots", post(*PLAIN, target=b"/v1/%2e%2e/v1/chat/completions"), 404, "unknown_route"),
        ("dots", post(*PLAIN, target=b"/v1/../v1/chat/completions"), 404, "unknown_route"),
        ("one dot", post(*PLAIN, target=b"/v1/./chat/completions"), 404, "unknown_route"),
        ("encoded slash", post(*PLAIN, target=b"/v1%2fchat/completions"), 404, "unknown_route"),
        ("encoded letter", post(*PLAIN, target=b"/v1/ch%61t/completions"), 404, "unknown_route"),
        ("double slash", post(*PLAIN, target=b"//v1/chat/completions"), 404, "unknown_route"),
        ("backslash", post(*PLAIN, target=b"/v1\\chat/completions"), 404, "unknown_route"),
        ("path parameter", post(*PLAIN, target=b"/v1/chat/completions;x=1"), 404, "unknown_route"),
        ("trailing slash", post(*PLAIN, target=b"/v1/chat/completions/"), 404, "unknown_route"),
        ("upper case", post(*PLAIN, target=b"/V1/chat/completions"), 404, "unknown_route"),
        ("a control plane path", post(*PLAIN, target=b"/api/v1/agents"), 404, "unknown_route"),
        # The query
        ("a key in the query", post(*PLAIN, target=b"/v1/chat/completions?api_key=aig_sk_x"), 400, "bad_request"),
        ("unknown query", post(*PLAIN, target=b"/v1/chat/completions?beta=true"), 400, "bad_request"),
        ("nothing but an ampersand", post(*PLAIN, target=b"/v1/chat/completions?&"), 400, "bad_request"),
        # Headers
        ("no Host", post(JSON, LENGTH), 400, "bad_request"),
        ("two Hosts", post(*PLAIN, b"Host: evil"), 400, "bad_request"),
        ("two equal Hosts", post(*PLAIN, HOST), 400, "bad_request"),
        ("Host with a path", post(b"Host: x/#@y", JSON, LENGTH), 400, "bad_request"),
        ("Host with a user", post(b"Host: a@b", JSON, LENGTH), 400, "bad_request"),
        ("Host with a query", post(b"Host: a?b", JSON, LENGTH), 400, "bad_request"),
        ("empty Host", post(b"Host: ", JSON, LENGTH), 400, "bad_request"),
        ("200 kB header", post(*PLAIN, b"X: " + b"a" * 200_000), 400, "bad_request"),
        ("200 kB in one name", post(*PLAIN, b"x" * 200_000 + b": a"), 400, "bad_request"),
        ("200 kB of target", post(*PLAIN, target=b"/" + b"a" * 200_000), 400, "bad_request"),
        ("101 headers", post(*PLAIN, *[b"X-%d: a" % n for n in range(101)]), 400, "bad_request"),
        ("space in a name", post(*PLAIN, b"X Y: a"), 400, "bad_request"),
        ("empty name", post(*PLAIN, b": a"), 400, "bad_request"),
        ("two content types", post(*PLAIN, b"Content-Type: text/plain"), 400, "bad_request"),
        ("WebSocket", post(*PLAIN, b"Connection: upgrade", b"Upgrade: websocket"), 426, "websocket_refused"),
        ("h2c", post(*PLAIN, b"Connection: upgrade, http2-settings", b"Upgrade: h2c"), 400, "bad_request"),
        # Content
        ("no content type", post(HOST, LENGTH), 415, "unsupported_encoding"),
        ("plain text", post(HOST, b"Content-Type: text/plain", LENGTH), 415, "unsupported_encoding"),
        ("a form", post(HOST, b"Content-Type: multipart/form-data; boundary=x", LENGTH), 415, "unsupported_encoding"),
        ("UTF-16", post(HOST, b"Content-Type: application/json; charset=utf-16", LENGTH), 415, "unsupported_encoding"),
        ("gzip", post(*PLAIN, b"Content-Encoding: gzip"), 415, "unsupported_encoding"),
        ("too large by its length", post(HOST, JSON, b"Content-Length: 100001", body=b"{"), 413, "too_large"),
        (
            "too large in chunks",
            post(HOST, JSON, CHUNKED, body=b"186a1\r\n" + b" " * 100_001 + b"\r\n0\r\n\r\n"),
            413,
            "too_large",
        ),
        ("no JSON", post(HOST, JSON, b"Content-Length: 3", body=b"{a}"), 400, "bad_request"),
        ("a duplicate key", post(HOST, JSON, CHUNKED, body=b'd\r\n{"a":1,"a":2}\r\n0\r\n\r\n'), 400, "duplicate_key"),
        # Credentials
        ("no key", post(*PLAIN).replace(b"Authorization: Bearer KEY\r\n", b""), 401, "bad_credentials"),
        ("another scheme", post(*PLAIN).replace(b"Bearer", b"Basic"), 401, "bad_credentials"),
        ("two keys", post(*PLAIN, b"x-api-key: KEY"), 400, "bad_request"),
        ("the key twice", post(*PLAIN, b"Authorization: Bearer KEY"), 400, "bad_request"),
        ("SQL", post(*PLAIN).replace(b"KEY", b"' OR '1'='1"), 401, "bad_credentials"),
        ("a mistyped key", post(*PLAIN).replace(b"KEY", b"KEYx"), 401, "bad_credentials"),
    ]
]  # fmt: skip


async def _answers(gateway: Gateway, sent: bytes) -> tuple[int, str, int]:
    """Status and code of the answer, and how many answers came before the connection was closed or quiet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    try:
        writer.write(sent.replace(b"KEY", gateway.key.encode()))
        reply = await read_reply(reader)
        more = b""
        try:
            async with asyncio.timeout(0.05):
                more = await reader.read()
        except (TimeoutError, ConnectionError):
            pass
        return reply.status, reply.code or "", 1 + more.count(b"HTTP/1.1 ")
    finally:
        writer.close()


async def test_every_case_has_one_answer(start: Start) -> None:
    gateway = await start(max_body_bytes=100_000)
    wrong = []
    for case in CASES:
        # A second request behind it must never be served.
        try:
            found = await _answers(gateway, case.sent + SMUGGLED)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            found = (0, type(error).__name__, 0)
        if found != (case.status, case.code, 1):
            wrong.append(f"{case.note}: {found} instead of {(case.status, case.code, 1)}")
    assert wrong == []
    assert gateway.upstream.seen == []
    assert (await gateway.chat()).status == 200
    assert b"smuggled" not in gateway.upstream.seen[0].body


def test_notes_are_unique() -> None:
    assert len({case.note for case in CASES}) == len(CASES)


async def test_a_pipelined_request_is_not_served(gateway: Gateway) -> None:
    status, _, answers = await _answers(gateway, gateway.request(chat("o3")) + gateway.request(chat("o3")))
    assert (status, answers) == (403, 1)


async def test_a_websocket_is_told_what_is_spoken_instead(gateway: Gateway) -> None:
    sent = post(*PLAIN, b"Connection: upgrade", b"Upgrade: websocket")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(sent.replace(b"KEY", gateway.key.encode()))
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    writer.close()
    assert head.startswith(b"http/1.1 426 ")
    assert b"\r\nupgrade: http/1.1\r\nconnection: upgrade\r\n" in head


async def test_trailers_do_not_join_the_head(gateway: Gateway) -> None:
    body = b"%x\r\n%s\r\n0\r\nAccept: text/evil\r\nAuthorization: Bearer x\r\n\r\n" % (len(BODY), BODY)
    sent = post(HOST, JSON, CHUNKED, body=body).replace(b"KEY", gateway.key.encode())
    assert (await gateway.send(sent)).status == 200
    assert "accept" not in gateway.upstream.seen[0].headers
    assert gateway.upstream.seen[0].body == BODY


async def test_many_small_chunks(gateway: Gateway) -> None:
    body = b'{"model":"gpt-4o","messages":[{"role":"user","content":"%s"}]}' % (b"x" * 100_000)
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    meter = Meter()
    sent = post(HOST, JSON, CHUNKED, body=chunks).replace(b"KEY", gateway.key.encode())
    assert (await gateway.send(sent)).status == 200
    assert gateway.upstream.seen[0].body == body
    assert meter.effort() < 5000


async def test_slow_heads_and_bodies(start: Start) -> None:
    gateway = await start(header_timeout=1.0, body_timeout=1.0, keep_alive=2.0)
    request = gateway.request(chat())

    async def slowly(*pieces: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        for piece in pieces:
            writer.write(piece)
            await asyncio.sleep(0.05)
        answer = await reader.read()
        writer.close()
        return answer

    answers = await asyncio.gather(
        slowly(),  # says nothing
        slowly(b"\r\n", b"\r\n"),  # only empty lines
        slowly(request[:30]),
        slowly(request[:30], request[30:60]),
        slowly(request[:-5]),
        slowly(gateway.request(chat("o3"), "Authorization: Bearer x")[:-5]),  # refused before its body has come
    )
    assert answers[0] == answers[1] == b""
    for late in answers[2:5]:
        assert late.startswith(b"HTTP/1.1 400")
        assert b"in time" in late
    assert answers[5].startswith(b"HTTP/1.1 401")
    assert gateway.upstream.seen == []


async def test_a_body_must_come_at_a_least_rate(start: Start) -> None:
    """A byte now and then kept a request in progress for as long as the longest body may take."""
    gateway = await start(header_timeout=0.5, body_timeout=3600, body_rate=500)
    request = gateway.request(chat(user="x" * 3000))

    async def slowly(pause: float) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(request[:-3000])
        reading = asyncio.create_task(reader.read(12))
        for at in range(len(request) - 3000, len(request)):
            if reading.done():
                break
            writer.write(request[at : at + 1])
            await asyncio.sleep(pause)
        found = await reading
        writer.close()
        return found

    # One byte in 20 ms is a tenth of the rate; 3000 bytes without a pause are none too few.
    assert await asyncio.gather(slowly(0.02), slowly(0)) == [b"HTTP/1.1 400", b"HTTP/1.1 200"]


async def test_connections_without_a_key_keep_nobody_out(start: Start) -> None:
    """Those of one address that wait longest are closed once it has its share: 8,192 of them kept everybody out."""
    gateway = await start(max_connections=12)
    reader, own = await asyncio.open_connection("127.0.0.1", gateway.port)
    own.write(gateway.request(chat()))
    assert (await read_reply(reader)).status == 200
    held = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(30)]
    for _, writer in held[::3]:
        writer.write(b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n")
    assert [(await gateway.chat()).status for _ in range(10)] == [200] * 10
    ended = await asyncio.gather(*(asyncio.wait_for(each.read(1), 30) for each, _ in held[:20]))
    assert set(ended) == {b""}, "the oldest of those that wait were closed"
    # A connection that was authenticated does not count for its address.
    own.write(gateway.request(chat()))
    assert (await read_reply(reader)).status == 200
    for _, writer in [(None, own), *held]:
        writer.close()


async def test_a_newcomer_is_refused_only_if_all_are_busy(start: Start) -> None:
    gateway = await start(max_connections=12)
    go = asyncio.Event()

    async def wait(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer(COMPLETION)(seen, writer)

    gateway.upstream.handler = wait
    calls = []
    for number in range(1, 13):
        calls.append(asyncio.create_task(gateway.chat()))
        await until(lambda: len(gateway.upstream.seen) + sum(each.done() for each in calls) == number)  # noqa: B023
    refused = [each.result() for each in calls if each.done()]
    assert {(each.status, each.code, each.headers["x-should-retry"]) for each in refused} == {
        (503, "overloaded", "true")
    }
    assert "this address has its whole share of connections" in refused[0].json["error"]["message"]
    go.set()
    assert sorted({each.status for each in await asyncio.gather(*calls)}) == [200, 503]
    assert len(gateway.upstream.seen) >= 6


async def test_a_large_body_that_is_refused_still_gets_its_answer(gateway: Gateway) -> None:
    """The rest of the body is read and dropped; otherwise the answer would be lost with the connection."""
    body = b'{"model":"gpt-4o","pad":"' + b"x" * 5_000_000 + b'"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(body, "Authorization: Bearer nobody"))
    await writer.drain()
    assert (await read_reply(reader)).status == 401
    # And the connection can be used again.
    writer.write(gateway.request(chat()))
    assert (await read_reply(reader)).status == 200
    writer.close()


@pytest.mark.parametrize(("key", "status"), [("", 200), ("Authorization: Bearer nobody", 401)])
async def test_expect_100_continue(gateway: Gateway, key: str, status: int) -> None:
    head, _, body = gateway.request(chat(), "Expect: 100-continue", *([key] if key else [])).partition(b"\r\n\r\n")
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(head + b"\r\n\r\n")
    if status == 200:
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body)
        assert (await read_reply(reader)).status == 200
    else:
        assert (await read_reply(reader)).status == 401
        # The body may or may not come, so nothing can follow.
        assert await reader.read() == b""
    writer.close()


async def test_refusals_are_counted(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_MINUTE_NS", 2**63)  # no minute ends while this runs
    gateway = await start()
    for _ in range(3):
        await gateway.chat("gpt-4o", "Authorization: Bearer nobody")
    await gateway.send(gateway.request(chat(), path="/nowhere"))
    await _answers(gateway, b"\x00\x00")
    # A principal's own mistakes are in its organization's log, ten one by one, the rest in aggregate.
    for _ in range(12):
        await gateway.send(gateway.request(b"{"))
    gateway.plane._teller._refusals.flush()
    mine = await gateway.entries("refused")
    assert [entry["count"] for entry in mine] == [1] * 10 + [2]
    assert {entry["reason"] for entry in mine} == {"bad_request"}
    assert [bool(entry["agent"]) for entry in mine] == [True] * 10 + [False]
    counts = {(e["reason"], e.get("detail")): e["count"] for e in gateway.log("system") if e["kind"] == "refused"}
    assert counts == {
        ("bad_credentials", "malformed"): 3,
        ("unknown_route", None): 1,
        ("bad_request", None): 1,
    }
