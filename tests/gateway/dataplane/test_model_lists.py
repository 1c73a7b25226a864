"""A provider's list of models has those that the agent may use, as the policies say that judge its calls."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from gateway.shares import Holder
from tests.gateway.dataplane.conftest import Gateway, answer
from tests.rigs.dataplane.obligations import put_into_force

# With spaces, as `json.dumps` writes it: whatever is written anew looks otherwise.
LISTED = (
    b'{"object": "list", "data": [{"id": "gpt-4o"}, {"id": "o3"}, {"id": "text-embedding-3"}, {"id": "whisper-1"}]}'
)
EVERY = ["gpt-4o", "o3", "text-embedding-3", "whisper-1"]
LIST = 'package bot.authz\n\nallow if input.action == "models.list"\n'


async def listed(gateway: Gateway, body: bytes = LISTED) -> list[str]:
    gateway.upstream.handler = answer(body)
    reply = await gateway.send(gateway.request(None))
    assert reply.status == 200
    assert reply.headers.get("content-length") in (None, str(len(reply.body)))
    return [each["id"] for each in reply.json["data"]]


@pytest.mark.parametrize(
    ("rules", "shown"),
    [
        ('allow if input.resource.model == "gpt-4o"', ["gpt-4o"]),
        ('allow if { input.action == "embeddings"; startswith(input.resource.model, "text-") }', ["text-embedding-3"]),
        (
            'allow if input.resource.model != "x"\n\ndeny contains "no" if input.resource.model == "o3"',
            ["gpt-4o", "text-embedding-3", "whisper-1"],
        ),
        ('allow if every m in input.resource.models { m in {"o3", "gpt-4o"} }', ["gpt-4o", "o3"]),
        # A model that only its upload is allowed for, and one that nobody has heard of.
        ('allow if { input.action == "files.create"; input.resource.model == "o3" }', EVERY),
        # The model does not matter.
        ('allow if input.action == "chat.completions"', EVERY),
        # No simplest call is allowed: that is not because of the model.
        ('allow if { input.resource.model == "o3"; "abc" in input.request.system_prompts }', EVERY),
    ],
)
async def test_what_is_listed(gateway: Gateway, rules: str, shown: list[str]) -> None:
    put_into_force(gateway, f"{LIST}\n{rules}\n")
    assert await listed(gateway) == shown
    [decided] = await gateway.entries("decided")
    [completed] = await gateway.entries("completed")
    assert (decided["action"], completed["outcome"], completed["response_bytes"]) == (
        "models.list",
        "ok",
        len(LISTED),
    )


async def test_lists_are_judged_in_turn_with_other_long_judgements(gateway: Gateway) -> None:
    """Each takes up to a second of the interpreter, so one at a time does."""
    put_into_force(gateway, f'{LIST}\nallow if input.resource.model == "gpt-4o"\n')
    turns, other = gateway.plane._judgements.turns, Holder("agent", "another")
    turns.take(other)
    asking = asyncio.create_task(listed(gateway))
    while not turns._waiting:
        assert not asking.done()
        await asyncio.sleep(0.01)
    turns.give_back(other)
    assert await asking == ["gpt-4o"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [
        LISTED,
        b'["o3"]',
        b"<html>o3</html>",
        b'{"data": 7}',
        b'{"object": "list"}',
        b"",
        b'{"data": []}',
        b'{"data": [{"name": "a server that says name"}, 7, {"id": null}]}',
    ],
)
async def test_what_needs_no_change_stays_as_it_came(gateway: Gateway, body: bytes) -> None:
    put_into_force(gateway, f'{LIST}\nallow if input.resource.model != "x"\n')
    gateway.upstream.handler = answer(body)
    reply = await gateway.send(gateway.request(None))
    assert (reply.status, reply.complete) == (200, True)
    assert reply.body == body
    [completed] = await gateway.entries("completed")
    assert completed["outcome"] == "ok"


@pytest.mark.slow
async def test_what_has_no_name_stays(gateway: Gateway) -> None:
    put_into_force(gateway, f'{LIST}\nallow if input.resource.model == "gpt-4o"\n')
    gateway.upstream.handler = answer({"data": [{"id": "o3"}, {"name": "x"}, {"id": "gpt-4o"}]})
    assert (await gateway.send(gateway.request(None))).json == {"data": [{"name": "x"}, {"id": "gpt-4o"}]}


@pytest.mark.slow
async def test_policies_see_what_the_agent_has_used(gateway: Gateway) -> None:
    put_into_force(gateway, f'{LIST}\nallow if {{ input.resource.model == "o3"; input.usage.requests.day >= 0 }}\n')
    assert await listed(gateway) == ["o3"]


@pytest.mark.slow
async def test_others_do_not_wait_for_a_long_list(gateway: Gateway) -> None:
    """Thousands of models are asked about beside the event loop, for about a second at most; the rest stays."""
    put_into_force(gateway, f'{LIST}\nallow if input.resource.model == "gpt-4o"\n')
    many = [*({"id": f"model-{number}"} for number in range(20_000)), {"id": "gpt-4o"}]
    began = time.monotonic()
    asking = asyncio.create_task(listed(gateway, orjson.dumps({"data": many})))
    longest = 0.0
    while not asking.done():
        before = time.monotonic()
        await asyncio.sleep(0.005)
        longest = max(longest, time.monotonic() - before)
    assert len(await asking) in (1, len(many))
    assert time.monotonic() - began < 10
    assert longest < 0.5, "the event loop was held up"


@pytest.mark.slow
async def test_names_of_gemini(gateway: Gateway) -> None:
    put_into_force(
        gateway, f'{LIST}\nallow if {{ input.action == "chat.completions"; input.resource.model == "g-2" }}\n'
    )
    body: dict[str, Any] = {"models": [{"name": "models/g-1"}, {"name": "models/g-2"}], "nextPageToken": "x"}
    gateway.upstream.handler = answer(body)
    reply = await gateway.send(gateway.request(None))
    assert reply.json == {"models": [{"name": "models/g-2"}], "nextPageToken": "x"}
