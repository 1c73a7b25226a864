"""What may happen to a gateway while calls wait for people, as further steps of the walk (`walk.py`).

Processes are killed, the gateway is restarted, its clock jumps, agents and reviewers come and go, receivers of notices
fail, and clients wait on their connections.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from gateway.audit import grants
from gateway.webhooks import notices
from tests.gateway.approvals.batches import Batches
from tests.gateway.approvals.bundles import EXPIRES, LATER, OVER, Key, bundle
from tests.gateway.approvals.rig import REVIEWERS, Reply, Rig, wait_for
from tests.gateway.approvals.walk import CROWD, NO_ROOM, USERS, Asked, World, must, walk

_NEAR = 40  # seconds before a time is over in which nothing may be concluded about it


def world_of(rig: Rig) -> World:
    async def act(verb: str, apr: str, who: str, **terms: object) -> str:
        code = await rig.act(verb, apr, who, **terms)
        if verb == "approve" and not code:
            await rig.is_in_log(apr)
        return code

    async def look(request: str) -> str:
        for who in ("dora", *REVIEWERS):
            if found := await rig.look(who, request):
                return str(found["user"])
        raise AssertionError(f"nobody may see {request}")

    return World(rig.data, rig.registry, rig.upstream, rig.call, act, look, rig.put_in_force, rig.now)


@dataclass
class Mishaps(Batches):
    """The first reviewers stay, the last one comes and goes."""

    hired: int = 0
    noticed: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.kinds |= {"kill": 1, "kill_control": 1, "restart": 0.3, "crash": 0.3, "reviewer": 0.7, "receiver": 1}
        self.kinds |= {"suspend": 0.6, "rekey": 0.6, "retire": 0.4, "wait": 0.4}
        self.kinds |= {"batch": 4, "deny_all": 1}
        self.kinds |= {"firm": 1}
        if self.rig.faults is not None:
            self.kinds |= {"later": 1, "back": 0.5}

    async def step(self) -> None:
        await self._clear_edges()
        await super().step()

    # -- processes -----------------------------------------------------------------------------------------------------

    async def resolve(self, *keys: Key) -> None:
        """Take over what calls have left whose answers may be lost: uses according to the log, and new requests."""
        for each in {one.id: one for key in keys for one in self.approvals_of(key)}.values():
            self.used(each, self.world.used(each.id) - each.used)
        await self.take_new(*keys)

    async def _among_calls(self, mishap: object) -> None:
        """Something happens while the same call comes in many times. It runs as often as it may, at most."""
        key = self.key_in("approved")
        found = self.of(key)
        most = sum(each.uses - each.used for each in self.approvals_of(key))
        refusal = (403, grants.REASON) if self.has_room(key, found) else NO_ROOM
        before = self.answered.total()
        calls = [asyncio.ensure_future(self.send(key)) for _ in range(CROWD)]
        await asyncio.sleep(self.draw.uniform(0, 0.08))
        await mishap  # type: ignore[misc]
        for reply in await asyncio.gather(*calls):
            must(reply.status in (0, 200) or (reply.status, reply.code) == refusal, reply, found)
        must(self.answered.total() - before <= most, "ran", found)
        await self.resolve(key)

    async def _kill(self) -> None:
        async def kill() -> None:
            await self.rig.is_whole_again(self.rig.kill())

        await self._among_calls(kill())

    async def _restart(self) -> None:
        await self._among_calls(self.rig.restart(killed=False))

    async def _crash(self) -> None:
        await self._among_calls(self.rig.restart(killed=True))

    async def _kill_control(self) -> None:
        """The control process dies while somebody approves: that was done as a whole, or not at all."""
        open_ = [each for each in self.standing.values() if self.refusal(each, "dora") == ""]
        found = self.draw.choice(open_) if open_ else None
        doing = asyncio.ensure_future(self.rig.act("approve", found.id, "dora")) if found else None
        await asyncio.sleep(self.draw.uniform(0, 0.02))
        killed = self.rig.kill("control")
        if doing is None or found is None:
            await self.rig.is_whole_again(killed)
            return
        code = await doing
        await self.rig.is_whole_again(killed)
        must(code in ("", "lost"), code, found)
        is_done = any(
            each["actor"] != ""
            for each in (await self.rig.ask("dora", "GET", f"/approvals/{found.id}"))["reviews"]
            if each["name"] == "dora"
        )
        must(is_done or code == "lost", "a review is lost", found)
        if is_done:
            found.approved.add("dora")
            if self.world.states()[found.id] == "approved":
                self.approved(found)
                await self.rig.is_in_log(found.id)

    # -- time ----------------------------------------------------------------------------------------------------------

    def _edges(self) -> list[float]:
        found = [each.ends for each in self.standing.values()]
        late = [each for each in self.standing.values() if each.key.model == "gpt-late" and each.state == "waiting"]
        return found + [each.made + LATER for each in late if not each.escalated]

    async def _clear_edges(self) -> None:
        """Nothing is asked of the model in the moment in which a time is over."""
        if self.rig.faults is None:
            must(min(self._edges(), default=float("inf")) > self.rig.now() + _NEAR, "without jumps: too long a walk")
        while any(edge < self.rig.now() + _NEAR for edge in self._edges()):
            await self.pass_time(_NEAR + 5)

    async def pass_time(self, seconds: float) -> None:
        self.rig.jump(seconds)
        now = self.rig.now()
        gone = [each for each in self.standing.values() if each.ends < now - 3]
        widened = [
            each
            for each in self.standing.values()
            if each.key.model == "gpt-late" and each.state == "waiting" and not each.escalated
            and each.made + LATER < now - 3 and each not in gone
        ]  # fmt: skip
        for each in gone:
            self.over(each, "expired" if each.is_open else "denied")
        for each in widened:
            each.escalated = True
        await self.tended(gone)

        def written() -> bool:
            with self.rig.registry.read() as session:
                query = "SELECT id FROM approval_request WHERE escalated != '[]'"
                done = {row.id for row in session.connection().exec_driver_sql(query)}
            return {each.id for each in widened} <= done

        await wait_for(written)

    async def tended(self, settled: list[Asked]) -> None:
        """The control process has written down what is over."""

        def written() -> bool:
            states = self.world.states()
            return all(states[each.id] == each.state for each in settled)

        await wait_for(written)

    async def _later(self) -> None:
        await self.pass_time(self.draw.choice([LATER + 100, 4000, EXPIRES + 100]))

    async def _back(self) -> None:
        """A clock that is set back for more than a moment: nothing is recorded, so nothing runs."""
        seconds = self.draw.choice([2.0, 60.0, 3600.0])
        key = self.key()
        found = self.of(key)
        await self.rig.call("bot", "gpt-once", "u0", key="aig_sk_none")  # no worker is behind with its bundles
        self.rig.jump(-seconds)
        try:
            if seconds > 5:
                for _ in range(3):
                    reply = await self.rig.call(key.agent, key.model, key.user)
                    must((reply.status, reply.code) == (503, "audit_unavailable"), reply, found)
        finally:
            self.rig.jump(seconds)
        # A use could not be recorded, so there is none, but the request of a call may have been made before.
        await self.resolve(key)

    async def _firm(self) -> None:
        """An operator's limit has no room, and no approval goes over it. What was approved stays so."""
        agent = self.draw.choice(self.agents)
        limit = {"subject_kind": "agent", "subject": agent, "limit": "requests_per_hour", "value": 0}
        made = await self.rig.ask("owner", "POST", "/limits", limit)
        approved = [key for key, each in self.standing.items() if key.agent == agent and each.state == "approved"]
        for key in [*approved, *(self.call(agent, OVER, f"u{number}") for number in range(USERS))]:
            if key.demand == self.call(agent, key.model, key.user).demand:
                reply = await self.send(key)
                must((reply.status, reply.code) == NO_ROOM, reply, key, self.standing.get(key))
        removed = await self.rig.ask("owner", "DELETE", f"/limits/{made['id']}")
        must(removed.get("id") == made["id"], removed)

    # -- agents and people ---------------------------------------------------------------------------------------------

    def _ends(self, agent: str) -> list[Asked]:
        """The requests of an agent that are closed because it may not call any more."""
        found = [each for each in self.standing.values() if each.key.agent == agent and each.is_open]
        for each in found:
            self.over(each, "closed")
        return found

    async def _calls_refused(self, agent: str, status: int, key: str = "") -> None:
        users = [f"u{number}" for number in range(3)]
        for reply in await asyncio.gather(*(self.rig.call(agent, "gpt-once", each, key=key) for each in users)):
            must(reply.status == status, reply)

    async def _suspend(self) -> None:
        agent = self.draw.choice(self.agents)
        open_ = [each for each in self.standing.values() if each.key.agent == agent and each.state == "waiting"]
        await self.rig.ask("owner", "POST", f"/agents/{agent}/suspend", {})
        await self._calls_refused(agent, 403)
        if open_:
            must((code := await self.rig.act("approve", open_[0].id, "dora")) == "approval_settled", code)
        await self.tended(self._ends(agent))
        await self.rig.ask("owner", "POST", f"/agents/{agent}/resume", {})

    async def _rekey(self) -> None:
        """The key ends that has asked; the agent goes on with another one."""
        agent = self.draw.choice(self.agents)
        old, identifier = self.rig.keys[agent], self.rig.key_ids.get(agent)
        if identifier is None:  # the first agent's first key
            [made] = (await self.rig.ask("owner", "GET", f"/keys?agent={agent}"))["items"]
            identifier = made["id"]
        await self.rig.new_key(agent)
        await self.rig.ask("owner", "POST", f"/keys/{identifier}/revoke", {})
        await self._calls_refused(agent, 401, key=old)
        await self.tended(self._ends(agent))

    async def _retire(self) -> None:
        """An agent is revoked for good, and another one comes."""
        agent = self.draw.choice(self.agents[1:])
        await self.rig.ask("owner", "POST", f"/agents/{agent}/revoke", {})
        await self._calls_refused(agent, 401)
        await self.tended(self._ends(agent))
        for key in [key for key in self.standing if key.agent == agent]:
            del self.standing[key]
        self.hired += 1
        self.agents[self.agents.index(agent)] = new = f"agent-{self.hired}"
        await self.rig.register(new)

    async def _reviewer(self) -> None:
        """A reviewer is removed, whose approvals of what still waits do not count any more, and another one comes."""
        gone = self.reviewers[-1]
        await self.rig.ask("owner", "POST", f"/operators/{gone}/revoke", {})
        await self.rig.ask(gone, "GET", "/me")
        self.hired += 1
        self.reviewers[-1] = new = f"person-{self.hired}"
        await self.rig.hire(new)

    # -- notices -------------------------------------------------------------------------------------------------------

    async def _receiver(self) -> None:
        """One receiver changes how it answers; the other one takes everything."""
        self.rig.receivers[1].answer = self.draw.choice([204, 204, 500, 0])

    def check(self) -> None:
        super().check()
        self.check_notices()

    def check_notices(self) -> list[str]:
        """Each notice was taken by its receiver, or is shown as one that was not. Returns the requests with such."""
        open_ = [each.id for each in self.asked.values() if each.id not in self.noticed]
        told = notices.of_requests(self.world.registry, self.world.data, "default", open_)
        late = []
        for request in open_:
            found = told[request].notices
            escalated = self.asked[request].escalated
            # It may have been escalated since the model looked.
            must(len(found) in {2 * (1 + escalated), 4}, "not every receiver is told", request, found)
            for each in found:
                event = request if each.event == grants.REQUESTED else grants.escalation_id(request, 0)
                receiver = self.rig.receivers[self.rig.hooks.index(each.webhook)]
                must(each.state != "accepted" or receiver.accepted[event], "undelivered and unnoticed", request, each)
            if any(each.state != "accepted" for each in found):
                late.append(request)
            elif not self.asked[request].is_open:
                self.noticed.add(request)
        return late

    async def all_noticed(self) -> None:
        """In the end each notice has reached every receiver."""
        self.rig.receivers[1].answer = 204
        for _ in range(40):
            if not self.check_notices():
                return
            if self.rig.faults is not None:
                await self.pass_time(3700)
            await asyncio.sleep(4)
        raise AssertionError("notices are not delivered")

    # -- clients that wait ---------------------------------------------------------------------------------------------

    async def _wait(self) -> None:
        """Clients wait on their connections: until people decide, workers die, or they go themselves."""
        await self.rig.set("approval_hold", 50)
        for _ in range(3):  # other settings replace every process, which takes far longer than this
            await self._hold()
        await self.rig.set("approval_hold", 0)

    async def _hold(self) -> None:
        keys = [*{self.key() for _ in range(8)}]
        keys = [key for key in keys if self.of(key) is None and key.model == "gpt-once"]
        if self.draw.random() < 0.7:
            agent, user = self.draw.choice(self.agents), f"w{self.draw.randrange(USERS)}"
            more = [self.call(agent, model, user) for model in ("gpt-uses", "gpt-two")]
            keys += [key for key in more if self.of(key) is None]
        calls = {key: asyncio.ensure_future(self.send(key)) for key in keys}

        def waits() -> bool:
            with self.world.registry.read() as session:
                query = "SELECT count(*) FROM approval_request WHERE rowid > ?"
                return session.connection().exec_driver_sql(query, (self.world._seen,)).scalar() == len(keys)

        await wait_for(waits)
        await self.take_new(*keys)
        killed = self.rig.kill() if self.draw.random() < 0.3 else []
        for key, call in calls.items():
            found = self.standing[key]
            if not killed and self.draw.random() < 0.2:
                call.cancel()
                self.over(found, "closed")
                await self.tended([found])
            elif self.draw.random() < 0.4:
                code = await self.world.act("deny", found.id, "dora")
                found.denied.add("dora")
                if key.model == "gpt-two" and not code:
                    code = await self.world.act("deny", found.id, "olga")
                    found.denied.add("olga")
                found.state = "denied"
                must(code == "", code)
                self._ended(key, await call, (403, grants.REASON), killed)
            else:
                for who in ("dora", "olga")[: key.quorum]:
                    must((code := await self.world.act("approve", found.id, who)) == "", code)
                    found.approved.add(who)
                self.approved(found)
                reply = await call
                self._ended(key, reply, (200, ""), killed)
                self.used(found, self.world.used(found.id))
                must(reply.status != 200 or found.used == 1, "ran without an approval", found)
        await self.rig.is_whole_again(killed)

    def _ended(self, key: Key, reply: Reply, expected: tuple[int, str], killed: list[int]) -> None:
        must((reply.status, reply.code) == expected or (killed and reply.status == 0), key, reply, expected)


async def run(steps: int, seed: int, directory: Path) -> Mishaps:
    """The walk on a gateway of two workers; it ends with everything told, and a log that verifies."""
    rig = Rig(directory, "approval_hold = 0")
    try:
        await rig.begin(bundle(1), "second", "third")
        model = Mishaps(world_of(rig), random.Random(seed), ["bot", "second", "third"], [*REVIEWERS], rig=rig)
        try:
            await walk(
                model, steps, lambda done: print(f"{done} steps: {sum(model.world.ran().values())} ran", flush=True)
            )
            await model.all_noticed()
        except BaseException:
            print(f"after {model.steps.total()} steps: {dict(model.steps)}", flush=True)
            print(rig.live.up.text[-8000:] if rig.live.up else "", flush=True)
            raise
        await asyncio.to_thread(rig.live.stop)
        await rig.verify()
        return model
    finally:
        await rig.end()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.approvals.walk", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="approvals-") as directory:
        model = asyncio.run(run(options.steps, options.seed, Path(directory)))
    states = Counter(each.state for each in model.asked.values())
    print(f"{options.steps} steps: {dict(model.steps)}")
    print(f"{len(model.asked)} requests, at the end {dict(states)}; {sum(model.world.ran().values())} calls ran")
    taken = sum(each.accepted.total() for each in model.rig.receivers)
    print(f"notices: {taken} accepted, {model.rig.receivers[1].failed} refused")
    print(f"503 for a moment: {dict(model.rig.told)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
