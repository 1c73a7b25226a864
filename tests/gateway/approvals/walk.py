"""Random steps on approvals against a model: `python -m tests.gateway.approvals.walk --steps 10000 --seed 1`.

The command runs a gateway as its users do, with two workers that it kills now and then; `test_walk.py` takes some
hundred steps in one process. Each step asks, reviews, revokes, lets time pass, changes the bundle, or sends the same
call many times at once. The model knows what each answer must be, and how often each call may have run at most.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.approvals import reviews
from gateway.approvals.reviewers import Reviewer
from gateway.audit import grants, signer, verify
from gateway.audit.log_files import opened_log
from gateway.audit.report import Report
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.errors import ConflictError
from gateway.registry import outbox
from gateway.registry.database import Registry
from tests.gateway.dataplane.conftest import Upstream, read_reply

ORG = "default"
CALLS = 8
REVIEWER = Reviewer("local:7", "local:7", "local:7")
DEMANDS = ("it is big", "it is big and dear")
POLICY = """\
package bot.authz

default allow := false

allow if startswith(input.resource.model, "gpt-")

require_approval contains {"reason": "REASON"}
"""


@dataclass
class World:
    """A gateway that runs, and how to reach into it."""

    data: DataDirectory
    registry: Registry
    writer: AuditWriter
    upstream: Upstream
    send: Callable[[str], Awaitable[int]]
    """Send the call with this user; the status, or 0 if the connection was lost."""
    demand: Callable[[str], Awaitable[None]]
    """Put a bundle into force that demands an approval for this reason."""
    kill: Callable[[], Awaitable[None]] | None = None

    def ran(self) -> Counter[str]:
        """How often each call has reached the provider."""
        return Counter(str(each.json["user"]) for each in self.upstream.seen if each.body)

    async def act(self, work: Callable[..., Any], request: str, *more: Any) -> bool:
        def do() -> bool:
            try:
                work(self.registry, REVIEWER, ORG, request, *more)
            except ConflictError:
                return False
            outbox.drain(self.registry, self.writer)
            return True

        return await asyncio.to_thread(do)

    def requests(self) -> dict[str, str]:
        """All requests by id, with their states as they are stored."""
        with self.registry.read() as session:
            rows = session.connection().exec_driver_sql("SELECT id, state FROM approval_request")
            return {each.id: each.state for each in rows}

    def pass_time(self, request: str) -> None:
        """Let the time of a request that waits be over."""
        with self.registry.write() as session:
            statement = "UPDATE approval_request SET expires_ns = 1 WHERE id = ? AND state IN ('waiting', 'denied')"
            session.connection().exec_driver_sql(statement, (request,))

    def used(self) -> set[str]:
        """The requests that were used, according to the log."""
        with opened_log(self.data) as log:
            found = log.execute("SELECT event_id FROM entry WHERE event_id LIKE 'use_%'").fetchall()
        return {grants.PREFIX + each.removeprefix("use_") for (each,) in found}

    def verified(self) -> Report:
        return verify.verify(self.data.audit_db, signer.load_verifier(signer.public_key_path(self.data)))


@dataclass
class Model:
    """What must be true: the state of each call under each demand, and what was approved in all."""

    world: World
    draw: random.Random
    demand: int = 0
    # By call and demand: the state and the id of its request.
    standing: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    granted: Counter[str] = field(default_factory=Counter)
    known: set[str] = field(default_factory=set)
    steps: Counter[str] = field(default_factory=Counter)

    async def step(self) -> None:
        kinds = ["ask"] * 6 + ["approve"] * 4 + ["deny", "revoke", "expire", "crowd", "crowd"]
        kind = self.draw.choice(kinds)
        if self.draw.random() < 0.02:
            kind = "bundle"
        if self.world.kill is not None and self.draw.random() < 0.01:
            kind = "kill"
        self.steps[kind] += 1
        await getattr(self, f"_{kind}")(self.draw.randrange(CALLS))

    def _state(self, call: int) -> tuple[str, str]:
        return self.standing.get((call, self.demand), ("", ""))

    async def _ask(self, call: int) -> None:
        state, request = self._state(call)
        status = await self.world.send(f"call-{call}")
        assert status == (200 if state == "approved" else 403), (state, status)
        if state == "approved":
            del self.standing[call, self.demand]
            assert request in self.world.used()
        elif not state:
            (new,) = self.world.requests().keys() - self.known
            self._stands(call, "waiting", new)
        else:
            assert self.world.requests().keys() == self.known

    async def _approve(self, call: int) -> None:
        state, request = self._state(call)
        if request:
            done = await self.world.act(reviews.approve, request)
            assert done == (state == "waiting"), (state, done)
            if done:
                self.granted[f"call-{call}"] += 1
                self._stands(call, "approved", request)

    async def _deny(self, call: int) -> None:
        state, request = self._state(call)
        if request:
            done = await self.world.act(reviews.deny, request, "no")
            assert done == (state == "waiting")
            if done:
                self._stands(call, "denied", request)

    async def _revoke(self, call: int) -> None:
        state, request = self._state(call)
        if request:
            done = await self.world.act(reviews.revoke, request)
            assert done == (state == "approved")
            if done:
                self.granted[f"call-{call}"] -= 1
                del self.standing[call, self.demand]

    async def _expire(self, call: int) -> None:
        state, request = self._state(call)
        if state in ("waiting", "denied"):
            await asyncio.to_thread(self.world.pass_time, request)
            del self.standing[call, self.demand]

    async def _bundle(self, _call: int) -> None:
        self.demand = 1 - self.demand
        await self.world.demand(DEMANDS[self.demand])

    async def _crowd(self, call: int) -> None:
        """The same call many times at once: one runs if it is approved, and none otherwise."""
        state, _ = self._state(call)
        found = Counter(await asyncio.gather(*(self.world.send(f"call-{call}") for _ in range(12))))
        assert found[200] == (state == "approved"), (state, found)
        assert found[200] + found[403] == 12, found
        await self._look(call)

    async def _kill(self, call: int) -> None:
        """A worker dies while calls come in. They run once at most, and what was told of is still there."""
        assert self.world.kill is not None
        calls = [asyncio.ensure_future(self.world.send(f"call-{call}")) for _ in range(12)]
        await asyncio.sleep(self.draw.uniform(0, 0.05))
        await self.world.kill()
        assert Counter(await asyncio.gather(*calls))[200] <= 1
        await self._look(call)

    async def _look(self, call: int) -> None:
        """Take over what several at once have left of a call: an approval that is used, and one request that waits."""
        state, request = self._state(call)
        if state == "approved" and request in self.world.used():
            del self.standing[call, self.demand]
        if new := self.world.requests().keys() - self.known:
            (only,) = new  # however many have asked
            self._stands(call, "waiting", only)

    def _stands(self, call: int, state: str, request: str) -> None:
        self.standing[call, self.demand] = state, request
        self.known.add(request)

    def check(self) -> None:
        """Nothing ran without an approval or twice, nothing is lost, and the log proves it."""
        for call, times in self.world.ran().items():
            assert times <= self.granted[call], (call, times, self.granted[call])
        found = self.world.requests()
        for state, request in self.standing.values():
            assert found[request] == state, (request, found[request], state)
        assert self.known == found.keys()
        assert self.world.verified().findings == []


async def walk(world: World, steps: int, seed: int, progress: Callable[[int], None] = lambda _: None) -> Model:
    model = Model(world, random.Random(seed))
    await world.demand(DEMANDS[0])
    for number in range(steps):
        await model.step()
        if number % 100 == 99:
            model.check()
            progress(number + 1)
    model.check()
    return model


async def hundred(world: World) -> None:
    """One approved call, sent by a hundred clients at once to all workers: it runs once."""
    before = world.requests().keys()
    assert await world.send("hundred") == 403
    (request,) = world.requests().keys() - before
    assert await world.act(reviews.approve, request)
    found = Counter(await asyncio.gather(*(world.send("hundred") for _ in range(100))))
    assert (found[200], found[403], world.ran()["hundred"]) == (1, 99, 1), found


async def _processes(steps: int, seed: int, directory: Path) -> Model:
    """The walk on a gateway of two workers, which die now and then."""
    from tests.gateway.dataplane.processes import Live, request, write_policy

    upstream = Upstream()
    port = await upstream.start()
    live = await asyncio.to_thread(Live, directory)
    try:
        url = f"http://127.0.0.1:{port}/v1"
        await asyncio.to_thread(live.run, "upstreams", "add", "seen", "--base-url", url, "--no-key")
        with (live.data / "gateway.toml").open("a") as file:
            file.write("approval_hold = 0\n")
        await asyncio.to_thread(live.start, "--workers", "2")

        async def send(user: str, path: str = "/seen/v1/") -> int:
            raw = request(live.key, "gpt-4o", user=user).replace(b" /v1/", f" {path}".encode(), 1)
            for _ in range(200):
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
                except OSError:  # between the death of a worker and its successor
                    await asyncio.sleep(0.05)
                    continue
                try:
                    writer.write(raw)
                    reply = await read_reply(reader)
                except (OSError, EOFError, asyncio.IncompleteReadError):
                    return 0
                finally:
                    writer.close()
                if reply.status == 503:
                    await asyncio.sleep(0.05)
                    continue
                return reply.status if reply.complete else 0
            raise AssertionError("nobody answers")

        def active() -> str:
            with registry.read() as session:
                query = "SELECT a.revision FROM activation_current c JOIN activation a ON a.id = c.activation_id"
                return str(session.connection().exec_driver_sql(query).scalar())

        async def demand(reason: str) -> None:
            before = active()
            write_policy(live.data / "policies", POLICY.replace("REASON", reason))
            while active() == before:  # noqa: ASYNC110  # another process changes it
                await asyncio.sleep(0.05)

        async def kill() -> None:
            killed = live.children()[:1]
            for worker in killed:
                os.kill(worker, signal.SIGKILL)
            # One that is dead and not noticed yet counts as a child, and connections still come to its socket.
            await asyncio.to_thread(live.wait, lambda: len({*live.children()} - {*killed}) == 2)

        data = DataDirectory(live.data)
        with closing(Registry.open(data)) as registry:
            with registry.read() as session:
                deployment = session.connection().exec_driver_sql("SELECT name FROM deployment").scalar()
            with closing(AuditWriter(data, boot="boot_walk", deployment=str(deployment))) as writer:
                world = World(data, registry, writer, upstream, send, demand, kill)
                model = await walk(world, steps, seed, lambda done: print(f"{done} steps", flush=True))
                await hundred(world)
        await asyncio.to_thread(live.stop)
        await asyncio.to_thread(live.check_log)
        return model
    finally:
        await asyncio.to_thread(live.close)
        await upstream.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.approvals.walk", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="approvals-") as directory:
        model = asyncio.run(_processes(options.steps, options.seed, Path(directory)))
    ran = sum(model.world.ran().values())
    print(f"{options.steps} steps: {dict(model.steps)}; {model.granted.total()} approvals stood, {ran} calls ran")
    return 0


if __name__ == "__main__":
    sys.exit(main())
