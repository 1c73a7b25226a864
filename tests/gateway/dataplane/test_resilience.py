"""Upstreams that refuse, hang, reset or answer with errors: retries, fallbacks, the breaker, and what the log says."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from gateway.registry.upstreams import routes as upstream_routes
from gateway.registry.upstreams.changes import remove_upstream
from gateway.registry.upstreams.routes import NewMember
from gateway.runtime import contacts
from tests.rigs.dataplane.obligations import put_into_force
from tests.rigs.dataplane.requests import DONE, HELLO, USAGE
from tests.rigs.dataplane.resilience import add, ask, hang, reset, route

from .conftest import (
    ACTOR,
    COMPLETION,
    ORG,
    Gateway,
    Handler,
    Seen,
    Start,
    Upstream,
    answer,
    chat,
    stream,
    until,
)

ERROR = {"error": {"message": "overloaded", "type": "server_error", "param": None, "code": "busy"}}


def first_byte(failing: Handler | None) -> float:
    """The time limit for a test with this upstream: the other one must answer within it on a busy machine too."""
    return 2.0 if failing is hang else 60.0


def first(*handlers: Handler) -> Handler:
    """These one after the other, the last one for ever."""
    left = list(handlers)

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(seen, writer)

    return handle


async def pairs(gateway: Gateway) -> list[tuple[dict[str, Any], dict[str, Any] | None]]:
    """Each decision of the log with its closing; none may be open."""
    entries = await gateway.entries()
    closings = {entry["decision"]: entry for entry in entries if entry["kind"] == "completed"}
    assert gateway.open_decisions() == 0
    return [(entry, closings.get(entry["id"])) for entry in entries if entry["kind"] == "decided"]


# --- fallbacks --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("failing", "outcome", "status"),
    [
        (answer(ERROR, 500), "provider_error", 500),
        (answer(ERROR, 429), "provider_error", 429),
        (answer(b"<html>", 503), "provider_error", 503),
        (answer(ERROR, 401), "provider_error", 401),
        (answer(b"x" * 100_000, 500), "provider_error", 500),
        (reset, "upstream_error", None),
        (hang, "upstream_timeout", None),
        (None, "upstream_error", None),
    ],
    ids=["500", "429", "503", "401", "large", "reset", "hang", "refused"],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_next_member_answers(
    start: Start, failing: Handler | None, outcome: str, status: int | None, streamed: bool
) -> None:
    gateway = await start(upstream_first_byte_timeout=first_byte(failing))
    async with route(gateway) as backup:
        if failing is None:
            await gateway.upstream.stop()
        else:
            gateway.upstream.handler = failing
        backup.handler = stream(HELLO, USAGE, DONE) if streamed else answer(COMPLETION)
        reply = await ask(gateway, stream=streamed)
        assert (reply.status, reply.complete) == (200, True)
        assert backup.seen[0].headers["authorization"] == "Bearer sk-of-backup"
        (one, its_end), (two, ended) = await pairs(gateway)
        assert its_end is not None
        assert ended is not None
        assert (one["upstream"], two["upstream"]) == ("openai", "backup")
        assert (one["route"], two["route"]) == ("chat", "chat")
        assert ("attempt" in one, two["attempt"], two["retry_of"]) == (False, 2, one["id"])
        assert (its_end["outcome"], its_end["upstream_status"], its_end["status"]) == (outcome, status, None)
        assert (ended["outcome"], ended["status"]) == ("ok", 200)
        assert reply.headers["x-decision-id"] == two["id"]


async def test_an_answer_that_blames_the_request_is_the_answer(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        gateway.upstream.handler = answer(ERROR, 400)
        reply = await ask(gateway)
        assert (reply.status, reply.json) == (400, ERROR)
        assert backup.seen == []


@pytest.mark.slow
async def test_if_all_fail_the_client_gets_the_last_failure(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        gateway.upstream.handler = reset
        backup.handler = answer(ERROR, 529, retry_after="3")
        reply = await ask(gateway)
        assert (reply.status, reply.json, reply.headers["retry-after"]) == (529, ERROR, "3")
        _, (two, ended) = await pairs(gateway)
        assert ended is not None
        assert (reply.headers["x-decision-id"], ended["status"]) == (two["id"], 529)


@pytest.mark.slow
async def test_an_answer_that_has_begun_is_never_replaced(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        gateway.upstream.handler = stream(HELLO, end=False)
        reply = await ask(gateway, stream=True)
        assert (reply.status, reply.complete, backup.seen) == (200, False, [])


@pytest.mark.slow
async def test_a_large_body_is_sent_again_whole(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        gateway.upstream.handler = answer(ERROR, 500)
        reply = await ask(gateway, user="x" * 300_000)
        assert reply.status == 200
        assert gateway.upstream.seen[0].json == backup.seen[0].json


# --- policies ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_member_that_knows_the_model_by_another_name_is_judged_by_that_name(gateway: Gateway) -> None:
    async with route(gateway, models={"gpt-4o": "gpt-4o-prod"}) as backup:
        gateway.upstream.handler = answer(ERROR, 500)
        assert (await ask(gateway)).status == 200
        assert backup.seen[0].json["model"] == "gpt-4o-prod"
        _, (two, _) = await pairs(gateway)
        assert (two["model"], two["forwarded_model"]) == ("gpt-4o", "gpt-4o-prod")


@pytest.mark.slow
async def test_a_model_that_a_route_renames_and_a_policy_replaces_is_recorded_as_it_was_asked(gateway: Gateway) -> None:
    """The entry had the route's name as the one that the client had named."""
    put_into_force(gateway)  # which puts another model in the place of `gpt-4o`
    async with route(gateway, models={"gpt-old": "gpt-4o"}) as backup:
        gateway.upstream.handler = answer(ERROR, 500)
        assert (await ask(gateway, "gpt-old")).status == 200
        assert backup.seen[0].json["model"] == "gpt-4o-mini"
        _, (two, _) = await pairs(gateway)
        assert (two["model"], two["forwarded_model"]) == ("gpt-old", "gpt-4o-mini")


@pytest.mark.slow
async def test_a_member_that_a_policy_denies_is_skipped_and_the_kept_answer_told(gateway: Gateway) -> None:
    async with route(gateway, models={"gpt-4o": "claude"}) as backup:
        gateway.upstream.handler = answer(ERROR, 500)
        reply = await ask(gateway)
        assert (reply.status, reply.json, backup.seen) == (500, ERROR, [])
        (one, _), (two, ended) = await pairs(gateway)
        assert reply.headers["x-decision-id"] == one["id"]
        assert (two["allow"], two["retry_of"], ended) == (False, one["id"], None)


@pytest.mark.slow
async def test_if_every_member_is_denied_the_client_gets_the_first_denial(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        reply = await ask(gateway, "gpt-secret")
        assert (reply.status, reply.code) == (403, "policy_denied")
        (one, _), (two, _) = await pairs(gateway)
        assert reply.headers["x-decision-id"] == one["id"]
        assert (two["attempt"], backup.seen, gateway.upstream.seen) == (2, [], [])


@pytest.mark.slow
async def test_what_one_member_may_not_another_may(gateway: Gateway) -> None:
    async with route(gateway, models={"other": "gpt-4o"}) as backup:
        reply = await ask(gateway, "other")
        assert (reply.status, len(backup.seen), gateway.upstream.seen) == (200, 1, [])
        (one, _), (two, _) = await pairs(gateway)
        assert (one["allow"], two["allow"], two["model"]) == (False, True, "other")


# --- state at a provider ----------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_state_stays_where_it_was_made(gateway: Gateway) -> None:
    async with route(gateway) as backup:
        remove_upstream(gateway.registry, actor=ACTOR, organization=ORG, name="openai")
        done = {**RESPONSE, "id": "resp_1"}
        backup.handler = answer(done)
        asked = {"model": "gpt-4o", "input": "hi"}
        path = "/chat/v1/responses"
        assert (await gateway.send(gateway.request(asked, path=path))).status == 200
        # Now another upstream comes first in the route.
        add(gateway, "openai", gateway.upstream.port)
        members = [NewMember("openai", 1, 1), NewMember("backup", 1, 2)]
        upstream_routes.set_route(gateway.registry, actor=ACTOR, organization=ORG, name="chat", members=members)
        backup.handler = answer(ERROR, 500)
        reply = await gateway.send(gateway.request({**asked, "previous_response_id": "resp_1"}, path=path))
        assert (reply.status, gateway.upstream.seen) == (500, [])
        # A call that would be stored goes to the first one and nowhere else.
        gateway.upstream.handler = answer(ERROR, 500)
        before = len(backup.seen)
        assert (await gateway.send(gateway.request(asked, path=path))).status == 500
        assert (len(gateway.upstream.seen), len(backup.seen)) == (1, before)
        # A call that is not stored may go anywhere.
        backup.handler = answer(done)
        assert (await gateway.send(gateway.request({**asked, "store": False}, path=path))).status == 200


RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "status": "completed",
    "model": "gpt-4o",
    "output": [],
    "usage": {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
}


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_refused_connection_is_tried_again_for_every_call(start: Start) -> None:
    gateway = await start(upstream_retries=2)
    await gateway.upstream.stop()
    reply = await gateway.chat(user="x" * 100_000)
    assert (reply.status, reply.code) == (502, "upstream_error")
    found = await pairs(gateway)
    assert [entry.get("attempt", 1) for entry, _ in found] == [1, 2, 3]
    assert [entry.get("retry_of") for entry, _ in found] == [None, found[0][0]["id"], found[0][0]["id"]]
    assert [end and end["status"] for _, end in found] == [None, None, 502]
    assert reply.headers["x-decision-id"] == found[2][0]["id"]


@pytest.mark.slow
@pytest.mark.parametrize("failing", [reset, hang], ids=["reset", "hang"])
@pytest.mark.parametrize(
    ("body", "lines", "times"),
    [
        (chat(), (), 1),
        (chat(), ("Idempotency-Key: k1",), 2),
        (chat(user="x" * 100_000), ("Idempotency-Key: k1",), 2),
        (None, (), 2),
    ],
    ids=["post", "keyed", "large", "get"],
)
async def test_only_what_may_be_sent_twice_is(
    start: Start, failing: Handler, body: dict[str, Any] | None, lines: tuple[str, ...], times: int
) -> None:
    gateway = await start(upstream_retries=1, upstream_first_byte_timeout=first_byte(failing))
    good = answer({"object": "list", "data": []}) if body is None else answer(COMPLETION)
    gateway.upstream.handler = first(failing, good)
    reply = await gateway.send(gateway.request(body, *lines))
    assert (reply.status == 200) == (times == 2)
    assert len(gateway.upstream.seen) == times
    assert len({seen.body for seen in gateway.upstream.seen}) == 1
    if body is not None or failing is hang:  # otherwise the client library sends it again by itself
        assert len(await pairs(gateway)) == times


@pytest.mark.slow
async def test_an_error_of_the_provider_is_not_retried(start: Start) -> None:
    gateway = await start(upstream_retries=2)
    gateway.upstream.handler = answer(ERROR, 500)
    assert (await gateway.chat("gpt-4o", "Idempotency-Key: k1")).status == 500
    assert len(gateway.upstream.seen) == 1


@pytest.mark.slow
async def test_retries_stay_within_the_total_time(start: Start) -> None:
    gateway = await start(upstream_retries=10, upstream_first_byte_timeout=0.4, upstream_total_timeout=1.2)
    gateway.upstream.handler = hang
    reply = await gateway.chat("gpt-4o", "Idempotency-Key: k1")
    assert (reply.status, reply.code) == (504, "upstream_timeout")
    found = await pairs(gateway)
    assert len(found) < 6
    assert found[-1][1] is not None


# --- timeouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("handler", "changed", "which"),
    [
        (hang, {"upstream_first_byte_timeout": 0.3}, "first_byte"),
        (stream(HELLO, 3.0, DONE), {"upstream_idle_timeout": 0.3}, "idle"),
        (stream(HELLO, *[0.05] * 60, DONE), {"upstream_total_timeout": 0.4}, "total"),
    ],
    ids=["first_byte", "idle", "total"],
)
async def test_the_record_says_which_time_was_up(
    start: Start, handler: Handler, changed: dict[str, float], which: str
) -> None:
    gateway = await start(**changed)
    gateway.upstream.handler = handler
    await gateway.chat(stream=True)
    ((_, ended),) = await pairs(gateway)
    assert ended is not None
    assert (ended["outcome"], ended["timeout"]) == ("upstream_timeout", which)


# --- the breaker ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_an_open_breaker_sends_nothing_and_says_when_to_come_back(start: Start) -> None:
    gateway = await start(breaker_failures=3, breaker_pause=4.0)
    gateway.upstream.handler = answer(ERROR, 500)
    for _ in range(3):
        assert (await gateway.chat()).status == 500
    reply = await gateway.chat()
    assert (reply.status, reply.code) == (502, "upstream_error")
    assert 1 <= int(reply.headers["retry-after"]) <= 4
    assert reply.headers["x-should-retry"] == "true"
    assert "in a row have failed" in reply.json["error"]["message"]
    assert len(gateway.upstream.seen) == 3
    *_, (last, ended) = await pairs(gateway)
    assert ended is not None
    assert (last["allow"], ended["outcome"], ended["status"]) == (True, "circuit_open", 502)
    assert (await gateway.chat("gpt-secret")).status == 403, "a policy's denial comes before"
    await until(lambda: contacts.open_breakers(gateway.data.runtime_db))
    ((upstream, (one,)),) = contacts.open_breakers(gateway.data.runtime_db).items()
    assert (upstream[:4], one.worker, one.failures) == ("ups_", "boot_test", 3)

    gateway.upstream.handler = answer(COMPLETION)
    await asyncio.sleep(4.1)
    assert (await gateway.chat()).status == 200
    await until(lambda: not contacts.open_breakers(gateway.data.runtime_db))


@pytest.mark.slow
async def test_a_member_whose_breaker_is_open_is_passed_over(start: Start) -> None:
    gateway = await start(breaker_failures=2, breaker_pause=60.0)
    async with route(gateway) as backup:
        gateway.upstream.handler = answer(ERROR, 500)
        for _ in range(5):
            assert (await ask(gateway)).status == 200
        assert (len(gateway.upstream.seen), len(backup.seen)) == (2, 5)
        found = await pairs(gateway)
        assert len(found) == 7
        assert "attempt" not in found[-1][0]


# --- admission --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_beyond_the_cap_requests_are_refused_at_once_and_the_others_served(start: Start) -> None:
    gateway = await start(max_requests=40)
    go = asyncio.Event()

    async def wait(seen: Seen, writer: asyncio.StreamWriter) -> None:
        await go.wait()
        await answer(COMPLETION)(seen, writer)

    gateway.upstream.handler = wait
    running = [asyncio.create_task(gateway.chat()) for _ in range(20)]
    await until(lambda: len(gateway.upstream.seen) == 20)
    refused = await asyncio.gather(*(gateway.chat() for _ in range(20)))
    assert {(each.status, each.code) for each in refused} == {(503, "overloaded")}
    assert {each.headers["retry-after"] for each in refused} == {"1"}
    assert not any(each.done() for each in running), "no refused one has waited for them"
    go.set()
    assert {each.status for each in await asyncio.gather(*running)} == {200}
    assert (await gateway.chat()).status == 200
    assert len(await pairs(gateway)) == 21


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_default_route_takes_the_place_of_the_default_upstream(gateway: Gateway) -> None:
    async with route(gateway, "backup", "openai") as backup:
        assert (await gateway.chat()).status == 200
        assert len(gateway.upstream.seen) == 1
        members = [NewMember("backup", 1, 1)]
        upstream_routes.set_route(
            gateway.registry, actor=ACTOR, organization=ORG, name="chat", members=members, default=True
        )
        assert (await gateway.chat()).status == 200
        assert (len(gateway.upstream.seen), len(backup.seen)) == (1, 1)
        assert (await gateway.send(gateway.request(chat(), path="/openai/v1/chat/completions"))).status == 200
        assert len(gateway.upstream.seen) == 2
        unknown = await gateway.send(gateway.request(chat(), path="/chat/v1/nothing"))
        assert unknown.status == 404
        remove_upstream(gateway.registry, actor=ACTOR, organization=ORG, name="backup")
        assert "has no upstream left" in orjson.dumps((await ask(gateway)).json).decode()


@pytest.mark.slow
async def test_azure_takes_the_place_of_openai(gateway: Gateway) -> None:
    azure = Upstream()
    add(gateway, "azure", await azure.start(), "azure")
    members = [NewMember("openai", 1, 1), NewMember("azure", 1, 2, {"gpt-4o": "gpt-4o-prod"})]
    upstream_routes.set_route(gateway.registry, actor=ACTOR, organization=ORG, name="chat", members=members)
    gateway.upstream.handler = answer(ERROR, 500)
    assert (await ask(gateway)).status == 200
    assert azure.seen[0].head.startswith(b"POST /openai/v1/chat/completions HTTP/1.1")
    assert azure.seen[0].json["model"] == "gpt-4o-prod"
    assert azure.seen[0].headers["api-key"] == "sk-of-azure"
    await azure.stop()
