"""Agents that sign with `gateway.client.AgentAuth`, in the clients that people use."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from gateway.client import AgentAuth
from gateway.errors import GatewayError
from tests.rigs.dataplane.agent_auth import CHUNK, HELLO, key_file

from .conftest import COMPLETION, Gateway, Start, answer, chat, stream

MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-x", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 7, "output_tokens": 3},
}  # fmt: skip


async def test_openai(gateway: Gateway) -> None:
    url, file = f"http://127.0.0.1:{gateway.port}/v1", key_file(gateway)
    http = openai.DefaultHttpxClient(auth=AgentAuth(file))

    def work() -> None:
        with openai.OpenAI(base_url=url, api_key="unused", http_client=http, max_retries=0) as client:
            for _ in range(2):  # the same request again: another signature
                made = client.chat.completions.create(model="gpt-4o", messages=HELLO)
                assert made.choices[0].message.content == "hi"
            with pytest.raises(openai.PermissionDeniedError, match="no secrets"):
                client.chat.completions.create(model="gpt-secret", messages=HELLO)
            client.models.list()

    await asyncio.to_thread(work)
    asynchronous = openai.DefaultAsyncHttpxClient(auth=AgentAuth(file))
    gateway.upstream.handler = stream(CHUNK % b'{"content":"hel"}', CHUNK % b'{"content":"lo"}', b"data: [DONE]\n\n")
    async with openai.AsyncOpenAI(base_url=url, api_key="unused", http_client=asynchronous, max_retries=0) as client:
        asked = await client.chat.completions.create(model="gpt-4o", messages=HELLO, stream=True)
        assert [each.choices[0].delta.content async for each in asked] == ["hel", "lo"]
    decided = await gateway.entries("decided")
    assert {(each["credential_method"], each["credential_strength"]) for each in decided} == {("signature", 2)}
    assert len(decided) == 5


@pytest.mark.slow
async def test_anthropic(start: Start) -> None:
    import anthropic  # takes seconds, which every worker would wait for

    gateway = await start()
    gateway.upstream.handler = answer(MESSAGE)
    gateway.add_upstream("claude", "anthropic", secret="sk-ant")
    http = anthropic.DefaultHttpxClient(auth=AgentAuth(key_file(gateway, "p256")))
    url = f"http://127.0.0.1:{gateway.port}/claude"

    def work() -> None:
        with anthropic.Anthropic(base_url=url, api_key="unused", http_client=http, max_retries=0) as client:
            made = client.messages.create(model="gpt-4o", max_tokens=10, messages=HELLO)
            assert made.content[0].type == "text"
            # A query is signed as it is sent.
            made = client.beta.messages.create(model="gpt-4o", max_tokens=10, messages=HELLO)  # type: ignore[assignment]  # alike
            assert made.content[0].type == "text"

    await asyncio.to_thread(work)
    assert len(gateway.upstream.seen) == 2
    assert gateway.upstream.seen[-1].headers["x-api-key"] == "sk-ant"


@pytest.mark.slow
async def test_bodies_that_are_streamed_to_the_gateway(gateway: Gateway) -> None:
    gateway.upstream.handler = answer(COMPLETION)

    async def pieces() -> Any:
        body = httpx.Request("POST", "http://x", json=chat()).content
        for at in range(0, len(body), 10):
            yield body[at : at + 10]

    async with httpx.AsyncClient(auth=AgentAuth(key_file(gateway))) as client:
        url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
        made = await client.post(url, content=pieces(), headers={"content-type": "application/json"})
        assert made.status_code == 200
        made = await client.post(url, json=chat(), headers={"authorization": "Bearer x", "x-api-key": "y"})
        assert made.status_code == 200


def test_a_key_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(GatewayError, match="no such file"):
        AgentAuth(tmp_path / "missing.pem")
