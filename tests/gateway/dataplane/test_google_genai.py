"""Google's own client, `google-genai`, with nothing changed but its base URL and its key."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.rigs.dataplane.gemini import HELLO, MODEL, STOP, add_gemini, event, part

from .conftest import ORG, Gateway, answer, stream

genai = pytest.importorskip("google.genai", reason="install the extra `clients` for Google's own client")

pytestmark = pytest.mark.slow

Run = Callable[..., None]


def client(gateway: Gateway) -> Any:
    return genai.Client(api_key=gateway.key, http_options={"base_url": f"http://127.0.0.1:{gateway.port}/gemini"})


def with_client(run: Run, use: Callable[[Gateway, Any], None]) -> None:
    """Use the client on a thread of its own: it blocks."""

    async def test(gateway: Gateway) -> None:
        add_gemini(gateway)

        def work() -> None:
            made = client(gateway)
            try:
                use(gateway, made)
            finally:
                made.close()

        await asyncio.to_thread(work)

    run(test)


def test_an_answer(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        gateway.upstream.handler = answer(part("hello", finishReason="STOP"))
        found = made.models.generate_content(model=MODEL, contents="hi", config={"system_instruction": "be brief"})
        assert found.text == "hello"
        assert found.usage_metadata.prompt_token_count == 7
        seen = gateway.upstream.seen[-1]
        assert f"/models/{MODEL}:generateContent HTTP/1.1".encode() in seen.head
        assert seen.headers["x-goog-api-key"] == "google-secret"
        gateway.settle()
        decided, completed = [e for e in gateway.log(ORG) if e["kind"] in ("decided", "completed")]
        assert (decided["model"], decided["action"], decided["provider"]) == (MODEL, "generate_content", "gemini")
        assert (completed["input_tokens"], completed["output_tokens"], completed["reasoning_tokens"]) == (7, 5, 2)
        assert completed["response_model"] == "mock-gemini-001"

    with_client(run, use)


def test_a_stream(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        gateway.upstream.handler = stream(event(HELLO), 0.01, event(STOP))
        found = list(made.models.generate_content_stream(model=MODEL, contents="hi"))
        assert [each.text for each in found] == ["hel", "lo"]
        assert found[-1].usage_metadata.candidates_token_count == 3

    with_client(run, use)


@pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")  # of aiohttp, which the client uses
async def test_an_async_stream(gateway: Gateway) -> None:
    add_gemini(gateway)
    gateway.upstream.handler = stream(event(HELLO), event(STOP))
    made = client(gateway)
    found = [each.text async for each in await made.aio.models.generate_content_stream(model=MODEL, contents="hi")]
    assert found == ["hel", "lo"]
    await made.aio.aclose()


def test_functions(run: Run) -> None:
    def get_order(number: int) -> str:
        """Look up an order."""
        return f"order {number} is on its way"

    def use(gateway: Gateway, made: Any) -> None:
        asked = {"role": "model", "parts": [{"functionCall": {"name": "get_order", "args": {"number": 7}}}]}
        answers = [part("done", finishReason="STOP"), {"candidates": [{"content": asked, "finishReason": "STOP"}]}]

        async def handle(seen: Any, writer: Any) -> None:
            await answer(answers.pop())(seen, writer)

        gateway.upstream.handler = handle
        found = made.models.generate_content(model=MODEL, contents="hi", config={"tools": [get_order]})
        assert found.text == "done"
        result = gateway.upstream.seen[-1].json["contents"][-1]["parts"][0]["functionResponse"]
        assert result["response"] == {"result": "order 7 is on its way"}

    with_client(run, use)


def test_other_calls(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        gateway.upstream.handler = answer({"totalTokens": 3})
        assert made.models.count_tokens(model=MODEL, contents="hi").total_tokens == 3
        gateway.upstream.handler = answer({"embeddings": [{"values": [0.5]}]})
        assert made.models.embed_content(model=MODEL, contents=["hi"]).embeddings[0].values == [0.5]
        gateway.upstream.handler = answer({"models": [{"name": f"models/{MODEL}"}]})
        assert [each.name for each in made.models.list()] == [f"models/{MODEL}"]
        gateway.upstream.handler = answer({"name": f"models/{MODEL}"})
        assert made.models.get(model=MODEL).name == f"models/{MODEL}"

    with_client(run, use)


def test_a_denial(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        with pytest.raises(genai.errors.ClientError) as caught:
            made.models.generate_content(model="gemini-2.5-pro", contents="hi")
        assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")
        assert caught.value.details["error"]["details"][0]["reason"] == "policy_denied"
        assert not gateway.upstream.seen

    with_client(run, use)


def test_a_cap(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        gateway.upstream.handler = answer(part("hello", finishReason="STOP"))
        made.models.generate_content(model="gpt-capped", contents="hi", config={"max_output_tokens": 500})
        assert gateway.upstream.seen[-1].json["generationConfig"]["maxOutputTokens"] == 50

    with_client(run, use)


def test_a_stream_that_breaks_off(run: Run) -> None:
    def use(gateway: Gateway, made: Any) -> None:
        gateway.upstream.handler = stream(event(HELLO), 0.05, end=False)
        found = made.models.generate_content_stream(model=MODEL, contents="hi")
        assert next(found).text == "hel"
        with pytest.raises(genai.errors.APIError) as caught:
            next(found)
        assert (caught.value.code, caught.value.status) == (502, "UNAVAILABLE")

    with_client(run, use)


def test_vertex_in_its_express_mode(run: Run) -> None:
    def use(gateway: Gateway, _: Any) -> None:
        gateway.upstream.handler = answer(part("hello", finishReason="STOP"))
        options = {"base_url": f"http://127.0.0.1:{gateway.port}/gemini"}
        made = genai.Client(vertexai=True, api_key=gateway.key, http_options=options)
        assert made.models.generate_content(model=MODEL, contents="hi").text == "hello"
        assert f"/publishers/google/models/{MODEL}:generateContent ".encode() in gateway.upstream.seen[-1].head
        gateway.upstream.handler = answer({"embedding": {"values": [0.5]}, "usageMetadata": {"promptTokenCount": 3}})
        found = made.models.embed_content(model=MODEL, contents="hi", config={"task_type": "RETRIEVAL_QUERY"})
        assert found.embeddings[0].values == [0.5]
        assert f"/publishers/google/models/{MODEL}:embedContent ".encode() in gateway.upstream.seen[-1].head
        made.close()
        gateway.settle()
        entries = [entry for entry in gateway.log(ORG) if entry["kind"] == "completed"]
        assert [entry["input_tokens"] for entry in entries] == [7, 3]

    with_client(run, use)
