"""Signed requests against real processes, two workers: what one has let in, the other does not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing

import pytest

from gateway.data_directory import DataDirectory
from gateway.identity import public_keys
from gateway.identity.message_signatures import thumbprint
from gateway.registry.database import Registry
from gateway.registry.keys.public_keys import add_public_key
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.corpus.drafts import Private, draft

from .conftest import read_reply
from .processes import Live

pytestmark = pytest.mark.slow

ROUNDS, COPIES = 20, 12


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("signed"))
    try:
        found.start("--workers", "2")
        yield found
        found.stop()
        found.check_log()
    finally:
        found.close()


def new_key(live: Live) -> tuple[Private, str]:
    key = public_keys.generate("ed25519")
    with closing(Registry(DataDirectory(live.data).registry_db)) as registry:
        add_public_key(registry, key.public_key(), actor=ACTOR, organization=ORG, agent="bot")
    return key, thumbprint(key.public_key())


async def ask(live: Live, sent: bytes) -> int:
    """Each on a connection of its own: the kernel spreads them over the workers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    writer.write(sent)
    reply = await read_reply(reader)
    writer.close()
    return reply.status


def test_one_signature_opens_one_worker_once(live: Live) -> None:
    key = new_key(live)

    async def test() -> None:
        for _ in range(ROUNDS):
            sent = draft(key).sent()
            together = await asyncio.gather(*(ask(live, sent) for _ in range(COPIES)))
            assert sorted(together) == [200] + [401] * (COPIES - 1)
            # Later ones reach both workers, and neither knows them from its own memory alone.
            assert {await ask(live, sent) for _ in range(COPIES)} == {401}

    asyncio.run(test())
    assert len(live.children("data")) == 2


async def test_bad_signatures_over_the_wire(live: Live) -> None:
    key = new_key(live)
    good = draft(key)
    name = re.escape(key[1]).encode()
    cases = {
        "another body": good.sent()[:-2] + b" }",
        "another path": good.sent().replace(b"/v1/chat/completions HTTP", b"/v1/embeddings HTTP"),
        "another host": good.sent(Host="evil.example"),
        "another key's name": re.sub(name, b"A" * 43, good.sent()),
        "expired": draft(key, created="1700000000", expires="1700000060").sent(),
        "two signatures": draft(key, more=["Signature: sig=:AAAA:"]).sent(),
        "a key as well": draft(key, more=[f"x-api-key: {live.key}"]).sent(),
        "no digest": draft(key, without=("Content-Digest",)).sent(),
    }
    for note, sent in cases.items():
        assert [await ask(live, sent) in (400, 401) for _ in range(4)] == [True] * 4, note
    assert await ask(live, draft(key).sent()) == 200
