"""The mock provider as Gemini: what its real clients, which are slow tests, do not look at."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from gateway.demo.mock_provider import MockProvider


def ask(verb: str, *texts: str, model: str = "gemini-mock-large", **members: object) -> tuple[int, bytes]:
    """The status and the body of an answer to these texts of a user."""
    body = orjson.dumps({"contents": [{"role": "user", "parts": [{"text": text}]} for text in texts], **members})
    verb, _, query = verb.partition("?")
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": f"/v1beta/models/{model}:{verb}", "query_string": query.encode()}
    asyncio.run(MockProvider()(scope, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent)


def test_the_same_stream_as_events_and_as_an_array() -> None:
    (status, raw), (_, array) = ask("streamGenerateContent?alt=sse", "one two"), ask("streamGenerateContent", "one two")
    *events, nothing = raw.split(b"\r\n\r\n")
    documents = [orjson.loads(event.removeprefix(b"data: ")) for event in events]
    assert (status, nothing, documents) == (200, b"", orjson.loads(array))
    texts = [document["candidates"][0]["content"]["parts"][0]["text"] for document in documents]
    assert "".join(texts) == "You said: one two"
    assert [document["candidates"][0].get("finishReason") for document in documents] == [None] * 4 + ["STOP"]
    usage = {"promptTokenCount": 2, "candidatesTokenCount": 4, "totalTokenCount": 6}
    assert documents[-1]["usageMetadata"] == usage


def test_functions() -> None:
    schema = {"type": "OBJECT", "properties": {"number": {"type": "INTEGER"}}, "required": ["number"]}
    tools = [{"googleSearch": {}, "functionDeclarations": [{"name": "get_order", "parameters": schema}]}]

    def parts(text: str, **config: object) -> list[dict[str, Any]]:
        asked = {"functionCallingConfig": config}
        found = orjson.loads(ask("generateContent", text, tools=tools, toolConfig=asked)[1])
        return list(found["candidates"][0]["content"]["parts"])

    call = {"functionCall": {"id": "call_mock_0", "name": "get_order", "args": {"number": 0}}}
    assert parts("get order") == parts("hello", mode="ANY", allowedFunctionNames=["get_order"]) == [call]
    assert parts("hello") == [{"text": "You said: hello"}]
    assert parts("get order", mode="NONE") == [{"text": "You said: get order"}]


def test_either_spelling() -> None:
    """As litellm and other clients write requests; names inside a schema and of arguments are nobody's to change."""
    schema = {"type": "object", "properties": {"order_id": {"type": "string"}}, "required": ["order_id"]}
    tools = [{"function_declarations": [{"name": "get_order", "parameters_json_schema": schema}]}]
    found = orjson.loads(ask("generateContent", "get order", tools=tools, generation_config={"candidate_count": 2})[1])
    calls = [candidate["content"]["parts"][0]["functionCall"]["args"] for candidate in found["candidates"]]
    assert calls == [{"order_id": "mock"}] * 2


def test_faults_and_errors() -> None:
    for model, status, kind in (("mock-status-503", 503, "UNAVAILABLE"), ("mock-status-418", 418, "INVALID_ARGUMENT")):
        found, body = ask("generateContent", "hello", model=model)
        assert (found, orjson.loads(body)["error"]["status"]) == (status, kind)
    assert ask("generateContent")[0] == 400
    assert ask("generateContent", "hello", toolConfig={"functionCallingConfig": {"mode": "SOME"}})[0] == 400
    assert ask("predict", "hello")[0] == 404
    assert "usageMetadata" not in orjson.loads(ask("generateContent", "hello", model="mock-no-usage")[1])


def test_a_schema_is_followed() -> None:
    schema = {"type": "OBJECT", "properties": {"done": {"type": "BOOLEAN"}}, "required": ["done"]}
    config = {"responseMimeType": "application/json", "responseSchema": schema}
    answer = orjson.loads(ask("generateContent", "hello", generationConfig=config)[1])
    assert orjson.loads(answer["candidates"][0]["content"]["parts"][0]["text"]) == {"done": True}
