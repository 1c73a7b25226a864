"""Azure's client of the `openai` package, with nothing changed but its endpoint and its key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import openai
import orjson
import pytest

from tests.rigs.dataplane.requests import DONE, HELLO, USAGE

from .conftest import COMPLETION, Gateway, answer, stream

Run = Callable[..., None]
VERSION = "2024-10-21"


def with_azure(run: Run, use: Callable[[Gateway, str], None]) -> None:
    """`use` gets the endpoint; it runs on a thread of its own, because clients block."""

    async def test(gateway: Gateway) -> None:
        gateway.add_upstream("azure", "azure", secret="azure-secret")
        await asyncio.to_thread(use, gateway, f"http://127.0.0.1:{gateway.port}/azure")

    run(test)


def asked(gateway: Gateway) -> str:
    return gateway.upstream.seen[-1].head.split(b" ", 2)[1].decode()


def test_deployments(run: Run) -> None:
    def use(gateway: Gateway, endpoint: str) -> None:
        with openai.AzureOpenAI(
            azure_endpoint=endpoint, api_key=gateway.key, api_version=VERSION, max_retries=0
        ) as client:
            found = client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
            assert found.choices[0].message.content == "hi"
            assert asked(gateway) == f"/openai/deployments/gpt-4o/chat/completions?api-version={VERSION}"
            headers = gateway.upstream.seen[-1].headers
            assert headers["api-key"] == "azure-secret"
            assert "authorization" not in headers
            gateway.upstream.handler = stream(HELLO, USAGE, DONE)
            with client.chat.completions.create(
                model="gpt-4o", messages=[{"role": "user", "content": "hi"}], stream=True
            ) as chunks:
                assert len(list(chunks)) == 1
            with pytest.raises(openai.PermissionDeniedError) as caught:
                client.chat.completions.create(model="o3", messages=[{"role": "user", "content": "hi"}])
            assert caught.value.code == "policy_denied"
            gateway.upstream.handler = answer({"id": "resp_1", "object": "response", "output": []})
            client.responses.create(model="gpt-4o", input="hi")
            assert asked(gateway) == f"/openai/responses?api-version={VERSION}"

    with_azure(run, use)


def test_a_deployment_of_the_client_beside_the_name_of_its_model(run: Run) -> None:
    def use(gateway: Gateway, endpoint: str) -> None:
        with openai.AzureOpenAI(
            azure_endpoint=endpoint, azure_deployment="gpt-4o", api_key=gateway.key, api_version=VERSION, max_retries=0
        ) as client:
            client.chat.completions.create(
                model="gpt-4o-2024-11-20", messages=[{"role": "user", "content": "hi"}], max_tokens=9
            )
            assert asked(gateway) == f"/openai/deployments/gpt-4o/chat/completions?api-version={VERSION}"
            assert orjson.loads(gateway.upstream.seen[-1].body) == {
                "model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9,
            }  # fmt: skip
        [decided] = asyncio.run(gateway.entries("decided"))
        assert (decided["model"], decided["edits_json"]) == ("gpt-4o", '["model"]')

    with_azure(run, use)


def test_the_new_paths(run: Run) -> None:
    def use(gateway: Gateway, endpoint: str) -> None:
        gateway.upstream.handler = answer(COMPLETION)
        with openai.OpenAI(base_url=f"{endpoint}/openai/v1/", api_key=gateway.key, max_retries=0) as client:
            client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hi"}])
        assert asked(gateway) == "/openai/v1/chat/completions"
        assert gateway.upstream.seen[-1].headers["api-key"] == "azure-secret"

    with_azure(run, use)
