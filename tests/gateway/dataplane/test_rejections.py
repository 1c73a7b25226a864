"""Errors of providers whose status does not say whose matter they are; the cases are in rejections.yaml."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import yaml

from gateway.dataplane import upstream_errors
from gateway.dataplane.measures import NO_CREDIT
from gateway.runtime import contacts
from gateway.upstream.providers.http.api import Api
from gateway.upstream.providers.http.provider import Http
from gateway.upstream.providers.rejections import MAX_BYTES
from gateway.upstream.routing import Destination
from tests.rigs.dataplane.measures import numbers
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.dataplane.resilience import route

from .conftest import COMPLETION, Gateway, Reply, Seen, Start, answer, chat, until

Run = Callable[..., None]

CASES = yaml.safe_load((Path(__file__).parent / "rejections.yaml").read_text("utf-8"))
FLAGGED = next(each for each in CASES if each["provider"] == "xai")
EVERYTHING = "package bot.authz\n\nallow := true\n"
PATHS = {
    "anthropic": ("/v1/messages", {"model": "gpt-x", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}),
    "gemini": ("/v1beta/models/gpt-x:generateContent", {"contents": [{"parts": [{"text": "hello"}]}]}),
    "azure": ("/openai/v1/chat/completions", chat()),
}
BASES = {"anthropic": "/v1", "gemini": "", "azure": ""}


async def send(gateway: Gateway, provider: str) -> Reply:
    path, asked = PATHS.get(provider, ("/v1/chat/completions", chat()))
    return await gateway.send(gateway.request(asked, path=f"/the-{provider}{path}"))


def test_each_error_is_told_to_the_one_who_can_act(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def test(gateway: Gateway) -> None:
        put_into_force(gateway, EVERYTHING)
        ids = {
            each: gateway.add_upstream(
                f"the-{each}",
                each,
                BASES.get(each, "/v1"),
                secret="the secret of openrouter" if each == "openrouter" else f"sk-4f9a81c2e7b35d60{len(each)}",
            ).id
            for each in {case["provider"] for case in CASES}
        }
        wrong = []
        for case in CASES:
            provider, status = case["provider"], case["status"]
            gateway.upstream.handler = answer(case["body"], status, x_request_id="req-1", etag="abc")
            reply = await send(gateway, provider)
            completed = (await gateway.entries("completed"))[-1]
            told = case["body"] if case.get("same") else case.get("told")
            seen = [reply.status, completed["status"], completed["upstream_status"], completed["outcome"]]
            expected = [status if told else 502, status if told else 502, status, "provider_error"]
            if told:
                seen += [reply.json, reply.headers["x-request-id"]]
                expected += [told, "req-1"]
            else:
                seen += [orjson.dumps(completed["detail"]) in reply.body, reply.headers["x-should-retry"]]
                expected += [False, "false"]
            if completed.get("detail") != case["detail"] or seen != expected:
                wrong.append((case["note"], completed.get("detail"), seen, expected))
        assert wrong == []
        await until(lambda: ids["deepseek"] in contacts.read(gateway.data.runtime_db))
        assert "no credit left" in contacts.read(gateway.data.runtime_db)[ids["deepseek"]].error
        assert gateway.open_decisions() == 0
        calls = numbers(gateway, "call", "aig_upstream_calls", "default", "the-deepseek", NO_CREDIT)
        assert calls == [sum(case["provider"] == "deepseek" for case in CASES)]

    run(test)
    lines = [each.getMessage() for each in caplog.records if each.name == "gateway.dataplane.upstream_errors"]
    assert any("`the-deepseek` refuses calls: the account has no credit left" in each for each in lines)
    assert any("see to the billing" in each for each in lines)
    assert not any("another key" in each for each in lines if "credit" in each or "country" in each)


async def test_a_flagged_input_says_nothing_against_the_upstream(gateway: Gateway) -> None:
    upstream = gateway.add_upstream("the-xai", "xai", "/v1", secret="the secret of xai")
    gateway.upstream.handler = answer(FLAGGED["body"], 403)
    for _ in range(8):  # more than open a breaker
        assert (await send(gateway, "xai")).status == 403
    await until(lambda: contacts.read(gateway.data.runtime_db).get(upstream.id))
    contact = contacts.read(gateway.data.runtime_db)[upstream.id]
    assert (contact.error, contact.success_ns > 0) == ("", True)
    assert len(gateway.upstream.seen) == 8, "none was sent again"
    assert gateway.upstream.connections == 1, "the connection is kept"


async def test_no_other_upstream_is_asked_what_one_has_flagged(gateway: Gateway) -> None:
    gateway.add_upstream("the-xai", "xai", "/v1", secret="the secret of xai")
    gateway.upstream.handler = answer(FLAGGED["body"], 403)
    async with route(gateway, "the-xai", "backup") as backup:
        reply = await gateway.send(gateway.request(chat(), path="/chat/v1/chat/completions"))
        assert (reply.status, reply.json) == (403, FLAGGED["told"])
        assert backup.seen == []


async def test_another_upstream_is_asked_for_a_model_that_one_may_not_use(gateway: Gateway) -> None:
    case = next(each for each in CASES if each["provider"] == "openai" and "may not use" in each["detail"])
    gateway.upstream.handler = answer(case["body"], 403)
    async with route(gateway) as backup:
        reply = await gateway.send(gateway.request(chat(), path="/chat/v1/chat/completions"))
        assert (reply.status, len(backup.seen)) == (200, 1)


def test_an_api_of_another_kind_means_its_own_matters_by_402() -> None:
    with_http = Destination("up_crm", "default", "crm", Http("crm", Api(())), "https://crm.example", False, None)
    assert upstream_errors.read(with_http, 402, b'{"error": {"code": "card_declined"}}') is None


@pytest.mark.parametrize("status", [402, 403])
async def test_another_upstream_is_asked_if_the_account_of_one_is_empty(gateway: Gateway, status: int) -> None:
    error = {"error": {"message": "no", "type": "insufficient_quota", "param": None, "code": None}}
    gateway.upstream.handler = answer(error, status)
    async with route(gateway) as backup:
        reply = await gateway.send(gateway.request(chat(), path="/chat/v1/chat/completions"))
        assert (reply.status, reply.json) == (200, COMPLETION)
        assert len(backup.seen) == 1


async def test_a_403_that_cannot_be_read_is_the_operators(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_errors, "_SECONDS", 0.3)
    body = orjson.dumps(FLAGGED["body"])
    large = orjson.dumps({**FLAGGED["body"], "more": "x" * MAX_BYTES})

    async def cut_off(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n" + body)
        await writer.drain()
        writer.close()

    async def hangs(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 403 X\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n" + body)
        await asyncio.sleep(3600)

    gateway = await start()
    gateway.add_upstream("the-xai", "xai", "/v1", secret="the secret of xai")
    for handler in (
        hangs,
        cut_off,
        answer(large, 403),
        answer(body[:-1], 403),
        answer(b"", 403),
        answer(b"[]", 403),
        answer(b'"Content violates usage guidelines"', 403),
        answer(body, 403, content_encoding="gzip"),
    ):
        gateway.upstream.handler = handler
        reply = await send(gateway, "xai")
        assert (reply.status, reply.code) == (502, "upstream_unavailable")
        assert b"guidelines" not in reply.body


async def test_a_stream_is_told_as_well(gateway: Gateway) -> None:
    gateway.add_upstream("the-xai", "xai", "/v1", secret="the secret of xai")
    gateway.upstream.handler = answer(FLAGGED["body"], 403)
    reply = await gateway.send(gateway.request(chat(stream=True), path="/the-xai/v1/chat/completions"))
    assert (reply.status, reply.json, reply.complete) == (403, FLAGGED["told"], True)
