"""Random steps on approvals against a model: `python -m tests.gateway.approvals.walk --steps 10000 --seed 1`.

The command runs a gateway as its users do (`rig.py`) and does to it whatever may happen (`mishaps.py`); `test_walk.py`
takes some steps in one process. Each step asks, reviews, revokes, changes the bundle, or sends calls many times
at once. The model knows what each answer must be, and how often each call may have run at most.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from gateway.audit import grants, signer, verify
from gateway.audit.log_files import opened_log
from gateway.audit.report import Report
from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from tests.gateway.approvals.bundles import EXPIRES, MODELS, OVER, USES, Key, bundle
from tests.gateway.approvals.rig import Reply
from tests.gateway.dataplane.conftest import Upstream

USERS: Final = 3
CROWD: Final = 12
NO_ROOM: Final = (429, "limit_exceeded")


@dataclass
class World:
    """A gateway that runs, and how to reach into it."""

    data: DataDirectory
    registry: Registry
    upstream: Upstream
    call: Callable[[str, str, str], Awaitable[Reply]]
    """Send the call of an agent with this model and user."""
    act: Callable[..., Awaitable[str]]
    """A review by its verb, the request, who does it and with which terms; the code of the refusal, or nothing."""
    look: Callable[[str], Awaitable[str]]
    """The user in the call that a request shows to people."""
    put_in_force: Callable[[str], Awaitable[None]]
    """Put a bundle with this policy into force."""
    clock: Callable[[], float] = time.time
    _seen: int = 0

    def ran(self) -> Counter[str]:
        """How often each call has reached the provider, by agent's model and user."""
        return Counter(f"{each.json['model']} {each.json['user']}" for each in self.upstream.seen if each.body)

    def new(self) -> list[tuple[str, str, str]]:
        """The requests since the last look, with the agents and the models of their calls."""
        with self.registry.read() as session:
            query = (
                "SELECT r.rowid, r.id, a.name, r.call ->> 'model' FROM approval_request r"
                " JOIN agent a ON a.id = r.agent_id WHERE r.rowid > ? ORDER BY r.rowid"
            )
            rows = session.connection().exec_driver_sql(query, (self._seen,)).all()
        self._seen = max((number for number, *_ in rows), default=self._seen)
        return [(request, agent, model) for _, request, agent, model in rows]

    def states(self) -> dict[str, str]:
        """All requests, with their states as they are stored."""
        with self.registry.read() as session:
            return dict(session.connection().exec_driver_sql("SELECT id, state FROM approval_request").all())  # type: ignore[arg-type]

    def demanded(self, request: str) -> list[str]:
        """The reasons for which policies have demanded it."""
        with self.registry.read() as session:
            query = "SELECT requirements FROM approval_request WHERE id = ?"
            text = str(session.connection().exec_driver_sql(query, (request,)).scalar_one())
        return [each["reason"] for each in orjson.loads(text)]

    def used(self, request: str) -> int:
        """How often the approval was used, according to the log."""
        with opened_log(self.data) as log:
            find = "SELECT 1 FROM entry WHERE event_id = ?"
            return grants.times_used(lambda each: log.execute(find, (each,)).fetchone(), request, 100)

    def verified(self) -> Report:
        return verify.verify(self.data.audit_db, signer.load_verifier(signer.public_key_path(self.data)))


@dataclass(slots=True)
class Asked:
    """What must be true of a request."""

    id: str
    key: Key
    made: float
    ends: float
    state: str = "waiting"
    approved: set[str] = field(default_factory=set)
    denied: set[str] = field(default_factory=set)
    uses: int = 1
    used: int = 0
    limits: int = 0  # how many limits had no room
    for_pattern: bool = False
    escalated: bool = False

    @property
    def is_open(self) -> bool:
        return self.state in ("waiting", "approved")


class Broken(AssertionError):
    """The gateway did what the model does not allow."""


def must(holds: object, *why: object) -> None:
    if not holds:
        raise Broken(*why)


@dataclass
class Model:
    world: World
    draw: random.Random
    agents: list[str] = field(default_factory=lambda: ["bot"])
    reviewers: list[str] = field(default_factory=lambda: ["dora", "olga", "tom", "eva"])
    demand: int = 0
    standing: dict[Key, Asked] = field(default_factory=dict)
    asked: dict[str, Asked] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)  # 200, by model and user
    lost: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)

    # -- what the model knows ----------------------------------------------------------------------------------------

    def key(self) -> Key:
        return self.call(self.draw.choice(self.agents), self.draw.choice(MODELS), f"u{self.draw.randrange(USERS)}")

    def call(self, agent: str, model: str, user: str) -> Key:
        """A call of now. Bundles always demand the same of one that goes over limits, whichever these are."""
        return Key(agent, model, user, 0 if model == OVER else self.demand)

    def has_room(self, key: Key, found: Asked | None) -> bool:
        """False if no approval counts: that of a call is for the limits that had no room when it was made."""
        return key.model != OVER or found is None or found.state != "approved" or found.limits > self.demand

    def key_in(self, *states: str) -> Key:
        """More often than by chance the call of a request in one of these states."""
        found = [
            key for key, each in self.standing.items()
            if each.state in states and key == self.call(key.agent, key.model, key.user)
        ]  # fmt: skip
        return self.draw.choice(found) if found and self.draw.random() < 0.7 else self.key()

    def of(self, key: Key) -> Asked | None:
        """The request that says something about a call now: the word on the very call first."""
        own = self.standing.get(key)
        if own is not None and own.state in ("approved", "denied"):
            return own
        return next(iter(self._alike_to(key)), own)

    def _alike_to(self, key: Key) -> list[Asked]:
        """The approvals of a pattern that matches a call, the oldest first."""
        group = (key.agent, key.model, key.demand)
        alike = [each for each in self.standing.values() if each.state == "approved" and each.for_pattern]
        return sorted(
            (each for each in alike if (each.key.agent, each.key.model, each.key.demand) == group),
            key=lambda each: each.id,
        )

    def approvals_of(self, key: Key) -> list[Asked]:
        """Each approval by which a call may run: once one is used up, its calls go on to the next."""
        first = self.of(key)
        if first is None or first.state != "approved" or not self.has_room(key, first):
            return []
        return [first, *(each for each in self._alike_to(key) if each is not first)]

    def over(self, found: Asked, state: str) -> None:
        """It says nothing any more; a denial is one for as long as it stands."""
        found.state = state
        if self.standing.get(found.key) is found:
            del self.standing[found.key]

    def used(self, found: Asked, times: int) -> None:
        found.used += times
        must(found.used <= found.uses, "used too often", found)
        if found.used == found.uses:
            self.over(found, "used")

    def stands(self, key: Key, request: str) -> None:
        must(request not in self.asked, "known already", request)
        made = self.world.clock()
        self.asked[request] = self.standing[key] = Asked(request, key, made, made + EXPIRES)
        self.asked[request].limits = 1 + self.demand if key.model == OVER else 0

    async def take_new(self, *keys: Key) -> None:
        """Take over the requests that these calls have made: one each at most, whatever is sent at once."""
        for request, agent, model in self.world.new():
            mine = [each for each in keys if (each.agent, each.model) == (agent, model)]
            if len(mine) > 1:
                user = await self.world.look(request)
                mine = [each for each in mine if each.user == user]
            must(len(mine) == 1, "a request of nobody", request, agent, model, keys)
            # A denial stands for what was demanded then: a call that was judged by the bundles in force meets it.
            demanded = self.world.demanded(request)
            must(demanded == [mine[0].reason], "judged by other policies", request, demanded, mine[0])
            must(mine[0] not in self.standing, "a second request", request, self.standing.get(mine[0]))
            self.stands(mine[0], request)

    async def send(self, key: Key) -> Reply:
        reply = await self.world.call(key.agent, key.model, key.user)
        if reply.status == 200:
            self.answered[f"{key.model} {key.user}"] += 1
        elif reply.status == 0:
            self.lost[f"{key.model} {key.user}"] += 1
        return reply

    # -- steps -------------------------------------------------------------------------------------------------------

    kinds: dict[str, float] = field(
        default_factory=lambda: {
            **dict.fromkeys(("ask", "approve"), 28),
            "deny": 7,
            "revoke": 5,
            "crowd": 10,
            "alike": 4,
            "other": 2,
            "bundle": 1.5,
        }
    )

    async def step(self) -> None:
        (kind,) = self.draw.choices([*self.kinds], [*self.kinds.values()])
        self.steps[kind] += 1
        await getattr(self, f"_{kind}")()

    async def _ask(self) -> None:
        await self.try_once(self.key_in("approved") if self.draw.random() < 0.5 else self.key())

    async def try_once(self, key: Key) -> None:
        found = self.of(key)
        reply = await self.send(key)
        if not self.has_room(key, found):
            must((reply.status, reply.code) == NO_ROOM, reply, found)
        elif found is not None and found.state == "approved":
            must(reply.status == 200, reply, found)
            self.used(found, 1)
            must(self.world.used(found.id) == found.used, "the log has another number of uses", found)
        else:
            must((reply.status, reply.code) == (403, grants.REASON), reply, found)
        await self.take_new(*([key] if found is None else []))

    async def _approve(self) -> None:
        key = self.key_in("waiting")
        if (found := self.standing.get(key)) is None:
            return
        who, terms = self.draw.choice(self.reviewers), {}
        if key.model in USES and self.draw.random() < 0.8:
            terms = {"uses": self.draw.randint(1, USES[key.model] + 1), "seconds": self.draw.choice([3000, 6000])}
            terms["for_pattern"] = key.model == "gpt-alike" and self.draw.random() < 0.6
        code = await self.world.act("approve", found.id, who, **terms)
        if (why := self.refusal(found, who, terms.get("uses", 1))) or code:
            must(code == why, code, why, found, who)
            return
        found.approved.add(who)
        if len(found.approved & {*self.reviewers}) < key.quorum:
            return
        self.approved(found, terms.get("uses", 1), terms.get("seconds", 3600), bool(terms.get("for_pattern")))

    def approved(self, found: Asked, uses: int = 1, seconds: float = 3600, for_pattern: bool = False) -> None:
        found.state, found.uses, found.for_pattern = "approved", uses, for_pattern
        found.ends = self.world.clock() + seconds
        if for_pattern:
            for other in [*self.standing.values()]:
                of = other.key
                if other.state == "waiting" and (of.agent, of.model, of.demand) == (
                    found.key.agent,
                    found.key.model,
                    found.key.demand,
                ):
                    self.over(other, "closed")

    def refusal(self, found: Asked, who: str, uses: int = 1) -> str:
        """Why nobody, or not this person, may review a request now."""
        most = USES.get(found.key.model, 1)
        if uses > most:
            return "beyond_scope"
        if found.state != "waiting":
            return "approval_settled"
        if found.key.model == "gpt-late" and who not in ("dora", *(["olga"] if found.escalated else [])):
            return "not_an_approver"
        return "reviewed_before" if who in found.approved | found.denied else ""

    async def _deny(self) -> None:
        if (found := self.standing.get(self.key_in("waiting"))) is None:
            return
        who = self.draw.choice(self.reviewers)
        code = await self.world.act("deny", found.id, who)
        if (why := self.refusal(found, who)) or code:
            must(code == why, code, why, found, who)
            return
        found.denied.add(who)
        if len(found.denied) == found.key.quorum:
            found.state = "denied"

    async def _revoke(self) -> None:
        if (found := self.standing.get(self.key_in("approved"))) is None:
            return
        code = await self.world.act("revoke", found.id, self.draw.choice(self.reviewers))
        must(code == ("" if found.state == "approved" else "approval_settled"), code, found)
        if not code:
            self.over(found, "revoked")

    async def _bundle(self) -> None:
        """Whatever waits or was approved does not fit what the policies demand from now on, until they do again."""
        self.demand = 1 - self.demand
        await self.world.put_in_force(bundle(self.demand))

    async def _crowd(self) -> None:
        """The same call many times at once: it runs as often as an approval says, and not at all otherwise."""
        key = self.key_in("approved")
        await self.at_once([key] * CROWD)

    async def _alike(self) -> None:
        """Calls that one approval may be for, all at once."""
        agent = self.draw.choice(self.agents)
        keys = [self.call(agent, "gpt-alike", f"u{number % USERS}") for number in range(CROWD)]
        await self.at_once(keys)

    async def at_once(self, keys: list[Key]) -> None:
        found = {key: self.of(key) for key in keys}
        replies = await asyncio.gather(*(self.send(key) for key in keys))
        ran = Counter(key for key, reply in zip(keys, replies, strict=True) if reply.status == 200)
        used = 0
        for key, reply in zip(keys, replies, strict=True):
            refusal = (403, grants.REASON) if self.has_room(key, found[key]) else NO_ROOM
            must(reply.status == 200 or (reply.status, reply.code) == refusal, reply, found)
        approvals = {key: self.approvals_of(key) for key in found}
        for each in {one.id: one for some in approvals.values() for one in some}.values():
            first = sum(found[key] is each for key in keys)
            times, left = self.world.used(each.id) - each.used, each.uses - each.used
            must(min(first, left) <= times <= left, "used", times, each, replies)
            used += times
            self.used(each, times)
        must(ran.total() == used, "ran without an approval", ran, used, approvals, replies)
        for key in ran:
            must(approvals[key], "ran without an approval", key, found[key])
        await self.take_new(*{*keys})

    async def _other(self) -> None:
        """A call with one other byte than one that was approved does not run."""
        key = self.key_in("approved")
        found = self.of(key)
        if found is None or found.state != "approved" or found.for_pattern:
            return
        other = replace(key, user=f"v{self.draw.randrange(USERS)}")
        await self.try_once(other)

    # -- what must hold ------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Nothing ran without an approval or twice, and nothing is lost."""
        ran, uses = self.world.ran(), Counter[str]()
        for each in self.asked.values():
            uses[each.key.model] += each.used
        of_model: Counter[str] = Counter()
        for call, times in ran.items():
            answered = self.answered[call]
            must(answered <= times <= answered + self.lost[call], "ran", call, times, answered, self.lost[call])
            of_model[call.split()[0]] += times
        for model, times in of_model.items():
            must(times <= uses[model], "ran without an approval", model, times, uses[model])
        found = self.world.states()
        for each in self.asked.values():
            must(each.id in found, "lost", each)
            if each.state != "used":  # that may be written down later
                must(found[each.id] == each.state, "another state", each, found[each.id])
        must(found.keys() == self.asked.keys(), "unknown", found.keys() - self.asked.keys())

    async def verify(self) -> None:
        findings = (await asyncio.to_thread(self.world.verified)).findings
        must(findings == [], findings)


async def walk(model: Model, steps: int, progress: Callable[[int], None] = lambda _: None) -> Model:
    await model.world.put_in_force(bundle(0))
    for number in range(1, steps + 1):
        await model.step()
        if number % 50 == 0:
            model.check()
        if number % 1000 == 0:
            await model.verify()
        if number % 100 == 0:
            progress(number)
    model.check()
    await model.verify()
    return model


if __name__ == "__main__":
    from tests.gateway.approvals import mishaps

    sys.exit(mishaps.main())
