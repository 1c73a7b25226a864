"""A server that is not the provider's API: its answers are failures of the upstream, and the operator is told."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from gateway.runtime import contacts
from tests.gateway.dataplane.conftest import COMPLETION, Gateway, Start, answer, until

Run = Callable[..., None]

PAGE = b"<html><body>Sign in</body></html>"
WRONG: list[tuple[str, bytes, int, str]] = [
    ("a portal", PAGE, 200, "text/html; charset=utf-8"),
    ("a page of another server", PAGE, 404, "text/html"),
    ("a server of Go", b"404 page not found\n", 404, "text/plain"),
    ("a server of Python", b'{"detail":"Not Found"}', 404, "application/json"),
    (
        "OpenAI",
        b'{"error":{"message":"Invalid URL (POST /v1/v1/chat/completions)","type":"x"}}',
        404,
        "application/json",
    ),
    (
        "Anthropic",
        b'{"type":"error","error":{"type":"not_found_error","message":"Not Found"}}',
        404,
        "application/json",
    ),
    ("Azure", b'{"statusCode": 404, "message": "Resource not found"}', 404, "application/json"),
    ("a path without the method", b'{"detail":"Method Not Allowed"}', 405, "application/json"),
    ("nothing at all", b"", 404, ""),
]
ERRORS = [
    b'{"error":{"message":"The model `gpt-9` does not exist","type":"invalid_request_error","code":"model_not_found"}}',
    b'{"object":"error","message":"The model `gpt-9` does not exist.","type":"NotFoundError","code":404}',
    b'{"error":"model \'llama\' not found, try pulling it first"}',
    b'[{"error":{"code":404,"message":"models/x is not found","status":"NOT_FOUND"}}]',
]


def test_it_fails_the_call_and_the_operator_is_told(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test(gateway: Gateway) -> None:
        for what, body, status, kind in WRONG:
            gateway.upstream.handler = answer(body, status, content_type=kind)
            reply = await gateway.chat()
            assert (reply.status, reply.json["error"]["code"]) == (502, "upstream_error"), what
            completed = (await gateway.entries("completed"))[-1]
            assert (completed["outcome"], completed["upstream_status"]) == ("upstream_error", status), what
            assert completed["detail"].startswith("it "), what
        await until(lambda: any(each.error for each in contacts.read(gateway.data.runtime_db).values()))
        [contact] = contacts.read(gateway.data.runtime_db).values()
        assert contact.success_ns == 0
        assert "it has no such path" in contact.error

    run(test, breaker_failures=0)
    lines = [each.getMessage() for each in caplog.records if each.levelno == logging.ERROR]
    assert any("check its base URL: `gateway upstreams check openai`" in each for each in lines)


async def test_what_the_provider_does_not_have_is_its_answer(gateway: Gateway) -> None:
    for body in ERRORS:
        gateway.upstream.handler = answer(body, 404)
        reply = await gateway.chat()
        assert (reply.status, reply.body) == (404, body)
    assert {each["outcome"] for each in await gateway.entries("completed")} == {"provider_error"}


async def test_breakers_count_it_and_one_that_is_open_closes_again(start: Start) -> None:
    gateway = await start(breaker_failures=2)
    gateway.upstream.handler = answer(PAGE, content_type="text/html")
    outcomes: list[Any] = []
    for _ in range(4):
        await gateway.chat()
    outcomes = [each["outcome"] for each in await gateway.entries("completed")]
    assert outcomes[:2] == ["upstream_error", "upstream_error"]
    assert "circuit_open" in outcomes
    gateway.upstream.handler = answer(COMPLETION)
