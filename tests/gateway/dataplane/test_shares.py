"""For everything finite in a data worker: one greedy agent, organization or address, and the others notice nothing.

A row of `ROWS` is one attack on one thing, on a gateway of real processes. It must meet its end (some of what it asks
for is refused, or closed), and meanwhile every call of the others must be served. Work in turns is tested in
`test_load.py`, and the control plane's rows are in `tests/gateway/control/test_shares.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from typing import NamedTuple

import pytest

from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key
from gateway.registry.limits import usage_limits
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies.bindings import bind
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault

from .conftest import ACTOR, Reply, read_reply, until
from .processes import Live, request

# Real processes, which take their time.
pytestmark = pytest.mark.slow

GREEDY_ORGANIZATION, OTHER_ORGANIZATION = "acme", "globex"
AGENTS = 16
"""The greedy organization has so many: its share ends before those of its agents."""

SETTINGS = """
max_requests = 24
max_connections = 300
max_held_bytes = 16777216
max_spooled_bytes = 25165824
header_timeout = 300
body_timeout = 300
body_rate = 0
"""


@dataclass
class Scene:
    """The gateway, the keys of those who attack it, and those of the others."""

    live: Live
    greedy: list[str]
    limited: str
    same_organization: str
    other_organization: str
    # Kept open until the attack is over.
    held: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = field(default_factory=list)

    async def connect(self, address: str = "127.0.0.1") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.live.port, local_addr=(address, 0))

    async def hold(self, data: bytes) -> asyncio.Task[Reply | None]:
        """Send this on a connection of its own, which stays open; what is answered, None if it is closed instead."""
        reader, writer = await self.connect()
        self.held.append((reader, writer))
        writer.write(data)
        await writer.drain()

        async def answer() -> Reply | None:
            try:
                return await read_reply(reader)
            except (asyncio.IncompleteReadError, ConnectionError):
                return None

        return asyncio.create_task(answer())

    async def call(self, key: str, data: bytes = b"", address: str = "127.0.0.1") -> Reply:
        reader, writer = await self.connect(address)
        try:
            writer.write(data or request(key))
            return await read_reply(reader)
        finally:
            writer.close()

    def close(self) -> None:
        for _, writer in self.held:
            writer.close()
        self.held.clear()


def body(key: str, size: int) -> bytes:
    """A request with a body of this many bytes and a few."""
    return request(key, messages=[{"role": "user", "content": "x" * size}])


async def unfinished(scene: Scene, keys: list[str], *, count: int, size: int, refused: int) -> None:
    """Requests whose bodies lack their end, of which so many are refused, in words that name the share."""
    answers = [await scene.hold(body(keys[number % len(keys)], size)[:-10]) for number in range(count)]
    await until(lambda: sum(each.done() for each in answers) >= refused)
    for each in answers:
        if each.done() and (reply := each.result()) is not None:
            assert reply.status in (429, 503)
            assert any(text in reply.json["error"]["message"] for text in ("its whole share of", "still arriving"))


async def idle(scene: Scene, keys: list[str], *, count: int, closed: int) -> None:
    """Connections that nothing more comes on, after an answer if there are keys; so many of them are closed."""
    for number in range(count):
        reader, writer = await scene.connect()
        scene.held.append((reader, writer))
        if keys:
            writer.write(request(keys[number % len(keys)], "mock-words-1"))
            with suppress(asyncio.IncompleteReadError, ConnectionError):
                assert (await read_reply(reader)).status == 200
    await until(lambda: sum(reader.at_eof() for reader, _ in scene.held) >= closed)


async def half_a_token(scene: Scene) -> None:
    """Requests for tokens, whose credential may be in the body, which does not come."""
    data = b"POST /oauth/token HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\ngrant_type="
    answers = [await scene.hold(data) for _ in range(500)]
    await until(lambda: sum(each.done() for each in answers) >= 200)


async def failing(scene: Scene, keys: list[str]) -> None:
    """Calls that make the provider fail, until this agent is held back."""
    for _ in range(5):
        assert (await scene.call("", request(keys[0], "mock-status-500"))).status == 500
    assert (await scene.call(keys[0])).status == 502, "the breaker is open for it"


class Row(NamedTuple):
    """An attack on a thing, by one agent, one organization or one address."""

    thing: str
    by: str
    attack: Callable[[Scene], Awaitable[None]]


ROWS = (
    Row("requests", "agent", lambda s: unfinished(s, s.greedy[:1], count=30, size=100, refused=18)),
    Row("requests", "organization", lambda s: unfinished(s, s.greedy, count=48, size=100, refused=30)),
    Row("concurrent requests", "agent", lambda s: unfinished(s, [s.limited], count=12, size=100, refused=11)),
    Row("memory", "agent", lambda s: unfinished(s, s.greedy[:1], count=10, size=900_000, refused=5)),
    Row("memory", "organization", lambda s: unfinished(s, s.greedy, count=12, size=900_000, refused=5)),
    Row("disk", "agent", lambda s: unfinished(s, s.greedy[:1], count=11, size=2_000_000, refused=5)),
    Row("disk", "organization", lambda s: unfinished(s, s.greedy, count=16, size=2_000_000, refused=6)),
    Row("connections", "address", lambda s: idle(s, [], count=500, closed=200)),
    Row("connections, with half a request", "address", half_a_token),
    Row("connections", "agent", lambda s: idle(s, s.greedy[:1], count=400, closed=100)),
    Row("connections", "organization", lambda s: idle(s, s.greedy, count=400, closed=100)),
    Row("the breaker of an upstream", "agent", lambda s: failing(s, s.greedy)),
)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("live"))
    try:
        with (found.data / "gateway.toml").open("a") as file:
            file.write(SETTINGS)
        found.start()
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def scene(live: Live) -> Scene:
    return made(live)


def made(live: Live) -> Scene:
    """The two organizations, with their agents and keys, in a gateway that runs."""
    data = DataDirectory(live.data)
    provider = live.provider.line(r"base URL (\S+)")[1]
    with closing(Registry.open(data)) as registry:
        peppers, vault = Peppers.load(data.keys), Vault.load(data.keys)

        def agent(organization: str, name: str) -> str:
            made = register_agent(registry, actor=ACTOR, organization=organization, name=name)
            bind(registry, actor=ACTOR, organization=organization, kind="agent", subject=made.id, bundle="starter")
            return create_key(registry, peppers, actor=ACTOR, organization=organization, agent=made.id).text

        for name in (GREEDY_ORGANIZATION, OTHER_ORGANIZATION):
            create_organization(registry, actor=ACTOR, name=name)
            add_upstream(
                registry, vault, actor=ACTOR, organization=name, name="mock", provider="openai",
                base_url=provider, secret=None, default=True,
            )  # fmt: skip
        found = Scene(
            live,
            [agent(GREEDY_ORGANIZATION, f"greedy-{number}") for number in range(AGENTS)],
            agent(GREEDY_ORGANIZATION, "limited"),
            agent(GREEDY_ORGANIZATION, "near"),
            agent(OTHER_ORGANIZATION, "far"),
        )
        usage_limits.set_limit(
            registry, actor=ACTOR, organization=GREEDY_ORGANIZATION, kind="agent", subject="limited",
            name="concurrent_requests", value=1,
        )  # fmt: skip
    return found


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.thing}: one {row.by}" for row in ROWS])
def test_the_others_notice_nothing(scene: Scene, row: Row) -> None:
    asyncio.run(_row(scene, row))


async def _row(scene: Scene, row: Row) -> None:
    async with asyncio.timeout(200):
        try:
            await row.attack(scene)
            # Those behind the address of the greedy one as well, who may be behind the same proxy.
            others = [(scene.other_organization, "127.0.0.1"), (scene.other_organization, "127.0.0.2")]
            if row.by != "organization":
                others.append((scene.same_organization, "127.0.0.1"))
            for key, address in others:
                replies = [await scene.call(key, address=address) for _ in range(5)]
                replies.append(await scene.call(key, body(key, 300_000), address))
                replies.append(await scene.call(key, body(key, 1_200_000), address))
                assert [each.status for each in replies] == [200] * 7, (row, replies[-1].body)
        finally:
            scene.close()
        # All that was held is given back: nothing of this attack is in the way of the next one.
        while (await scene.call(scene.greedy[0], body(scene.greedy[0], 1_200_000))).status == 503:  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def test_refusals_by_a_share_are_on_record(scene: Scene) -> None:
    """They are in the log of their organization, with the share that was used up."""

    async def attack() -> None:
        await unfinished(scene, scene.greedy[:1], count=30, size=100, refused=18)
        scene.close()

    asyncio.run(attack())

    def details() -> set[object]:
        entries = scene.live.entries(GREEDY_ORGANIZATION)
        return {each.get("detail") for each in entries if each["kind"] == "refused" and each["reason"] == "overloaded"}

    scene.live.wait(lambda: "no more requests in progress: this agent has its whole share" in details())
    assert not [each for each in scene.live.entries(OTHER_ORGANIZATION) if each["kind"] == "refused"]
