"""Clients of other makers, and paths of several: each gets an error that it can read, and what is served is served."""

from __future__ import annotations

import pytest

from gateway.errors import Denied
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.wrong_route import speaker
from tests.gateway.dataplane.conftest import Gateway, answer

SIGNED = "authorization: AWS4-HMAC-SHA256 Credential=AKIA/20261201/us-east-1/bedrock/aws4_request, Signature=0"
BEDROCK = (
    "/model/anthropic.claude-v2%3A1/invoke",
    "/model/x/converse",
    "/bedrock/model/x/converse-stream",
    "/v1/messages",
    "/",
)


async def test_requests_signed_for_aws_are_refused_in_its_shape(gateway: Gateway) -> None:
    for path in BEDROCK:
        for line, query in ((SIGNED, ""), ("x: y", "?X-Amz-Algorithm=AWS4-HMAC-SHA256")):
            request = f"POST {path}{query} HTTP/1.1\r\nhost: x\r\n{line}\r\ncontent-length: 2\r\n\r\n{{}}"
            reply = await gateway.send(request.encode())
            assert reply.status in (401, 404, 405), path
            assert reply.headers["x-amzn-errortype"] == reply.json["__type"] == "AccessDeniedException"
            assert "`bedrock-compatible`" in reply.json["message"]
    assert gateway.upstream.seen == []


async def test_anthropic_s_messages_are_served_without_the_version(gateway: Gateway) -> None:
    gateway.add_upstream("claude", "anthropic", "/v1", secret="sk-ant-4f9a81c2e7b35d60")
    gateway.upstream.handler = answer({"id": "m", "type": "message", "model": "gpt-4o", "content": []})
    asked = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    for path in ("/claude/messages", "/claude/v1/messages", "/claude/messages/count_tokens"):
        assert (await gateway.send(gateway.request(asked, path=path))).status == 200, path
    lines = [seen.head.split(b" ")[1] for seen in gateway.upstream.seen]
    assert lines == [b"/v1/messages", b"/v1/messages", b"/v1/messages/count_tokens"]
    for path in ("/claude/models", "/openai/messages", "/messages"):
        assert (await gateway.send(gateway.request(asked, path=path))).status in (404, 405), path


@pytest.mark.parametrize(
    ("path", "headers", "maker"),
    [
        ("/v1/models/x", frozenset(), "openai"),
        ("/v1/threads", frozenset(), "openai"),
        ("/v1/batches", frozenset(), "openai"),
        ("/v1/messages/batches", frozenset(), "anthropic"),
        ("/v1/models/x", frozenset({b"anthropic-version"}), "anthropic"),
        ("/v1/models/x:generateContent", frozenset(), "gemini"),
        ("/v1/models/x", frozenset({b"x-goog-api-client"}), "gemini"),
        ("/v1beta/models", frozenset(), "gemini"),
        ("/anthropic/v1/threads", frozenset(), "anthropic"),
        ("/gemini/v1/models/x", frozenset(), "gemini"),
        ("/openai/v1/threads", frozenset(), "openai"),
    ],
)
def test_an_error_has_the_shape_of_the_maker_whose_client_asks(
    path: str, headers: frozenset[bytes], maker: str
) -> None:
    found = speaker(path, headers)
    assert found is not None
    assert found.name == maker


async def test_headers_that_change_a_call_are_forwarded_or_refused(gateway: Gateway) -> None:
    reply = await gateway.chat("gpt-4o", "x-client-request-id: abc")
    assert reply.status == 200
    assert gateway.upstream.seen[-1].headers["x-client-request-id"] == "abc"
    for line in ("x-hf-bill-to: acme", "x-ms-oai-image-generation-deployment: m", "groq-model-version: latest"):
        reply = await gateway.chat("gpt-4o", line)
        assert (reply.status, reply.json["error"]["code"]) == (400, "bad_request")
        assert line.partition(":")[0] in reply.json["error"]["message"]
    assert len(gateway.upstream.seen) == 1
    gateway.add_upstream("claude", "anthropic", "/v1", secret="sk-ant-4f9a81c2e7b35d60")
    gateway.upstream.handler = answer({"id": "m", "type": "message", "model": "gpt-4o", "content": []})
    asked = {"model": "gpt-4o", "max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
    sent = gateway.request(asked, "anthropic-user-profile-id: uprof_1", path="/claude/v1/messages")
    assert (await gateway.send(sent)).status == 200
    assert gateway.upstream.seen[-1].headers["anthropic-user-profile-id"] == "uprof_1"


def test_no_best_of_is_a_number() -> None:
    from tests.rigs.upstream.said import PLAIN, read

    call = read("openai", "completions", PLAIN["openai", "completions"] | {"best_of": 0, "max_tokens": 7, "n": 2})
    assert (call.max_output_tokens, call.settings["best_of"]) == (14, 0)
    for wrong in (-1, False, 0.0, "0"):
        with pytest.raises(Denied):
            read("openai", "completions", PLAIN["openai", "completions"] | {"best_of": wrong})
    assert PROVIDERS["openai"].name == "openai"
