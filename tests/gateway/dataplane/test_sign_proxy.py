"""`gateway sign-proxy`: programs that know nothing of signatures use the gateway through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import openai
import pytest
import uvicorn

from gateway.client.sign_proxy import SignProxy
from gateway.client.signing import Signer
from gateway.errors import GatewayError
from gateway.http.listener import listen
from gateway.identity import public_keys
from tests.rigs.dataplane.agent_auth import CHUNK, HELLO, key_file

from .conftest import Gateway, chat, read_reply, stream, until


@asynccontextmanager
async def proxy(gateway: Gateway, url: str = "") -> AsyncIterator[int]:
    """A running proxy; its port."""
    signer = Signer(public_keys.read_private(key_file(gateway)))
    app = SignProxy(signer, url or f"http://127.0.0.1:{gateway.port}")
    opened = listen("127.0.0.1", 0)
    config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[opened]))
    try:
        yield opened.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        await app.close()


async def ask(port: int, sent: bytes) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    reply = await read_reply(reader)
    writer.close()
    return reply.status, reply.body


async def test_a_program_that_cannot_sign_is_signed_for(gateway: Gateway) -> None:
    async with proxy(gateway) as port:
        url = f"http://127.0.0.1:{port}/v1"
        async with openai.AsyncOpenAI(base_url=url, api_key="unused", max_retries=0) as client:
            made = await client.chat.completions.create(model="gpt-4o", messages=HELLO)
            assert made.choices[0].message.content == "hi"
            with pytest.raises(openai.PermissionDeniedError, match="no secrets"):
                await client.chat.completions.create(model="gpt-secret", messages=HELLO)
            # The beginning of a stream arrives while its end is not there yet.
            gateway.upstream.handler = stream(CHUNK % b'{"content":"hel"}', 600.0)
            asked = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
            first = await anext(asked)
            assert first.choices[0].delta.content == "hel"
            await asked.close()
            await until(lambda: gateway.open_decisions() == 0)  # the call ends with its program
        entries = await gateway.entries()
        assert {each["credential_method"] for each in entries if each["kind"] == "decided"} == {"signature"}
        assert [each["outcome"] for each in entries if each["kind"] == "completed"][-1] == "client_disconnected"


@pytest.mark.slow
async def test_web_pages_and_others_are_turned_away(gateway: Gateway) -> None:
    async with proxy(gateway) as port:
        for lines in (
            ("Host: evil.example", "X: y"),
            (f"Host: evil.example:{port}", "X: y"),
            (f"Host: 127.0.0.1:{port}", "Origin: http://evil.example"),
            (f"Host: localhost:{port}", "Sec-Fetch-Site: same-origin"),
            ("Host: 127.0.0.1.evil.example", "X: y"),
        ):
            status, body = await ask(port, gateway.request(chat(), *lines))
            assert (status, b"no web page" in body) == (403, True), lines
        assert gateway.upstream.seen == []
        for host in ("127.0.0.1", f"LOCALHOST:{port}", "[::1]"):
            assert (await ask(port, gateway.request(chat(), f"Host: {host}")))[0] == 200
        assert (await ask(port, gateway.request(None, "Host: localhost")))[0] == 200
        # Headers that signers set are replaced, and those of one connection stay here.
        odd = ("Signature: x", "Content-Digest: y", "x-api-key: z", "Connection: x-hop", "X-Hop: 1")
        assert (await ask(port, gateway.request(chat(), "Host: localhost", *odd)))[0] == 200
        large = chat(user="x" * 2_000_000)
        assert (await ask(port, gateway.request(large, "Host: localhost")))[0] == 200
        assert gateway.upstream.seen[-1].json["user"] == large["user"]


@pytest.mark.slow
async def test_a_gateway_that_is_not_there(gateway: Gateway) -> None:
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
    async with proxy(gateway, f"http://127.0.0.1:{port}") as mine:
        status, body = await ask(mine, gateway.request(chat(), "Host: localhost"))
        assert (status, b"cannot be reached" in body) == (502, True)


@pytest.mark.parametrize(
    "url", ["", "gateway", "ftp://x", "http://", "http://x/v1", "http://x?a=1", "http://x:y", "http://[x"]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(GatewayError, match="is not the address of a gateway"):
        SignProxy(Signer(public_keys.generate("ed25519")), url)
