"""The secret of an upstream is in its request to the provider, and in no log, error, repr, entry or export."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from gateway.registry.reader import RegistryReader
from gateway.secrets.vault import Vault
from gateway.upstream.routing import Choices, target
from tests.gateway.dataplane.conftest import COMPLETION, ORG, UPSTREAM_KEY, Gateway, Seen, Start, answer
from tests.gateway.dataplane.processes import Live
from tests.rigs.dataplane.key_life import until
from tests.rigs.dataplane.provider_secret import files_with, found_in

SECRET = "sk-canary-5f2b7c0d9e1a4863"


async def _refuse(seen: Seen, writer: asyncio.StreamWriter) -> None:
    """An upstream that says in its refusal what it was sent."""
    body = orjson.dumps({"error": {"message": f"wrong key: {seen.headers['authorization']}"}})
    writer.write(b"HTTP/1.1 401 X\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


async def _break_off(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _no_http(seen: Seen, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/9.9 " + seen.head)


@pytest.mark.parametrize("status", [400, 409, 422, 429, 500, 503])
async def test_an_error_that_quotes_it_reaches_the_agent_without_it(gateway: Gateway, status: int) -> None:
    for form in (UPSTREAM_KEY, base64.b64encode(UPSTREAM_KEY.encode()).decode()):
        for text in (f'{{"error":{{"message":"no key {form}, sorry"}}}}', form * 5000):

            async def handle(seen: Seen, writer: asyncio.StreamWriter, form: str = form, text: str = text) -> None:
                head = f"HTTP/1.1 {status} X\r\nx-said: {form}\r\nx-other: 1\r\ncontent-type: application/json\r\n"
                writer.write(f"{head}transfer-encoding: chunked\r\n\r\n".encode())
                for at in range(0, len(text), len(text) // 9):  # in the middle of it, too
                    piece = text[at : at + len(text) // 9]
                    writer.write(f"{len(piece):x}\r\n{piece}\r\n".encode())
                    await writer.drain()
                writer.write(b"0\r\n\r\n")

            gateway.upstream.handler = handle
            reply = await gateway.chat("gpt-4o")
            assert reply.status == status
            assert not any(each in reply.body for each in (UPSTREAM_KEY.encode(), form.encode()))
            assert form not in str(reply.headers)
            assert reply.headers["x-other"] == "1"
            assert b"sorry" in reply.body or b"not passed on" in reply.body
            assert reply.json["error"]["message"]
    assert {each["outcome"] for each in await gateway.entries("completed")} == {"provider_error"}


async def test_it_is_in_no_log_error_repr_or_entry(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = await start()
    replies = [await gateway.chat("gpt-4o"), await gateway.chat("llama"), await gateway.chat("gpt-secret")]
    for handler in (_refuse, _break_off, _no_http, answer(COMPLETION, status=500), answer(b"no JSON")):
        gateway.upstream.handler = handler
        replies.append(await gateway.chat("gpt-4o"))
    assert all(UPSTREAM_KEY in seen.headers["authorization"] for seen in gateway.upstream.seen)
    told = b"".join(orjson.dumps(reply.headers) + reply.body for reply in replies)
    entries = orjson.dumps(await gateway.entries())
    reader = RegistryReader(gateway.data.registry_db)
    view = gateway.plane._registry
    led = (await view.routes((await view.epochs()).upstreams)).resolve(ORG, target("POST", b"/v1/chat/completions"))
    assert not isinstance(led, Choices)
    assert led.destination.secret == UPSTREAM_KEY
    shown = [led, led.destination, view, vars(view), await reader.upstreams(), Vault.load(gateway.data.keys)]
    shown += [vars(Vault.load(gateway.data.keys)), gateway.plane, Exception(led)]
    reader.close()
    for name, text in (("answers", told), ("entries", entries), ("reprs", repr(shown).encode())):
        assert not found_in(text, UPSTREAM_KEY), name
    assert not found_in(caplog.text.encode(), UPSTREAM_KEY)
    assert files_with(gateway.data.path, UPSTREAM_KEY) == []


@pytest.mark.slow
def test_it_is_in_no_output_and_no_file_of_real_processes(tmp_path: Path) -> None:
    """Also not in the last words of a worker that was killed in the middle of a call, or in what a rotation leaves."""
    live = Live(tmp_path)
    shown: list[str] = []
    try:
        provider = json.loads(live.run("upstreams", "list", "--json"))[0]["base_url"]
        env = {"CANARY": SECRET}
        live.run("upstreams", "add", "mock", "--base-url", provider, "--key-env", "CANARY", "--replace", env=env)
        dead = ("upstreams", "add", "dead", "--base-url", "http://127.0.0.1:9/v1", "--key-env", "CANARY")
        live.run(*dead, env=env)
        live.start("--workers", "1")
        headers = {"Authorization": f"Bearer {live.key}"}

        def ask(path: str = "/v1") -> httpx.Response:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}
            place = live.base_url.removesuffix("/v1") + path
            return httpx.post(f"{place}/chat/completions", json=body, headers=headers, timeout=300)

        assert ask().status_code == 200
        shown += [ask().text, ask("/dead/v1").text]
        live.run("vault", "rotate")
        assert ask().status_code == 200
        for number in (signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL):
            [worker] = live.children()
            os.kill(worker, number)
            until(lambda before=worker: _replaced(live, before) and _answers(ask))
        decision = json.loads(live.run("audit", "list", "--kind", "decided", "--json").splitlines()[0])["entry"]["id"]
        for command in (
            ("status", "--json"), ("upstreams", "list", "--json"), ("upstreams", "show", "mock"), ("vault", "status"),
            ("audit", "list", "--json"), ("audit", "show", decision, "--json"), ("explain", decision), ("keys", "list"),
        ):  # fmt: skip
            shown.append(_output(live, *command))
        live.stop()
        shown += [path.read_text("utf-8", "replace") for path in tmp_path.glob("up-*.txt")]
    finally:
        live.close()
    assert not found_in("".join(shown).encode(), SECRET)
    assert files_with(live.data, SECRET) == []


def _replaced(live: Live, before: int) -> bool:
    """One worker runs, and it is another one."""
    children = live.children()
    return len(children) == 1 and children != [before]


def _answers(ask: Callable[[], httpx.Response]) -> bool:
    try:
        return ask().status_code == 200
    except httpx.TransportError:
        return False


def _output(live: Live, *command: str) -> str:
    try:
        return live.run(*command)
    except AssertionError as failed:  # such as `status`, where somebody must act: the message has all that was printed
        return str(failed)


def test_a_secret_would_be_found() -> None:
    """The search of these tests finds what it looks for."""
    texts: list[Any] = [SECRET, base64.b64encode(SECRET.encode()).decode(), SECRET.encode().hex()]
    assert all(found_in(b"... " + text.encode() + b" ...", SECRET) for text in texts)
