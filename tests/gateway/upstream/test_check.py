"""Trying an upstream: what each kind of failure is called, and that the key is in no word of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from gateway.outbound.addresses import ANYWHERE
from gateway.upstream import check
from gateway.upstream.check import UpstreamCheck
from gateway.upstream.providers.http import api, openapi
from gateway.upstream.providers.http import provider as http
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routing import Destination
from tests.gateway.dataplane.authority import Authority

from .raw_upstream import OK, Upstream, saying

KEY = "sk-live-0123456789"
LIST = b'{"data": [{"id": "a"}, {"id": "b"}]}'


def destination(base_url: str, preset: str = "openai", secret: str | None = KEY, fault: str = "") -> Destination:
    provider = PROVIDERS[preset]
    more = {"x-team": "red"}
    return Destination("ups_1", "default", "it", provider, base_url, True, secret, fault, preset, ANYWHERE, more)


def url(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1"


def answer(status: int, body: bytes = b"{}") -> bytes:
    # A provider may repeat the key, which must be shown to nobody.
    return b"HTTP/1.1 %d x\r\nx-key: %b\r\ncontent-length: %d\r\n\r\n%b" % (status, KEY.encode(), len(body), body)


def tried(
    made: Callable[[int], Destination],
    act: Callable[..., Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> tuple[UpstreamCheck, list[bytes]]:
    """The check of what `made` gives for the port of an upstream that does this, and the heads it got."""

    async def whole() -> tuple[UpstreamCheck, list[bytes]]:
        upstream = Upstream(act)
        await upstream.start(tls)
        try:
            [found] = await check.check([made(upstream.port)])
            return found, upstream.heads
        finally:
            await upstream.stop()

    found, heads = asyncio.run(whole())
    assert KEY not in json.dumps(dataclasses.asdict(found))
    assert found.ok is (found.problem == "")
    return found, heads


def guarded(*, without: bytes) -> Callable[..., Awaitable[None]]:
    """Answers the key with a list of two models, and anybody else with `without`."""
    upstream: list[int] = []

    async def act(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream.append(0)
        writer.write(answer(200, LIST) if len(upstream) == 1 else without)

    return act


@pytest.mark.parametrize(
    ("preset", "path", "line", "header"),
    [
        ("openai", "/v1", "GET /v1/models HTTP/1.1", f"Authorization: Bearer {KEY}"),
        ("anthropic", "/v1", "GET /v1/models?limit=1000 HTTP/1.1", f"x-api-key: {KEY}"),
        ("gemini", "", "GET /v1/models?pageSize=1000 HTTP/1.1", f"x-goog-api-key: {KEY}"),
        ("azure", "", "GET /openai/v1/models HTTP/1.1", f"api-key: {KEY}"),
    ],
)
def test_the_list_of_models_is_asked_for_as_calls_are_made(preset: str, path: str, line: str, header: str) -> None:
    found, heads = tried(
        lambda port: destination(f"http://127.0.0.1:{port}{path}", preset), guarded(without=answer(401))
    )
    assert (found.ok, found.reached, found.tls, found.key, found.status, found.models) == (
        *(True, True, "", "accepted"),
        *(200, 2),
    )
    first, second = (each.decode().split("\r\n") for each in heads)
    assert (first[0], second[0]) == (line, line)
    assert header in first
    assert "x-team: red" in first
    assert KEY not in "".join(second)


@pytest.mark.parametrize("body", [LIST, b'{"models": [{}, {}]}', b"[{}, {}]"])
def test_a_list_that_everybody_gets_proves_nothing_about_the_key(body: bytes) -> None:
    found, _ = tried(lambda port: destination(url(port)), saying(answer(200, body)))
    assert (found.ok, found.key, found.models) == (True, "unproven", 2)
    found, heads = tried(lambda port: destination(url(port), secret=None), saying(answer(200, body)))
    assert (found.ok, found.key, len(heads)) == (True, "none", 1)


@pytest.mark.parametrize("without", [answer(503), answer(429), b""])
def test_a_provider_that_cannot_answer_without_a_key_proves_nothing_about_it(
    without: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(check, "ANSWER_SECONDS", 2.0)
    found, heads = tried(lambda port: destination(url(port)), guarded(without=without))
    assert (found.ok, found.key, len(heads)) == (True, "unproven", 2)


@pytest.mark.parametrize(
    ("said", "key", "problem"),
    [
        (answer(401, KEY.encode()), "refused", "the provider refuses the key (status 401)"),
        (answer(403), "refused", "the provider refuses the key, or does not let it list models (status 403)"),
        (answer(400, b'{"reason": "API_KEY_INVALID"}'), "refused", "the provider refuses the key (status 400)"),
        (answer(400), "unknown", "the provider answers with an error (status 400)"),
        (answer(302), "unknown", "the provider redirects (status 302), which the gateway does not follow"),
        (answer(404), "unknown", "there is no list of models at this address (status 404)"),
        (answer(429), "unknown", "the provider takes no more requests for now (status 429)"),
        (answer(402), "unknown", "the account at the provider has no credit (status 402)"),
        (answer(503), "unknown", "the provider answers with an error (status 503)"),
        (answer(200, b"<html>"), "unknown", "the answer is no list of models (status 200)"),
        (answer(200, b'{"data": {}}'), "unknown", "the answer is no list of models (status 200)"),
        (b"SSH-2.0-x\r\n", "unknown", "the answer is not valid HTTP"),
    ],
)
def test_what_is_wrong_with_an_answer(said: bytes, key: str, problem: str) -> None:
    found, _ = tried(lambda port: destination(url(port)), saying(said))
    assert (found.reached, found.key, found.problem, found.models) == (True, key, problem, None)
    assert found.hint


def test_a_key_that_is_missing() -> None:
    found, _ = tried(lambda port: destination(url(port), secret=None), saying(answer(401)))
    assert (found.key, found.problem) == (
        "missing",
        "the provider demands a key, and the gateway has none (status 401)",
    )


def test_a_key_that_cannot_be_opened_is_not_missing() -> None:
    found, heads = tried(lambda port: destination(url(port), secret=None, fault="it is damaged"), saying(answer(200)))
    assert (found.ok, found.problem, heads) == (False, "it is damaged", [])


def test_an_answer_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "ANSWER_SECONDS", 0.05)

    async def silent(_reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    found, _ = tried(lambda port: destination(url(port)), silent)
    assert (found.reached, found.problem) == (True, "no answer within 0.05 s")


def test_a_connection_that_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "CONNECT_SECONDS", 0.2)
    with socket.socket() as bound:  # and not listening
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        found, _ = tried(lambda _: destination(url(port)), saying(b""))
    assert (found.reached, found.problem) == (
        False,
        f"127.0.0.1:{port} refuses the connection: nothing listens there",
    )
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        place = full.getsockname()
        with socket.create_connection(place), socket.socket() as waiting:
            waiting.setblocking(False)
            waiting.connect_ex(place)
            found, _ = tried(lambda _: destination(url(place[1])), saying(b""))
    assert (found.reached, found.problem) == (False, f"no connection to 127.0.0.1:{place[1]} within 0.2 s")

    async def no_such_name(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    # No test asks a name server.
    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "getaddrinfo", no_such_name)
    [found] = asyncio.run(check.check([destination("https://api.nothing.example/v1")]))
    assert (found.reached, found.problem) == (False, "the name api.nothing.example has no address here")


def test_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trusted, stranger = Authority.make("trusted"), Authority.make("stranger")
    certificate, _ = trusted.pair.write(tmp_path, "authority")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nothing"))

    def serving(authority: Authority) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*authority.server().write(tmp_path, "server"))
        return context

    def made(port: int) -> Destination:
        return destination(f"https://localhost:{port}/v1")

    found, _ = tried(made, guarded(without=answer(401)), serving(trusted))
    assert (found.ok, found.tls, found.key) == (True, "TLSv1.3", "accepted")
    found, heads = tried(made, saying(answer(200, LIST)), serving(stranger))
    assert (found.reached, found.key, heads) == (True, "unknown", [])
    assert "is not accepted: " in found.problem
    assert "certificate" in found.problem

    async def plain() -> UpstreamCheck:
        async def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(OK + b"\r\n")
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            [seen] = await check.check([made(server.sockets[0].getsockname()[1])])
            return seen

    found = asyncio.run(plain())
    assert (found.reached, found.hint) == (True, "check the base URL: is it http://?")


def test_of_a_json_api_only_the_connection_is_tried() -> None:
    document = {
        "openapi": "3.0.0",
        "info": {"title": "t", "version": "1"},
        "paths": {"/things": {"get": {"operationId": "list", "responses": {"200": {"description": "d"}}}}},
    }
    provider = http.provider("it", api.dump(openapi.api_of(document)))
    found, heads = tried(lambda port: dataclasses.replace(destination(url(port)), provider=provider), saying(b""))
    assert (found.ok, found.key, found.models, heads) == (True, "unknown", None, [])
    assert found.tried == f"connect to {found.base_url}"
