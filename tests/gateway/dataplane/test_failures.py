"""Failures on the way: every failure has its answer, its record, and exactly one of each."""

from __future__ import annotations

import asyncio
import itertools
import re
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.audit.intents import Completed, Decided
from gateway.dataplane import proxy
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.upstream.providers.base import Endpoint
from gateway.upstream.providers.presets import PROVIDERS
from tests.gateway.audit.conftest import AtMost
from tests.rigs.dataplane.failures import FailingWriter
from tests.rigs.dataplane.requests import DONE, HELLO, USAGE
from tests.rigs.upstream.sent import sent_to

from .conftest import COMPLETION, ORG, Gateway, Start, answer, chat, stream, until, without_decision


async def outcome(gateway: Gateway) -> dict[str, Any]:
    """The closing of the only decision."""
    decided, completed = await gateway.entries()
    assert decided["id"] == completed["decision"]
    assert gateway.open_decisions() == 0
    return completed


async def test_the_providers_own_errors_pass(gateway: Gateway) -> None:
    error = {"error": {"message": "slow down", "type": "requests", "param": None, "code": "rate_limit_exceeded"}}
    gateway.upstream.handler = answer(error, 429, retry_after="7", x_ratelimit_remaining_requests="0")
    reply = await gateway.chat()
    assert (reply.status, reply.json) == (429, error)
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["x-ratelimit-remaining-requests"] == "0"
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["status"], completed["upstream_status"]) == ("provider_error", 429, 429)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (404, b'{"error":{"message":"no"}}'),  # others with 404 are not the provider's: test_wrong_server.py
        *itertools.product([400, 402, 422, 500, 503, 529], [b'{"error":{"message":"no"}}', b"<html>", b""]),
    ],
)
async def test_an_error_of_the_provider_passes_unchanged_and_is_no_success(
    gateway: Gateway, status: int, body: bytes
) -> None:
    gateway.upstream.handler = answer(body, status)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.body, reply.complete) == (status, body, True)
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["status"]) == ("provider_error", status)


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_credential_is_the_operators_business(
    gateway: Gateway, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    error = {"error": {"message": "Incorrect API key provided: sk-upst***cret", "code": "invalid_api_key"}}
    gateway.upstream.handler = answer(error, status)
    for _ in range(3):
        reply = await gateway.chat()
        assert (reply.status, reply.code) == (502, "upstream_unavailable")
        assert reply.headers["x-should-retry"] == "false"
        assert b"sk-" not in reply.body
        assert b"credential" not in reply.body
    *_, completed = await gateway.entries()
    assert (completed["outcome"], completed["status"], completed["upstream_status"]) == (
        "provider_error",
        502,
        status,
    )
    assert completed["detail"] == f"it refuses the gateway's key (status {status})"
    told = [record.getMessage() for record in caplog.records if record.name == "gateway.dataplane.upstream_errors"]
    assert len(told) == 1, "once, however many calls fail"
    assert "`openai`" in told[0]
    assert f"it refuses the gateway's key (status {status})" in told[0]
    assert "`gateway upstreams add openai --key-env VARIABLE --replace`" in told[0]


async def test_upstream_down(gateway: Gateway) -> None:
    await gateway.upstream.stop()
    await asyncio.sleep(0.05)
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (502, "upstream_error")
    assert reply.headers["x-should-retry"] == "true"
    completed = await outcome(gateway)
    assert completed["decision"] == reply.headers["x-decision-id"]
    assert (completed["outcome"], completed["status"], completed["upstream_status"]) == (
        "upstream_error",
        502,
        None,
    )
    assert re.fullmatch(r"cannot connect to 127\.0\.0\.1:\d+: connection refused", completed["detail"])


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"SSH-2.0-x\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx-echo: Bearer sk-upstream-secret\x00\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\nsk-upstream-secret\r\n",
    ],
)
async def test_upstream_does_not_speak_http(gateway: Gateway, garbage: bytes) -> None:
    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(garbage)
        writer.close()

    gateway.upstream.handler = handle
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (502, "upstream_error")
    closing = await outcome(gateway)
    assert closing["outcome"] == "upstream_error"
    assert "secret" not in closing["detail"]  # the upstream's echo is not repeated
    assert len(gateway.upstream.seen) == 1  # a call that may have been carried out is not sent again


@pytest.mark.parametrize(
    ("document", "status", "headers"),
    [
        ({}, 302, {"location": "http://127.0.0.1:1/"}),
        ({}, 304, {}),
        (b"\x1f\x8b", 200, {"content_encoding": "gzip"}),
        ({}, 200, {"x_large": "x" * 40_000}),
    ],
    ids=["redirect", "not modified", "compressed", "large head"],
)
async def test_answers_that_must_not_pass(
    gateway: Gateway, document: Any, status: int, headers: dict[str, str]
) -> None:
    gateway.upstream.handler = answer(document, status, **headers)
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (502, "upstream_error")
    assert b"sk-" not in reply.body
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["status"]) == ("upstream_error", 502)


async def test_no_first_byte_in_time(start: Start) -> None:
    gateway = await start(upstream_first_byte_timeout=0.2)

    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    gateway.upstream.handler = handle
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["status"]) == ("upstream_timeout", 504)


async def test_a_pause_within_an_answer(start: Start) -> None:
    gateway = await start(upstream_idle_timeout=0.2)
    gateway.upstream.handler = stream(HELLO, 30.0, DONE)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.complete, without_decision(reply.body)) == (
        200,
        False,
        HELLO + failed("upstream_timeout"),
    )
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["status"]) == ("upstream_timeout", 200)


@pytest.mark.slow
async def test_too_long_in_all(start: Start) -> None:
    gateway = await start(upstream_total_timeout=3.0)
    gateway.upstream.handler = stream(*[HELLO, 0.05] * 1000, DONE)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.complete) == (200, False)
    assert (await outcome(gateway))["outcome"] == "upstream_timeout"


@pytest.mark.slow
async def test_a_client_that_stops_reading_is_not_waited_for_forever(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record is closed by then; the connection must not stay open for as long as the client likes."""

    async def stuck(relay: object) -> None:
        await asyncio.sleep(600)

    monkeypatch.setattr(proxy.Relay, "end", stuck)
    gateway = await start(upstream_total_timeout=3.0)
    gateway.upstream.handler = stream(HELLO, USAGE, DONE)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.complete) == (200, False)
    assert (await outcome(gateway))["outcome"] == "ok"


async def test_a_stream_that_breaks_off(gateway: Gateway) -> None:
    gateway.upstream.handler = stream(HELLO, USAGE, end=False)
    reply = await gateway.chat(stream=True, stream_options={"include_usage": True})
    assert (reply.complete, without_decision(reply.body)) == (False, HELLO + USAGE + failed("upstream_error"))
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["input_tokens"]) == ("upstream_error", 7)


async def test_a_document_that_breaks_off(gateway: Gateway) -> None:
    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{")
        await writer.drain()
        writer.close()

    gateway.upstream.handler = handle
    reply = await gateway.chat()
    # Only the byte that is held back had come, so nothing was sent yet: the client gets a proper answer.
    assert (reply.status, reply.code) == (502, "upstream_error")
    assert (await outcome(gateway))["outcome"] == "upstream_error"


async def test_a_failure_inside_a_stream(gateway: Gateway) -> None:
    failure = b'data: {"error":{"message":"overloaded"}}\n\n'
    gateway.upstream.handler = stream(HELLO, failure)
    reply = await gateway.chat(stream=True)
    assert (reply.complete, reply.body) == (True, HELLO + failure)
    assert (await outcome(gateway))["outcome"] == "upstream_error"


async def test_what_follows_the_end_of_a_stream(gateway: Gateway) -> None:
    gateway.upstream.handler = stream(HELLO, USAGE, DONE, 0.05, b": good", 0.05, b"bye\n\n")
    reply = await gateway.chat(stream=True, stream_options={"include_usage": True})
    assert (reply.complete, reply.body) == (True, HELLO + USAGE + DONE + b": goodbye\n\n")
    assert (await gateway.entries("completed"))[0]["response_bytes"] == len(reply.body)


async def test_a_stream_that_does_not_close_after_its_end(gateway: Gateway) -> None:
    gateway.upstream.handler = stream(HELLO, DONE, 600.0)
    reply = await gateway.chat(stream=True)
    assert (reply.complete, reply.body) == (True, HELLO + DONE)
    assert (await outcome(gateway))["outcome"] == "ok"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_client_that_leaves_ends_the_upstream_call(gateway: Gateway, streaming: bool) -> None:
    pause = asyncio.Event()

    async def handle(seen: object, writer: asyncio.StreamWriter) -> None:
        if streaming:
            await stream(HELLO, 0.01, end=True)(seen, writer)  # type: ignore[arg-type]  # it ignores it
        pause.set()
        await asyncio.sleep(30)

    async def endless(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%s\r\n" % (len(HELLO), HELLO))
        pause.set()
        await asyncio.sleep(30)

    gateway.upstream.handler = endless if streaming else handle
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(gateway.request(chat(stream=streaming)))
    await pause.wait()
    if streaming:
        await reader.readuntil(HELLO)
    writer.close()
    await until(lambda: gateway.open_decisions() == 0 and len(gateway.log(ORG)) == 2)
    completed = await outcome(gateway)
    assert completed["outcome"] == "client_disconnected"
    assert completed["status"] == (200 if streaming else None)


async def test_a_client_that_leaves_as_the_answer_begins(gateway: Gateway) -> None:
    """In the same turn of the loop: nothing that follows may put the end of the call off again."""
    forward, carry_out = gateway.plane._forward, gateway.plane._carry_out
    clients: list[Departure] = []

    async def carrying_out(exchange: Any, client: Departure, send: Any) -> None:
        clients.append(client)
        await carry_out(exchange, client, send)

    async def forwarding(*arguments: Any) -> Any:
        answer = await forward(*arguments)
        clients[0].happened()
        return answer

    gateway.plane._carry_out = carrying_out  # type: ignore[method-assign]
    gateway.plane._forward = forwarding  # type: ignore[method-assign]
    gateway.upstream.handler = stream(HELLO, 600.0, DONE)
    assert not (await gateway.chat(stream=True)).complete
    assert (await outcome(gateway))["outcome"] == "client_disconnected"


def failed(code: str) -> bytes:
    """The event that ends a stream which the gateway has to break off."""
    return PROVIDERS["openai"].error_event(sent_to(Endpoint("x", PROVIDERS["openai"].routes[0], "")), Denied(code))


async def test_no_decision_without_a_record(gateway: Gateway) -> None:
    FailingWriter(gateway, Decided)
    for model in ("gpt-4o", "o3"):
        reply = await gateway.chat(model)
        assert (reply.status, reply.code) == (503, "audit_unavailable")
        assert reply.headers["x-should-retry"] == "true"
        assert "x-decision-id" not in reply.headers
    assert gateway.upstream.connections == 0


async def test_the_log_has_the_last_word(gateway: Gateway) -> None:
    """A reservation may turn an allow around inside the transaction; then nothing goes upstream."""

    class Reserving:
        async def write(self, intent: Any) -> Any:
            return await gateway.writer.write(replace(intent, reservation=AtMost(0)))

    gateway.plane._recorder._writer = Reserving()  # type: ignore[assignment]
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (429, "limit_exceeded")
    assert reply.headers["x-should-retry"] == "true"
    (decided,) = await gateway.entries()
    assert (decided["id"], decided["allow"]) == (reply.headers["x-decision-id"], False)
    assert gateway.upstream.connections == 0


async def test_no_end_without_a_record(gateway: Gateway) -> None:
    FailingWriter(gateway, Completed)
    gateway.upstream.handler = stream(HELLO, DONE)
    reply = await gateway.chat(stream=True)
    assert (reply.status, reply.complete, without_decision(reply.body)) == (
        200,
        False,
        HELLO + failed("outcome_unrecorded"),
    )
    # Nothing of the document was sent yet, so there is an answer that says why.
    gateway.upstream.handler = answer(COMPLETION)
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (500, "outcome_unrecorded")
    # The provider has carried it out: SDKs must not send it again.
    assert reply.headers["x-should-retry"] == "false"
    assert "retry-after" not in reply.headers
    assert "x-decision-id" in reply.headers
    # And one that had begun stops before its last byte.
    body = b'{"pad":"' + b"x" * 300_000 + b'"}'

    async def slowly(seen: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 100_000):
            writer.write(body[at : at + 100_000])
            await writer.drain()
            await asyncio.sleep(0.02)

    gateway.upstream.handler = slowly
    reply = await gateway.chat()
    assert (reply.status, reply.complete) == (200, False)
    assert len(reply.body) < len(body)
    assert body.startswith(reply.body)


async def test_an_end_that_could_not_be_recorded_is_recorded_late(gateway: Gateway) -> None:
    moved = gateway.data.audit_db.with_suffix(".moved")

    async def handle(seen: Any, writer: asyncio.StreamWriter) -> None:
        gateway.data.audit_db.rename(moved)
        await answer(COMPLETION)(seen, writer)

    gateway.upstream.handler = handle
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (500, "outcome_unrecorded")
    moved.rename(gateway.data.audit_db)
    decided, completed = await gateway.entries()
    assert decided["id"] == completed["decision"] == reply.headers["x-decision-id"]
    assert (completed["outcome"], completed["late"], completed["input_tokens"]) == ("ok", True, 7)


@pytest.mark.parametrize(
    ("handler", "members"),
    [
        (stream(HELLO, USAGE), {"stream": True}),
        (stream(), {"stream": True}),
        (stream(HELLO, DONE[:9]), {"stream": True}),
        (answer(b'{"id": "chatcmpl-1", "choices": ['), {}),
        (answer(b""), {}),
    ],
    ids=["no terminal event", "no event", "half of the terminal event", "half a document", "no document"],
)
async def test_an_answer_that_ends_before_its_end(gateway: Gateway, handler: Any, members: dict[str, Any]) -> None:
    """The connection was closed as it should be, so only the content tells that something is missing."""
    gateway.upstream.handler = handler
    assert (await gateway.chat(**members)).status == 200
    completed = await outcome(gateway)
    assert completed["outcome"] == "upstream_incomplete"
    assert "ended before" in completed["detail"]


async def test_a_stream_that_its_server_ends_with_usage_and_reasons(gateway: Gateway) -> None:
    choices = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
    last = orjson.dumps({**COMPLETION, "object": "chat.completion.chunk", "choices": choices})
    gateway.upstream.handler = stream(HELLO, b"data: " + last + b"\n\n")
    assert (await gateway.chat(stream=True)).status == 200
    completed = await outcome(gateway)
    assert (completed["outcome"], completed["output_tokens"]) == ("ok", 3)


async def test_a_providers_failure_need_not_have_an_end(gateway: Gateway) -> None:
    gateway.upstream.handler = answer(b"<html>", 500)
    assert (await gateway.chat()).status == 500
    assert (await outcome(gateway))["outcome"] == "provider_error"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_server_that_ignores_its_cap_is_on_record(gateway: Gateway, streaming: bool) -> None:
    usage = {"prompt_tokens": 7, "completion_tokens": 51, "total_tokens": 58}
    document = {**COMPLETION, "usage": usage}
    chunk = b"data: " + orjson.dumps({**document, "choices": []}) + b"\n\n"
    gateway.upstream.handler = stream(HELLO, chunk, DONE) if streaming else answer(document)
    reply = await gateway.chat("gpt-capped", stream=streaming)
    assert (reply.status, reply.complete) == (200, True)
    decided, completed = await gateway.entries()
    assert decided["max_output_tokens"] == 50
    assert (completed["outcome"], completed["output_tokens"]) == ("cap_exceeded", 51)
    assert completed["detail"] == "the answer has 51 output tokens, its limit was 50"


async def test_the_registry_cannot_be_read(gateway: Gateway) -> None:
    assert (await gateway.chat()).status == 200
    reader = gateway.plane._registry._registry
    reader._epochs.close()  # type: ignore[attr-defined]
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (503, "registry_unavailable")
    assert len(gateway.upstream.seen) == 1


async def test_a_stop_lets_running_requests_end(start: Start) -> None:
    gateway = await start(drain_timeout=30.0)
    gateway.upstream.handler = stream(HELLO, 0.5, DONE)
    request = asyncio.create_task(gateway.chat(stream=True))
    await until(lambda: gateway.upstream.seen)
    gateway.stop.set()
    reply = await request
    assert (reply.complete, reply.body) == (True, HELLO + DONE)
    await gateway.serving
    assert (await outcome(gateway))["outcome"] == "ok"
    with pytest.raises(ConnectionRefusedError):
        await gateway.chat()


@pytest.mark.slow
async def test_what_does_not_end_in_time_is_cut_and_recorded(start: Start) -> None:
    gateway = await start(drain_timeout=3.0)
    gateway.upstream.handler = stream(HELLO, 600.0, DONE)
    request = asyncio.create_task(gateway.chat(stream=True))
    await until(lambda: gateway.upstream.seen)
    gateway.stop.set()
    reply = await request
    assert (reply.complete, reply.body) == (False, HELLO)
    await gateway.serving
    assert (await outcome(gateway))["outcome"] == "gateway_stopped"


async def test_a_fault_of_ours_is_not_told(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.policy.authorization.decide", lambda *_, **__: 1 / 0)
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (500, None)
    assert b"division" not in reply.body
    assert gateway.upstream.seen == []


async def test_a_fault_of_ours_after_the_decision_closes_it(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.dataplane.relay.answer_headers.passing", lambda *_, **__: 1 / 0)
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (500, None)
    assert reply.headers["x-should-retry"] == "false"
    assert (await outcome(gateway))["outcome"] == "gateway_error"
