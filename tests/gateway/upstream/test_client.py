"""The client to upstreams: what it sends, its connections, and how a call ends."""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from yarl import URL

from gateway.body import SpooledBody
from gateway.errors import Denied
from gateway.outbound import connection as connection_module
from gateway.outbound.addresses import ANYWHERE
from gateway.outbound.client import NotConnectedError, Outgoing, UpstreamAnswer, UpstreamClient
from tests.gateway.dataplane.authority import Authority, Pair

from .raw_upstream import OK, Upstream, fetch, nothing, outgoing, run, saying

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
LENGTH_2 = b"Content-Length: 2\r\n\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"


def test_what_is_sent() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        port = upstream.port
        await fetch(client, outgoing(port, path="/v1/a%2Fb?q=%20x", **{"x-a": "b", "x-é": "ü"}))
        await fetch(client, outgoing(port, "GET", b""))
        await fetch(client, outgoing(port, "POST", b""))
        await fetch(client, outgoing(port, "DELETE", b""))
        host = b"Host: 127.0.0.1:%d\r\n" % port
        assert upstream.heads == [
            b"POST /v1/a%2Fb?q=%20x HTTP/1.1\r\n" + host + "x-a: b\r\nx-é: ü\r\n".encode() + LENGTH_2,
            b"GET /v1/x HTTP/1.1\r\n" + host + b"\r\n",
            b"POST /v1/x HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n",
            b"DELETE /v1/x HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n",
        ]  # fmt: skip
        assert upstream.connections == 1
        for bad in ("a\r\nx: y", "a\nb", "a\rb", "a\0b"):
            with pytest.raises(ValueError, match="line break"):
                await client.send(outgoing(port, **{"x-a": bad}), nothing, ANYWHERE)
        for path in ("/a b", "/a\r\nx: y", "/é"):
            with pytest.raises(ValueError, match="escaped"):
                await client.send(outgoing(port, path=path), nothing, ANYWHERE)
        assert len(upstream.heads) == 4

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


@pytest.mark.parametrize("spooled", [False, True], ids=["memory", "disk"])
def test_large_bodies(tmp_path: Path, spooled: bool) -> None:
    """They are written while the upstream takes them, and released with their last byte."""
    raw = bytes(range(256)) * 16_384  # 4 MiB

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        body: Any = raw
        if spooled:
            body = SpooledBody(tmp_path)
            body.write([raw])
        told: list[int] = []
        request = outgoing(upstream.port, body=body)
        answer = await client.send(request, lambda: told.append(1), ANYWHERE)
        assert await answer.read() == b"{}"
        answer.close()
        assert upstream.bodies == [raw]
        assert told
        assert spooled or request.body == b""
        await fetch(client, outgoing(upstream.port))
        assert upstream.connections == 1

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


def test_an_answer_before_all_of_the_body_was_taken() -> None:
    """It is relayed, and the connection, on which half of a request stands, is closed."""

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        answer, body = await fetch(client, outgoing(upstream.port, body=b"x" * 20_000_000))
        assert (answer.status, body) == (413, b"{}")
        upstream.reads_bodies = True
        upstream.act = saying(OK + b"content-length: 2\r\n\r\n{}")
        assert (await fetch(client, outgoing(upstream.port)))[1] == b"{}"
        assert upstream.connections == 2

    async def refuse(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}")
        await asyncio.sleep(0.2)

    run(refuse, test, reads_bodies=False)


def test_a_body_that_cannot_be_read_any_more(tmp_path: Path) -> None:
    """The announced body is not sent, so the upstream gets no whole request, and the call ends at once."""

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        body = SpooledBody(tmp_path)
        body.write([b"x" * 2_000_000])
        body.release()
        with pytest.raises(Denied) as denied:
            await client.send(outgoing(upstream.port, body=body), nothing, ANYWHERE)
        assert denied.value.detail == "the body of the request cannot be read"
        assert upstream.bodies == []

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


def test_an_upstream_that_is_read_slowly_waits() -> None:
    """No more is taken from it than some hundred kilobytes, until they are read."""
    written = 0

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"content-length: 64000000\r\n\r\n")
        for _ in range(1000):
            writer.write(b"x" * 64_000)
            await writer.drain()
            written += 64_000

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        answer = await client.send(outgoing(upstream.port), nothing, ANYWHERE)
        before = -1
        while written != before:
            before = written
            await asyncio.sleep(0.2)
        assert answer.waiting_bytes < 1_000_000
        assert written < 40_000_000, "the rest is in the kernel's buffers at most"
        total = 0
        while piece := await answer.read():
            total += len(piece)
        answer.close()
        assert total == 64_000_000
        await fetch(client, outgoing(upstream.port, "GET", b""))
        assert upstream.connections == 1

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await (act if not written else saying(OK + b"content-length: 2\r\n\r\n{}"))(reader, writer)

    run(once, test)


@pytest.mark.parametrize(("method", "sent"), [("GET", 3), ("DELETE", 3), ("POST", 2)])
def test_a_kept_connection_that_the_upstream_has_closed(method: str, sent: int) -> None:
    """A request that may be repeated is sent once more, on a new connection; another one fails."""

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        await fetch(client, outgoing(upstream.port, method, b""))

        async def close(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            upstream.act = saying(OK + b"content-length: 2\r\n\r\n{}")
            writer.close()

        upstream.act = close  # as if it had closed the connection while the request was on its way
        if method == "POST":
            with pytest.raises(Denied) as denied:
                await client.send(outgoing(upstream.port, method, b""), nothing, ANYWHERE)
            assert not isinstance(denied.value, NotConnectedError), "the request may have been carried out"
        else:
            await fetch(client, outgoing(upstream.port, method, b""))
        assert len(upstream.heads) == sent

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


def test_a_connection_is_not_asked_twice_if_an_answer_has_begun() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        await fetch(client, outgoing(upstream.port, "GET", b""))
        upstream.act = saying(b"HTTP/1.1 2", close=True)
        with pytest.raises(Denied):
            await client.send(outgoing(upstream.port, "GET", b""), nothing, ANYWHERE)
        assert len(upstream.heads) == 2

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


def test_connections_are_shared_and_grow_old(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.outbound.client._KEEP_IDLE", 0.2)

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        first, second = [await client.send(outgoing(upstream.port), nothing, ANYWHERE) for _ in range(2)]
        assert upstream.connections == 2, "one for each answer under way"
        for answer in (first, second):
            assert await answer.read() == b"{}"
            answer.close()
        for _ in range(3):
            await fetch(client, outgoing(upstream.port))
        assert upstream.connections == 2
        await upstream.until(lambda: upstream.closed == 2)

    run(saying(OK + b"content-length: 2\r\n\r\n{}"), test)


def test_an_answer_that_nobody_reads_to_its_end_closes_its_connection() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        answer = await client.send(outgoing(upstream.port), nothing, ANYWHERE)
        answer.close()
        answer.close()  # may be called again
        await upstream.until(lambda: upstream.closed == 1)

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED + b"5\r\nhello\r\n")
        await writer.drain()
        await reader.read()

    run(act, test)


def test_a_cancelled_request_closes_its_connection() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        for number, body in enumerate((b"{}", b"x" * 1_000_000)):
            task = asyncio.create_task(client.send(outgoing(upstream.port, body=body), nothing, ANYWHERE))
            await upstream.until(lambda: len(upstream.heads) > number)  # noqa: B023  # and it is called here
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await upstream.until(lambda: upstream.closed == 2)

    async def act(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    run(act, test)


def test_a_pause_within_an_answer_has_an_end() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        answer = await client.send(outgoing(upstream.port), nothing, ANYWHERE)
        got: list[bytes] = []

        async def read() -> None:
            while piece := await answer.read():
                got.append(piece)

        with pytest.raises(Denied) as denied:
            await read()
        answer.close()
        assert (denied.value.code, denied.value.detail) == ("upstream_timeout", "nothing came from the upstream")
        assert b"".join(got) == b"hello" * 4, "pauses that are short enough pass, and all together may be longer"

    async def act(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(CHUNKED)
        for _ in range(4):
            writer.write(b"5\r\nhello\r\n")
            await writer.drain()
            await asyncio.sleep(0.25)
        await reader.read()

    run(act, test, idle=0.6)


def test_upstreams_that_cannot_be_reached() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        port = upstream.port
        assert upstream.server is not None
        upstream.server.close()
        for url in (f"http://127.0.0.1:{port}/", f"http://[::1]:{port}/", "http://a..b/"):
            with pytest.raises(NotConnectedError) as denied:
                await client.send(Outgoing("POST", URL(url), {}, b"{}"), nothing, ANYWHERE)
            assert denied.value.code == "upstream_error"
            assert denied.value.detail.startswith("cannot connect to ")
            denied.value.detail.encode()

    run(saying(b""), test)


def test_a_tls_handshake_that_does_not_end() -> None:
    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        silent = socket.create_server(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        hasty = UpstreamClient(connect_timeout=0.2, idle_timeout=1)
        with pytest.raises(NotConnectedError) as denied:
            await hasty.send(Outgoing("POST", URL(f"https://127.0.0.1:{port}/"), {}, b"{}"), nothing, ANYWHERE)
        assert denied.value.code == "upstream_timeout"
        await hasty.close()
        silent.close()

    run(saying(b""), test)


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The certificate must be of a trusted authority and for this name, which the upstream is told (SNI)."""
    trusted, stranger = Authority.make("trusted"), Authority.make("stranger")
    certificate, _ = trusted.pair.write(tmp_path, "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nothing"))
    asked: list[str | None] = []

    async def serve(pair: Pair) -> Upstream:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*pair.write(tmp_path, "server"))
        context.sni_callback = lambda _socket, name, _context: asked.append(name)
        made = Upstream(saying(OK + b"content-length: 2\r\n\r\n{}"))
        await made.start(context)
        return made

    async def test(_plain: Upstream, client: UpstreamClient) -> None:
        upstream = await serve(trusted.server())
        for host, name in (("localhost", "localhost"), ("localhost.", "localhost"), ("127.0.0.1", None)):
            request = Outgoing("POST", URL(f"https://{host}:{upstream.port}/"), {}, b"x" * 100_000)
            assert (await fetch(client, request))[1] == b"{}"
            assert asked[-1] == name
        assert upstream.connections == 2, "the same name with and without its dot"
        await upstream.stop()
        for pair in (stranger.server(), trusted.issue(x509.DNSName("other.example"), extended=SERVER)):
            refused = await serve(pair)
            with pytest.raises(NotConnectedError) as denied:
                await client.send(
                    Outgoing("POST", URL(f"https://localhost:{refused.port}/"), {}, b"{}"), nothing, ANYWHERE
                )
            assert "certificate" in denied.value.detail
            assert refused.heads == []
            await refused.stop()

    run(saying(b""), test)


def test_nothing_of_a_call_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it ends: nothing waits for the garbage collector."""
    seen: list[weakref.ref[Any]] = []

    class Watched(UpstreamAnswer):
        __slots__ = ("__weakref__",)

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            seen.append(weakref.ref(self))
            seen.append(weakref.ref(self._connection))

    class Connection(connection_module.UpstreamConnection):
        """One that can be referred to weakly."""

    monkeypatch.setattr(connection_module, "UpstreamAnswer", Watched)
    monkeypatch.setattr("gateway.outbound.pool.UpstreamConnection", Connection)

    async def test(upstream: Upstream, client: UpstreamClient) -> None:
        for act in (
            saying(OK + b"content-length: 2\r\n\r\n{}", close=True),
            saying(OK + b"content-length: 9\r\n\r\n{}", close=True),
            saying(CHUNKED + b"zz\r\n"),
            saying(CHUNKED + b"5\r\nhello\r\n"),
        ):
            upstream.act = act
            with suppress(Denied):
                answer = await client.send(outgoing(upstream.port), nothing, ANYWHERE)
                try:
                    await answer.read()
                    await answer.read() if "zz" in repr(act) else None
                finally:
                    answer.close()
                    del answer
            await asyncio.sleep(0.05)
        assert len(seen) == 8
        assert [each() for each in seen if each() is not None] == []

    gc.collect()
    gc.disable()
    try:
        run(saying(b""), test)
    finally:
        gc.enable()
