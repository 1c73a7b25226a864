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


def typed(body: bytes) -> list[dict[str, Any]]:
    """The events of a stream that names them."""
    events = []
    for part in body.split(b"\n\n")[:-1]:
        name, data = part.split(b"\n")
        event = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + event["type"].encode()
        events.append(event)
    return events


def test_a_response_that_a_limit_cut() -> None:
    asked = {"model": "gpt-4o", "input": "one two", "max_output_tokens": 3}
    answer = orjson.loads(ask(MockProvider(), asked, "/v1/responses")[1])
    assert (answer["status"], answer["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
    assert answer["usage"] == answer["usage"] | {"input_tokens": 2, "output_tokens": 3, "total_tokens": 5}
    events = typed(ask(MockProvider(), {**asked, "stream": True}, "/v1/responses")[1])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.incomplete"
    # The same answer, but for its id and what it repeats of the request.
    assert events[-1]["response"]["output"] == answer["output"]
    assert events[-1]["response"]["usage"] == answer["usage"]


def test_a_response_that_is_a_compaction() -> None:
    asked = {"model": "gpt-4o", "input": [{"role": "user", "content": "x"}, {"type": "compaction_trigger"}]}
    answer = orjson.loads(ask(MockProvider(), asked, "/v1/responses")[1])
    events = typed(ask(MockProvider(), {**asked, "stream": True}, "/v1/responses")[1])
    done = [event["item"]["type"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in answer["output"]] == done == ["compaction"]


def test_a_message() -> None:
    asked = {"model": "claude-mock-large", "max_tokens": 3, "messages": [{"role": "user", "content": "one two"}]}
    answer = orjson.loads(ask(MockProvider(), asked, "/v1/messages")[1])
    assert (answer["content"], answer["stop_reason"]) == ([{"type": "text", "text": "You said: one"}], "max_tokens")
    events = typed(ask(MockProvider(), {**asked, "stream": True}, "/v1/messages")[1])
    assert "".join(event["delta"]["text"] for event in events if "text" in event.get("delta", {})) == "You said: one"
    assert (events[0]["message"]["usage"]["input_tokens"], events[-2]["usage"]) == (2, {"output_tokens": 3})
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}
    asked["messages"] = [{"role": "user", "content": [image]}]
    assert ask(MockProvider(), asked, "/v1/messages")[0] == 200  # a message may be nothing but an image


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/messages", {"model": "mock-status-529"}, 529),
        ("/v1/messages", {"model": "claude-mock-large", "messages": []}, 400),
        ("/v1/messages", {"model": "claude-mock-large", "max_tokens": 3, "messages": [7]}, 400),
        ("/v1/responses", {"model": "gpt-4o", "input": "x", "previous_response_id": "other"}, 400),
        ("/v1/responses", {"model": "gpt-4o", "input": [{"role": "user"}, 7]}, 400),
        ("/v1/responses", {"model": "gpt-4o"}, 400),
    ],
)
def test_errors_in_the_words_of_their_api(path: str, body: dict[str, Any], status: int) -> None:
    found, raw, _ = ask(MockProvider(), body, path)
    answer = orjson.loads(raw)
    assert (found, answer.get("type")) == (status, "error" if path == "/v1/messages" else None)
    assert answer["error"]["message"]
