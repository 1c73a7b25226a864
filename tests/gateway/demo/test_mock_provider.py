"""The mock provider: deterministic answers, and faults exactly where they were asked for."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.demo import mock_provider
from gateway.demo.mock_provider import Faults, MockProvider


def ask(provider: MockProvider, body: object, path: str = "/v1/chat/completions", method: str = "POST") -> Any:
    """The answer's status and its body in pieces, with whether it was ended."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        raw = body if isinstance(body, bytes) else orjson.dumps(body)
        return {"type": "http.request", "body": raw, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(provider({"type": "http", "method": method, "path": path}, receive, send))
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent), not sent[-1].get("more_body", False)


def chat(model: str = "gpt-4o", **members: object) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "one two"}], **members}


def test_the_same_question_has_the_same_answer() -> None:
    first, second = ask(MockProvider(), chat()), ask(MockProvider(), chat())
    assert first == second
    status, body, ended = first
    answer = orjson.loads(body)
    assert (status, ended) == (200, True)
    assert answer["choices"][0]["message"]["content"] == "You said: one two"
    assert answer["usage"] == answer["usage"] | {"prompt_tokens": 2, "completion_tokens": 4, "total_tokens": 6}


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
def test_a_limit_is_kept(name: str) -> None:
    answer = orjson.loads(ask(MockProvider(), chat(**{name: 3}))[1])
    assert answer["choices"][0]["message"]["content"] == "You said: one"
    assert answer["usage"]["completion_tokens"] == 3


@pytest.mark.parametrize("asked", [True, False])
def test_a_stream(asked: bool) -> None:
    status, body, ended = ask(MockProvider(), chat(stream=True, stream_options={"include_usage": asked}))
    *events, end, nothing = body.split(b"\n\n")
    assert (status, ended, end, nothing) == (200, True, b"data: [DONE]", b"")
    chunks = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    words = [choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]]
    assert "".join(words) == "You said: one two"
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")] == ([6] if asked else [])


def test_faults_by_model(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr(mock_provider.asyncio, "sleep", sleep)
    provider = MockProvider()
    assert ask(provider, chat("mock-status-418"))[0] == 418
    assert ask(provider, chat("mock-status-200"))[0] == 500
    assert "usage" not in orjson.loads(ask(provider, chat("mock-no-usage"))[1])
    assert ask(provider, chat("mock-cut"))[2] is False
    assert ask(provider, chat("mock-cut", stream=True))[2] is False
    assert orjson.loads(ask(provider, chat("mock-words-7"))[1])["usage"]["completion_tokens"] == 7
    waits.clear()
    ask(provider, chat("mock-delay-60"))
    ask(provider, chat("mock-pause-10", stream=True))
    assert set(waits) - {0} == {0.06, 0.01}
    assert ask(provider, chat())[0] == 200


def test_faults_by_flag() -> None:
    assert [ask(MockProvider(Faults(fail_next=1, status=429)), chat())[0] for _ in range(2)] == [429, 429]
    once = MockProvider(Faults(fail_next=1))
    assert [ask(once, chat())[0] for _ in range(3)] == [503, 200, 200]
    some = [ask(MockProvider(Faults(error_rate=1.0)), chat())[0]]
    assert some == [503]
    first, second = MockProvider(Faults(error_rate=0.5)), MockProvider(Faults(error_rate=0.5))
    pattern = [ask(first, chat())[0] for _ in range(20)]
    assert pattern == [ask(second, chat())[0] for _ in range(20)]
    assert set(pattern) == {200, 503}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"model":"x"}', b"null"])
def test_bad_requests(body: bytes) -> None:
    status, answer, _ = ask(MockProvider(), body)
    assert status == 400
    assert orjson.loads(answer)["error"]["type"] == "invalid_request_error"


def test_routes() -> None:
    provider = MockProvider()
    assert ask(provider, b"", "/v1/models", "GET")[0] == 200
    assert ask(provider, b"", "/healthz", "GET")[0] == 200
    assert ask(provider, b"", "/v1/models")[0] == 404
    assert provider.requests == 3
