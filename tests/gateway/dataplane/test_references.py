"""State at the provider: an agent may refer to what its own calls created, and to nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from gateway.call import Reference
from gateway.errors import Denied
from gateway.registry.agents.registration import register_agent
from gateway.registry.keys.changes import create_key
from gateway.registry.policies.bindings import bind
from gateway.runtime.references import References
from gateway.runtime.store import RuntimeStore
from tests.rigs.dataplane.requests import DONE, event

from .conftest import ACTOR, COMPLETION, ORG, Gateway, answer, stream

FILE, AUDIO = Reference("file", "file-1"), Reference("audio", "audio_1")


@pytest.fixture
def references(tmp_path: Path) -> Iterator[References]:
    with closing(RuntimeStore(tmp_path / "runtime.db")) as store:
        yield References(store)


def foreign(references: References, *asked: Any) -> tuple[Reference, ...]:
    return asyncio.run(references.foreign(*asked))


def test_only_what_an_agent_created_at_an_upstream_is_its_own(references: References) -> None:
    references.remember("acme", "ups_1", "agt_1", [FILE])
    assert foreign(references, "acme", "ups_1", "agt_1", [FILE, AUDIO]) == (AUDIO,)
    assert foreign(references, "acme", "ups_1", "agt_2", [FILE]) == (FILE,)
    assert foreign(references, "acme", "ups_2", "agt_1", [FILE]) == (FILE,)
    assert foreign(references, "other", "ups_1", "agt_1", [FILE]) == (FILE,)
    assert foreign(references, "acme", "ups_1", "agt_1", [Reference("audio", "file-1")])


def test_what_is_created_cannot_be_taken_over(references: References) -> None:
    references.remember("acme", "ups_1", "agt_1", [FILE])
    references.remember("acme", "ups_1", "agt_2", [FILE])
    assert foreign(references, "acme", "ups_1", "agt_1", [FILE]) == ()
    assert foreign(references, "acme", "ups_1", "agt_2", [FILE]) == (FILE,)


def test_another_worker_knows_it_at_once(references: References, tmp_path: Path) -> None:
    store = RuntimeStore(tmp_path / "runtime.db")
    other = References(store)
    assert foreign(other, "acme", "ups_1", "agt_1", [FILE]) == (FILE,)
    references.remember("acme", "ups_1", "agt_1", [FILE])
    assert foreign(other, "acme", "ups_1", "agt_1", [FILE]) == ()
    store.close()


def test_what_is_old_is_forgotten(references: References) -> None:
    """Rows were kept for ever, one or more for each call that stores something."""
    now = time.time_ns()
    many = [Reference("completion", f"chatcmpl-{number}") for number in range(2500)]
    references.remember("acme", "ups_1", "agt_1", [FILE, *many])
    day = 86_400 * 10**9
    assert references.forget_old(now + 29 * day) == 0
    references._store.run("UPDATE reference SET created_ns = created_ns - ? WHERE kind <> 'file'", (2 * day,))
    assert references.forget_old(now + 29 * day) == 2500
    assert foreign(references, "acme", "ups_1", "agt_1", [FILE, many[0]]) == (many[0],)


def test_what_providers_keep_until_it_is_deleted_is_never_forgotten(references: References) -> None:
    """An agent lost its files after 30 days."""
    lasting = [FILE, Reference("vector_store", "vs_1"), Reference("conversation", "conv_1")]
    references.remember("acme", "ups_1", "agt_1", [*lasting, AUDIO])
    assert references.forget_old(time.time_ns() + 400 * 86_400 * 10**9) == 1
    assert foreign(references, "acme", "ups_1", "agt_1", [*lasting, AUDIO]) == (AUDIO,)


def test_what_cannot_be_read_is_refused(references: References) -> None:
    references._store.run("DROP TABLE reference")
    with pytest.raises(Denied) as caught:
        foreign(references, "acme", "ups_1", "agt_1", [FILE])
    assert caught.value.code == "registry_unavailable"


# Through the data plane


def naming(identifier: str) -> dict[str, Any]:
    """A call that refers to the audio of an earlier answer."""
    earlier = {"role": "assistant", "audio": {"id": identifier}, "content": None}
    return {"model": "gpt-4o", "messages": [earlier, {"role": "user", "content": "go on"}]}


def spoken(identifier: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "audio": {"id": identifier, "data": "UklGRg==", "expires_at": 1}}
    return {**COMPLETION, "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}


@pytest.mark.parametrize("streaming", [False, True])
async def test_an_agent_may_go_on_from_its_own_answer(gateway: Gateway, streaming: bool) -> None:
    assert (await gateway.send(gateway.request(naming("audio_1")))).code == "foreign_reference"
    if streaming:
        chunk = event(choices=[{"index": 0, "delta": {"audio": {"id": "audio_1"}}}])
        gateway.upstream.handler = stream(event(choices=[]), chunk, DONE)
    else:
        gateway.upstream.handler = answer(spoken("audio_1"))
    assert (await gateway.chat(stream=streaming)).status == 200
    gateway.upstream.handler = answer(COMPLETION)
    assert (await gateway.send(gateway.request(naming("audio_1")))).status == 200
    refused = await gateway.send(gateway.request(naming("audio_2")))
    assert (refused.status, refused.code) == (403, "foreign_reference")
    completed = (await gateway.entries("completed"))[0]
    assert orjson.loads(completed["created_json"]) == [{"id": "audio_1", "kind": "audio"}]


async def test_it_is_nobody_elses(gateway: Gateway) -> None:
    gateway.upstream.handler = answer(spoken("audio_1"))
    assert (await gateway.chat()).status == 200
    key = await asyncio.to_thread(_another_agent, gateway)
    other = await gateway.send(gateway.request(naming("audio_1"), f"Authorization: Bearer {key}"))
    assert other.code == "foreign_reference"


def _another_agent(gateway: Gateway) -> str:
    agent = register_agent(gateway.registry, actor=ACTOR, organization=ORG, name="other")
    bind(gateway.registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    return create_key(gateway.registry, gateway.peppers, actor=ACTOR, organization=ORG, agent=agent.id).text


async def test_a_call_that_is_to_be_stored_is_on_record_with_its_id(gateway: Gateway) -> None:
    assert (await gateway.chat(store=True)).status == 200
    assert (await gateway.chat()).status == 200
    stored, plain = await gateway.entries("decided")
    assert (stored["stores"], "stores" in plain) == (True, False)
    first, second = await gateway.entries("completed")
    assert orjson.loads(first["created_json"]) == [{"id": "chatcmpl-1", "kind": "completion"}]
    assert "created_json" not in second
