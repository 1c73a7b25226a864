"""Calls in Gemini's API through the data plane: streams without a terminal event, and the key's only place."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from gateway.audit.intents import Completed
from tests.rigs.dataplane.failures import FailingWriter
from tests.rigs.dataplane.gemini import HELLO, MODEL, STOP, add_gemini, event, part

from .conftest import Gateway, Reply, Seen, answer, stream

BODY = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


async def ask(gateway: Gateway, verb: str, body: Any = BODY, model: str = MODEL) -> Reply:
    path = f"/gemini/v1beta/models/{model}:{verb}"
    lines = "Authorization: omit", f"x-goog-api-key: {gateway.key}"
    return await gateway.send(gateway.request(body, *lines, path=path))


async def test_a_stream_that_is_cut_is_incomplete(gateway: Gateway) -> None:
    add_gemini(gateway)
    gateway.upstream.handler = stream(event(HELLO))
    reply = await ask(gateway, "streamGenerateContent?alt=sse")
    assert (reply.status, reply.body) == (200, event(HELLO))
    gateway.upstream.handler = stream(event(HELLO), event(STOP))
    reply = await ask(gateway, "streamGenerateContent?alt=sse")
    assert reply.body == event(HELLO) + event(STOP)
    found = await gateway.entries("completed")
    assert [entry["outcome"] for entry in found] == ["upstream_incomplete", "ok"]
    assert [(entry["input_tokens"], entry["output_tokens"]) for entry in found] == [(7, 5), (7, 5)]


async def test_no_end_without_a_record(gateway: Gateway) -> None:
    add_gemini(gateway)
    FailingWriter(gateway, Completed)
    gateway.upstream.handler = stream(event(HELLO), event(STOP))
    reply = await ask(gateway, "streamGenerateContent?alt=sse")
    assert not reply.complete
    assert reply.body.startswith(event(HELLO) + b'data: {"error":{"code":500,')
    assert b"STOP" not in reply.body
    gateway.upstream.handler = answer([HELLO, STOP])
    reply = await ask(gateway, "streamGenerateContent")
    assert (reply.status, reply.json["error"]["details"][0]["reason"]) == (500, "outcome_unrecorded")


async def test_an_array_arrives_element_by_element(gateway: Gateway) -> None:
    add_gemini(gateway)
    first, rest = b"[" + orjson.dumps(HELLO), b"\n,\r\n" + orjson.dumps(STOP) + b"\n]\n"
    arrived = asyncio.Event()

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
        writer.write(head.encode() + b"%x\r\n%s\r\n" % (len(first), first))
        await arrived.wait()
        writer.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))

    gateway.upstream.handler = handle
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(BODY, path=f"/gemini/v1beta/models/{MODEL}:streamGenerateContent"))
    await reader.readuntil(orjson.dumps(HELLO))
    arrived.set()
    assert b"STOP" in await reader.readuntil(b"\r\n0\r\n\r\n")
    writer.close()
    (completed,) = await gateway.entries("completed")
    assert (completed["outcome"], completed["output_tokens"]) == ("ok", 5)


async def test_errors_of_the_provider_pass(gateway: Gateway) -> None:
    add_gemini(gateway)
    error = {"error": {"code": 400, "message": "bad", "status": "INVALID_ARGUMENT"}}
    for verb, document in [("generateContent", error), ("streamGenerateContent", [error])]:
        gateway.upstream.handler = answer(document, status=400)
        reply = await ask(gateway, verb)
        assert (reply.status, reply.json) == (400, document)
    assert [entry["outcome"] for entry in await gateway.entries("completed")] == ["provider_error"] * 2


async def test_a_key_in_the_query_is_refused_and_recorded_nowhere(gateway: Gateway) -> None:
    add_gemini(gateway)
    secret = "AIzaSyVerySecretIndeed"
    for verb in ("generateContent", "streamGenerateContent", "countTokens"):
        reply = await ask(gateway, f"{verb}?key={secret}")
        assert (reply.status, reply.json["error"]["status"]) == (400, "INVALID_ARGUMENT")
        assert "the query parameter `key` is not known here" in reply.json["error"]["message"]
        assert secret not in reply.body.decode()
    assert not gateway.upstream.seen
    await asyncio.to_thread(gateway.settle)
    kept = [path for path in gateway.data.path.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert kept == []


async def test_a_cap_and_a_denial(gateway: Gateway) -> None:
    add_gemini(gateway)
    gateway.upstream.handler = answer(part("hello", finishReason="STOP"))
    reply = await ask(gateway, "generateContent", BODY | {"generation_config": {"topK": 1}}, model="gpt-capped")
    assert reply.status == 200
    assert gateway.upstream.seen[-1].json == BODY | {"generation_config": {"topK": 1, "maxOutputTokens": 50}}
    reply = await ask(gateway, "generateContent", model="gemini-2.5-pro")
    assert (reply.status, reply.json["error"]["status"]) == (403, "PERMISSION_DENIED")
