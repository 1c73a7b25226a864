"""The `google-genai` package, unmodified but for its base URL and its key, against real processes.

`tests/gateway/dataplane/test_google_genai.py` looks at what reaches the provider and the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.dataplane.processes import Live

genai = pytest.importorskip("google.genai", reason="google-genai is not installed: it belongs to the extra `clients`")

# Real processes, which take their time. The warning is aiohttp's, which the client uses.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Inheritance class:DeprecationWarning")]

MODEL = "gemini-mock-large"


def get_order(number: str) -> str:
    """Find an order."""
    return f"{number} shipped"


@pytest.fixture
def client(live: Live, gemini_url: str) -> Iterator[Any]:
    made = genai.Client(api_key=live.key, http_options={"base_url": gemini_url, "timeout": 300_000})
    yield made
    made.close()


def test_an_answer(client: Any) -> None:
    answer = client.models.generate_content(
        model=MODEL, contents="hello there", config={"system_instruction": "Be kind."}
    )
    assert (answer.text, answer.candidates[0].finish_reason) == ("You said: hello there", "STOP")
    assert (answer.usage_metadata.prompt_token_count, answer.usage_metadata.candidates_token_count) == (4, 4)
    short = client.models.generate_content(model=MODEL, contents="hello there", config={"max_output_tokens": 2})
    assert (short.text, short.candidates[0].finish_reason) == ("You said:", "MAX_TOKENS")


def test_a_stream(client: Any) -> None:
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="hello there"))
    assert "".join(chunk.text or "" for chunk in chunks) == "You said: hello there"
    assert chunks[-1].usage_metadata.candidates_token_count == 4


def test_tools(client: Any) -> None:
    """The client calls the function by itself and sends its result."""
    answer = client.models.generate_content(model=MODEL, contents="please get_order", config={"tools": [get_order]})
    assert answer.text == "The tool said: mock shipped"
    chat = client.chats.create(model=MODEL, config={"tools": [get_order]})
    assert chat.send_message("please get_order").text == "The tool said: mock shipped"


def test_asynchronous_calls(client: Any) -> None:
    async def ask() -> list[str]:
        answer = await client.aio.models.generate_content(model=MODEL, contents="hello there")
        stream = await client.aio.models.generate_content_stream(model=MODEL, contents="hello there")
        pieces = [chunk.text or "" async for chunk in stream]
        called = await client.aio.models.generate_content(
            model=MODEL, contents="please get_order", config={"tools": [get_order]}
        )
        await client.aio.aclose()
        return [answer.text, "".join(pieces), called.text]

    assert asyncio.run(ask()) == ["You said: hello there"] * 2 + ["The tool said: mock shipped"]


def test_counting_embeddings_and_models(client: Any) -> None:
    assert client.models.count_tokens(model=MODEL, contents="hello there").total_tokens == 2
    made = client.models.embed_content(model="gemini-mock-small", contents="one", config={"output_dimensionality": 8})
    assert [len(each.values) for each in made.embeddings] == [8]
    assert f"models/{MODEL}" in [each.name for each in client.models.list()]
    assert client.models.get(model=MODEL).name == f"models/{MODEL}"


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("model", "kind", "code", "status"),
    [
        ("mock-status-400", "ClientError", 400, "INVALID_ARGUMENT"),
        ("mock-status-404", "ClientError", 404, "NOT_FOUND"),
        ("mock-status-429", "ClientError", 429, "RESOURCE_EXHAUSTED"),
        ("mock-status-503", "ServerError", 503, "UNAVAILABLE"),
        ("o3", "ClientError", 403, "PERMISSION_DENIED"),
    ],
)
def test_errors(client: Any, model: str, kind: str, code: int, status: str, streaming: bool) -> None:
    from google.genai import errors

    ask = client.models.generate_content_stream if streaming else client.models.generate_content
    with pytest.raises(getattr(errors, kind)) as raised:
        list(ask(model=model, contents="hello there"))
    assert (raised.value.code, raised.value.status) == (code, status)


def test_a_key_that_is_not_valid(live: Live, gemini_url: str) -> None:
    from google.genai import errors

    client = genai.Client(api_key=f"{live.key[:-4]}0000", http_options={"base_url": gemini_url})
    with pytest.raises(errors.ClientError) as raised:
        client.models.generate_content(model=MODEL, contents="hello there")
    assert (raised.value.code, raised.value.status) == (401, "UNAUTHENTICATED")
    client.close()
