"""A gateway of two workers under load, and subjects whose authority is taken away while they use it.

A round makes one subject of every kind, each with running streams and with clients that ask short calls one after the
other. Then the subjects are restricted one by one, by another process than the workers: this one. Only what the
clients see counts: the answers to requests that they sent after the restricting call had returned, and how each stream
ended. Beside all of them a bystander's streams and calls must go on as if nothing had happened.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.intents import closing_id
from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Peppers
from gateway.registry import emergency_stops
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.organizations.changes import create_organization, revoke_organization, revoke_team
from gateway.registry.policies.bindings import bind
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.processes import POLICY, Live, request, write_policy
from tests.gateway.revocation.upstream import Upstream

ACTOR = "local:0"
STREAMS = 4
CALLERS = 2
AFTERWARDS = 5  # calls that each caller makes after it was refused for the first time
PAUSE = 0.005
KINDS = ("key", "agent", "team", "organization", "stop")
WAIT = 240.0


@dataclass
class Subject:
    """The restriction of a round, and the answer that its next request must get."""

    kind: str
    key: str
    restrict: Callable[[], object]
    status: int
    code: str


@dataclass
class Stream:
    """One stream: its status, its decision, when it ended, and its last event."""

    status: int
    decision: str
    ended: float = 0.0
    last: bytes = b""


@dataclass
class Findings:
    """The findings of a run, by kinds. Seconds are from the return of the restricting call to a stream's end."""

    restricted: dict[str, int] = field(default_factory=dict)
    admitted: dict[str, int] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    cut: dict[str, list[float]] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)


class Rig(Live):
    """`Live` with two workers and that upstream; the registry is open here too."""

    def __init__(self, directory: Path, upstream: Upstream) -> None:  # not that of `Live`: another provider
        self.directory, self.data = directory, directory / ".gateway"
        self.upstream = upstream
        self.up = None
        self.base_url = ""
        self._numbers = iter(range(10**9))
        self.key = orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]
        with (self.data / "gateway.toml").open("a") as file:
            file.write("workers = 2\npolicy_deadline_ms = 1000\n")
        write_policy(self.data / "policies", POLICY)
        self.run("upstreams", "add", "endless", "--base-url", upstream.base_url, "--no-key", "--default")
        self.start()
        data = DataDirectory(self.data)
        self.registry = Registry.open(data)
        self._peppers, self._vault = Peppers.load(data.keys), Vault.load(data.keys)

    def close(self) -> None:
        if hasattr(self, "registry"):
            self.registry.close()
        if self.up is not None:
            self.up.stop()

    def subject(self, kind: str) -> Subject:
        """A new subject that may do everything: an agent with a key, in a team, in an organization."""
        name = f"{kind}-{next(self._numbers)}"
        organization = "default"
        if kind in ("organization", "stop"):
            organization = name
            create_organization(self.registry, actor=ACTOR, name=name)
            add_upstream(
                self.registry,
                self._vault,
                actor=ACTOR,
                organization=name,
                name="endless",
                provider="openai",
                base_url=self.upstream.base_url,
                secret=None,
                default=True,
            )
        who: dict[str, Any] = {"actor": ACTOR, "organization": organization}
        agent = register_agent(self.registry, name=name, team=name, **who)
        bind(self.registry, kind="agent", subject=agent.id, bundle="starter", **who)
        key = create_key(self.registry, self._peppers, agent=agent.id, **who)
        revoked, suspended = (401, "bad_credentials"), (403, "agent_suspended")
        restrict, answer = {
            "key": (lambda: revoke_key(self.registry, key=key.record.id, **who), revoked),
            "agent": (lambda: revoke_agent(self.registry, agent=agent.id, **who), revoked),
            "team": (lambda: revoke_team(self.registry, team=name, **who), revoked),
            "organization": (lambda: revoke_organization(self.registry, **who), revoked),
            "stop": (lambda: emergency_stops.stop(self.registry, reason="drill", **who), suspended),
        }[kind]
        return Subject(kind, key.text, restrict, *answer)

    async def call(self, key: str) -> tuple[float, int, bytes]:
        """One short call on a connection of its own: when it was sent, its status, its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            sent = time.monotonic()
            writer.write(request(key))
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            return sent, int(head.split()[1]), await reader.readexactly(size)
        finally:
            writer.close()

    async def stream(self, key: str, begun: asyncio.Semaphore) -> Stream:
        """One stream to its end; `begun` is released when its first event has come."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request(key, stream=True))
            head = await reader.readuntil(b"\r\n\r\n")
            found = Stream(int(head.split()[1]), head.partition(b"x-decision-id: ")[2].partition(b"\r\n")[0].decode())
            try:
                tail = await reader.readuntil(b"data: ")
            except asyncio.IncompleteReadError as error:  # it was refused, which its status says
                tail = error.partial
            begun.release()
            while data := await reader.read(65536):
                tail = (tail + data)[-4096:]
                found.ended = time.monotonic()
            found.last = b"data: " + tail.rpartition(b"data: ")[2]
            return found
        finally:
            writer.close()

    async def outcomes(self, streams: list[Stream]) -> list[str]:
        """Their ends, as the log has them."""
        found = []
        for each in streams:
            rows = self.rows("SELECT leaf FROM entry WHERE event_id = ?", closing_id(each.decision))
            found.append(orjson.loads(rows[0][0])["outcome"] if rows else "none")
        return found


class Round:
    """One round with one subject of each kind."""

    def __init__(self, rig: Rig, findings: Findings, draw: random.Random) -> None:
        self._rig, self._findings, self._draw = rig, findings, draw
        self._returned: dict[str, float] = {}

    async def play(self, kinds: tuple[str, ...]) -> None:
        subjects = [await asyncio.to_thread(self._rig.subject, kind) for kind in kinds]
        begun = asyncio.Semaphore(0)
        streams = {
            each.kind: [asyncio.create_task(self._rig.stream(each.key, begun)) for _ in range(STREAMS)]
            for each in subjects
        }
        async with asyncio.timeout(WAIT):
            for _ in range(STREAMS * len(subjects)):
                await begun.acquire()
        callers = [asyncio.create_task(self._ask(each)) for each in subjects for _ in range(CALLERS)]
        await asyncio.sleep(self._draw.uniform(0.05, 0.2))
        for each in self._draw.sample(subjects, len(subjects)):
            self._returned[each.kind] = await asyncio.to_thread(_restrict, each)
            self._findings.restricted[each.kind] = self._findings.restricted.get(each.kind, 0) + 1
            await asyncio.sleep(self._draw.uniform(0, 0.1))
        async with asyncio.timeout(WAIT):
            await asyncio.gather(*callers)
            for each in subjects:
                await self._judge(each, await asyncio.gather(*streams[each.kind]))

    async def _ask(self, subject: Subject) -> None:
        """Ask one call after the other, also some times after the restriction."""
        asked: list[tuple[float, int, bytes]] = []
        left = AFTERWARDS
        while left:
            if subject.kind in self._returned:
                left -= 1
            asked.append(await self._rig.call(subject.key))
            await asyncio.sleep(PAUSE)
        returned = self._returned[subject.kind]
        for sent, status, body in asked:
            refused = status == subject.status and orjson.loads(body)["error"]["code"] == subject.code
            if status == 200 and sent > returned:
                self._count(self._findings.admitted, subject)
            elif refused and sent > returned:
                self._count(self._findings.refused, subject)
            elif not refused and status != 200:  # it may be refused before: the commit is earlier than the return
                self._findings.wrong.append(f"{subject.kind}: {status} {body!r}")

    async def _judge(self, subject: Subject, streams: list[Stream]) -> None:
        returned = self._returned[subject.kind]
        seconds = self._findings.cut.setdefault(subject.kind, [])
        seconds += [max(0.0, each.ended - returned) for each in streams]
        expected = f'"code":"{subject.code}"'.encode()
        for each, outcome in zip(streams, await self._rig.outcomes(streams), strict=True):
            if each.status != 200 or expected not in each.last or outcome != "revoked":
                self._findings.wrong.append(f"{subject.kind}: {each.status} {each.last!r} {outcome}")

    @staticmethod
    def _count(counted: dict[str, int], subject: Subject) -> None:
        counted[subject.kind] = counted.get(subject.kind, 0) + 1


class Bystander:
    """An agent that nobody restricts. It must be served, and anything else is wrong."""

    def __init__(self, rig: Rig, findings: Findings) -> None:
        self._rig, self._findings = rig, findings
        self.calls = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        begun = asyncio.Semaphore(0)
        streams = [asyncio.create_task(self._rig.stream(self._rig.key, begun)) for _ in range(STREAMS)]
        while not self._stop.is_set():
            _, status, body = await self._rig.call(self._rig.key)
            self.calls += 1
            if status != 200:
                self._findings.wrong.append(f"bystander: {status} {body!r}")
            await asyncio.sleep(4 * PAUSE)
        for each in streams:
            if each.done():
                self._findings.wrong.append(f"bystander: a stream has ended: {each}")
            each.cancel()
        await asyncio.gather(*streams, return_exceptions=True)

    def stop(self) -> None:
        self._stop.set()


async def run(
    rig: Rig, times: int, seed: int, kinds: tuple[str, ...] = KINDS, tell: Callable[[int], None] = lambda _number: None
) -> tuple[Findings, int]:
    """So many rounds; what they have found, and how many calls the bystander has made."""
    findings, draw = Findings(), random.Random(seed)
    bystander = Bystander(rig, findings)
    beside = asyncio.create_task(bystander.run())
    try:
        for number in range(1, times + 1):
            await Round(rig, findings, draw).play(kinds)
            tell(number)
    finally:
        bystander.stop()
        await beside
    return findings, bystander.calls


def _restrict(subject: Subject) -> float:
    """Take the authority away; returns when the call that does so has returned."""
    subject.restrict()
    return time.monotonic()
