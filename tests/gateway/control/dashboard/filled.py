"""A gateway with many agents and a long log, to look at its pages: real rows of the registry and real leaves.

Agents, keys, people, upstreams and requests for approval come about as they do in a gateway. Bindings and limits are
rows with the entries of their changes, many in one transaction. The entries of calls are too many to be written one by
one: they are made here, in the form in which a worker writes them, and inserted with the tiles of their tree. What a
worker keeps beside them (private rows, balances) is left out, which pages of lists and sums do not read.
"""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from sqlalchemy import insert
from sqlmodel import select

from gateway.audit import entry as entries
from gateway.audit import merkle, signer, storage, tiles
from gateway.audit.log_files import opened_log
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.identity.credentials import Peppers
from gateway.processes import creation
from gateway.registry import change_entries, outbox, publication, queries
from gateway.registry.agents import changes, registration
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_keys
from gateway.registry.models import ApprovalRequest, Binding, UsageLimit, table
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization, update_organization
from gateway.registry.policies import bindings
from gateway.registry.upstreams import changes as upstreams
from gateway.runtime.store import RuntimeStore
from gateway.secrets.vault import Vault
from gateway.usage import rollup
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import ACTOR, ORG, Home

DAYS: Final = 30
"""The time over which calls are spread."""
MODELS: Final = [f"model-{number}" for number in range(12)]
UPSTREAMS: Final = ("openai", "anthropic", "local")
RARE: Final = "rare_reason"
"""The reason of three denials in the whole log, the oldest ones."""

_TOGETHER: Final = 50_000
_BATCH: Final = 25_600
_DAY_NS: Final = 86_400 * 10**9
_now: Final = time.time_ns  # the real one, also while it is another time


@dataclass(frozen=True)
class Agent:
    id: str
    name: str
    team: str
    key: str


def create(path: Path, agents: int, calls_of: int, say: Any = lambda _text: None) -> DataDirectory:
    """A gateway with so many agents, and so many entries of calls in its log."""
    with _earlier(DAYS + 2):
        creation.create(path, "assistant", "large")
    data = DataDirectory(path)
    with closing(Registry.open(data)) as registry:
        home = Home(data, registry, Peppers.load(data.keys), Vault.load(data.keys))
        made = _agents(home, agents)
        say(f"{len(made):,} agents with keys")
        _bound(registry, made)
        say("bindings and limits")
        _beside(home, made)
        say("people, upstreams, approvals and last uses")
        with _earlier(DAYS + 1), _writer(registry, data) as writer:
            publication.publish(registry, data, writer=writer)
        say("the entries of all that")
        _log(data, made, calls_of, say)
        with _writer(registry, data) as writer, signer.HeadSigner(data) as heads:
            heads.sign_all(writer)
    with opened_log(data) as log:
        add_up(data, log, say)
    return data


@contextmanager
def _earlier(days: int) -> Iterator[None]:
    """A clock that is behind, also that of a writer of the log, for what has come about before."""

    def clock() -> int:
        return _now() - days * _DAY_NS

    with patch("time.time_ns", clock), patch.dict(AuditWriter.__init__.__kwdefaults__, clock=clock):
        yield


def add_up(data: DataDirectory, log: Any, say: Any) -> None:
    """Bring the sums up to date, as the control process does step by step."""
    while True:
        with rollup.as_kept(data.cache) as kept:
            done, end = (0, 1) if kept is None else kept.reached(log)
        if done >= end:
            return
        rollup.advance(data.cache, log, 500_000)
        say(f"sums of {done:,} entries")


def _writer(registry: Registry, data: DataDirectory) -> closing[AuditWriter]:
    return closing(AuditWriter(data, boot=new_id("boot"), deployment=queries.deployment(registry)))


# --- the registry -----------------------------------------------------------------------------------------------------


def _agents(home: Home, count: int) -> list[Agent]:
    """Registered and given keys; some are suspended or revoked, and a tenth was not confirmed in time."""
    by: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
    made = []
    for first in range(0, count, _TOGETHER):
        members = [
            registration.checked(
                {
                    "name": f"agent-{number:06}",
                    "owner": f"owner-{number % max(5, count // 20)}@example.org",
                    "team": f"team-{number % max(4, count // 200)}",
                    "environment": ("prod", "dev")[number % 2],
                },
                _now(),
            )
            for number in range(first, min(count, first + _TOGETHER))
        ]
        late = len(members) // 10
        for part, days in ((members[:late], 25), (members[late:], 5)):
            with _earlier(days):
                registration.register_agents(home.registry, **by, agents=part)
        names = [str(each["name"]) for each in members]
        keys = create_keys(home.registry, home.peppers, **by, agents=names)
        made += [(key.record.agent_id, key.record.agent, key.record.id) for key in keys]
    teams = {each.id: each.team for each in queries.agents(home.registry, ORG)}
    with home.registry.together():
        for _, name, _ in made[50 : min(count, 50_000) : 100]:
            changes.suspend_agent(home.registry, **by, agent=name, reason="not needed just now")
        for _, name, _ in made[70 : min(count, 50_000) : 100]:
            changes.revoke_agent(home.registry, **by, agent=name, reason="it is over")
    update_organization(home.registry, actor=ACTOR, organization=ORG, review_days=20, suspend_after_days=90, reason="")
    return [Agent(id_, name, teams[id_], key) for id_, name, key in made]


def _bound(registry: Registry, agents: Sequence[Agent]) -> None:
    """A bundle for each agent and for the organization, and a limit for every third agent."""
    bindings.bind(registry, actor=ACTOR, organization=ORG, kind="organization", subject=ORG, bundle="starter")
    for first in range(0, len(agents), _TOGETHER):
        part = agents[first : first + _TOGETHER]
        with registry.write() as session:
            tenant = queries.find_organization(session, ORG)
            common: dict[str, Any] = {"organization_id": tenant.id, "subject_kind": "agent", "actor": ACTOR}
            bound = [
                Binding(
                    id=new_id("bnd"), subject=each.id, bundle="starter", effect="grant", created_ns=_now(), **common
                )
                for each in part
            ]
            held = [
                UsageLimit(
                    id=new_id("lim"),
                    subject=each.id,
                    name="requests_per_day",
                    upstream="",
                    model="",
                    value=10_000,
                    created_ns=_now(),
                    **common,
                )
                for each in part[::3]
            ]
            for rows, model in ((bound, Binding), (held, UsageLimit)):
                session.execute(insert(table(model)), [each.model_dump() for each in rows])
            made = [change_entries.binding(each) for each in bound]
            outbox.add_changes(session, tenant, ACTOR, "binding.created", made)
            outbox.add_changes(session, tenant, ACTOR, "limit.set", [change_entries.limit(each) for each in held])


def _beside(home: Home, agents: Sequence[Agent]) -> None:
    by: dict[str, Any] = {"actor": ACTOR, "organization": ORG}
    for number, name in enumerate(UPSTREAMS):
        upstreams.add_upstream(
            home.registry,
            home.vault,
            **by,
            name=name,
            provider="openai",
            base_url="http://127.0.0.1:9/v1",
            secret="sk-x",
            default=not number,
            insecure=True,
        )
    for number in range(20):
        create_organization(home.registry, actor=ACTOR, name=f"tenant-{number}")
        operators.add_operator(home.registry, **by, name=f"person-{number}", role="viewer")
    waiting = [asked(home, each.id) for each in agents[:20]]
    with home.registry.write() as session:
        row = session.exec(select(ApprovalRequest).where(ApprovalRequest.id == waiting[0])).one()
        like = row.model_dump()
        old = [
            {
                **like,
                "id": new_id("apr"),
                "agent_id": each.id,
                "state": state,
                "digest": None,
                "sealed": None,
                "settled_ns": _now() - number * 10**9,
                "reason": "nobody decided in time" if state == "expired" else "",
            }
            for number, (each, state) in enumerate(zip(agents, itertools.cycle(("used", "denied", "expired"))))
        ]
        session.execute(insert(table(ApprovalRequest)), old)
    with closing(RuntimeStore(home.data.runtime_db)) as store:
        store.renew()
        store.open()
        uses = [("", _now() - 400 * _DAY_NS), *((each.key, _now() - 3600 * 10**9) for each in agents)]
        with store.transaction() as made:
            made.run_for("INSERT OR REPLACE INTO key_use VALUES (?, ?)", uses)


# --- the log ----------------------------------------------------------------------------------------------------------


def _log(data: DataDirectory, agents: Sequence[Agent], count: int, say: Any) -> None:
    """The entries of calls in the log of the organization, before all that is published later."""
    now = _now()
    begin = now - DAYS * _DAY_NS
    made = _entries(agents, count, begin, (now - begin - 10 * 60 * 10**9) // max(1, count))
    with closing(storage.connect(data.audit_db)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("PRAGMA cache_size = -200000")
        log, size = db.execute("SELECT id, size FROM log WHERE organization = ?", (ORG,)).fetchone()
        (position,) = db.execute("SELECT max(id) + 1 FROM entry").fetchone()
        frontier = list(head.frontier) if (head := storage.head(db, ORG)) else []
        read = storage.tile_reader(db, log)
        edge = {tile.level: read(tile) for tile in tiles.edge(size)}
        began = time.monotonic()
        while batch := list(itertools.islice(made, _BATCH)):
            hashes = [merkle.leaf_hash(leaf) for *_, leaf in batch]
            db.execute("BEGIN IMMEDIATE")
            db.executemany(
                "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((position + at, log, size + at, *each) for at, each in enumerate(batch)),
            )
            grown = tiles.grow(edge, size, hashes)
            db.executemany(
                "INSERT OR REPLACE INTO tile VALUES (?, ?, ?, ?)",
                ((log, tile.level, tile.number, hashed) for tile, hashed in grown.items()),
            )
            for number, hashed in enumerate(hashes):
                merkle.extend(frontier, size + number, hashed)
            size, position = size + len(batch), position + len(batch)
            head = (size, b"".join(frontier), batch[-1][2], log)
            db.execute("UPDATE log SET size = ?, frontier = ?, time_ns = ? WHERE id = ?", head)
            db.execute("COMMIT")
            if size // _BATCH % 40 == 0:
                say(f"{size:,} entries, {size / (time.monotonic() - began):,.0f} a second")
        # None of them has reserved anything, so the balances contain all of them.
        db.execute("UPDATE balanced SET entry_id = ?", (position - 1,))


def _entries(agents: Sequence[Agent], count: int, begin: int, step: int) -> Iterator[tuple[Any, ...]]:
    """The event id, kind, time, agent and leaf of each: calls with their ends, denials, and refusals now and then."""
    drawn = random.Random(1)
    boot, many = new_id("boot"), len(agents)
    commitment = "0" * 64
    bundles = entries.document([{"name": "starter", "digest": "d" * 64, "effect": "grant", "commit": "c" * 40}])
    made = 0
    while made < count:
        time_ns = begin + made * step
        # A few agents make most of the calls, and every agent makes some.
        who = agents[int(many * drawn.random() ** 2)]
        common = {"v": 1, "time": str(time_ns), "org": ORG, "boot": boot, "actor": who.id, "epoch": 1, "agent": who.id}
        kind = drawn.random()
        if kind < 0.005:
            refused = {
                "key": None,
                "reason": "expired_key",
                "count": 3,
                "first_ns": str(time_ns),
                "last_ns": str(time_ns),
            }
            yield _leaf({**common, **refused, "id": _id("rfs_", time_ns, made), "kind": "refused"}, time_ns)
            made += 1
            continue
        allow = kind > 0.08
        reason = "allowed" if allow else RARE if made < 3 else "policy_denied"
        decision = _id("dec_", time_ns, made)
        decided = {
            **common,
            "id": decision,
            "kind": "decided",
            "key": who.key,
            "allow": allow,
            "open": allow,
            "reason": reason,
            "reasons_json": "[]" if allow else '["no budget for this model"]',
            "agent_name": who.name,
            "agent_version": 1,
            "team": who.team,
            "environment": "prod",
            "action": "chat.completions",
            "upstream": UPSTREAMS[made % 3],
            "provider": "openai",
            "model": MODELS[(hash(who.id) + made % 2) % len(MODELS)],
            "method": "POST",
            "path": "/v1/chat/completions",
            "stream": False,
            "bundles_json": bundles,
            "request_bytes": 812,
            "request_commitment": commitment,
            "recomputable": True,
        }
        yield _leaf(decided, time_ns)
        made += 1
        if allow and made < count:
            completed = {
                **common,
                "time": str(time_ns + 1),
                "id": f"end_{decision[4:]}",
                "kind": "completed",
                "decision": decision,
                "outcome": "ok",
                "status": 200,
                "input_tokens": 900 + made % 100,
                "output_tokens": 120,
                "cached_tokens": 0,
                "cost_nanousd": 2_500_000 + made % 1000,
                "response_model": "model-2026-10-01",
                "upstream_status": 200,
                "response_bytes": 1500,
                "duration_us": 800_000,
                "response_commitment": commitment,
            }
            yield _leaf(completed, time_ns + 1)
            made += 1


def _leaf(entry: dict[str, Any], time_ns: int) -> tuple[Any, ...]:
    return entry["id"], entry["kind"], time_ns, entry["agent"], entries.canonical(entry)


def _id(prefix: str, time_ns: int, number: int) -> str:
    text = f"{time_ns // 1_000_000:012x}7{number & 0xFFF:03x}8{number:015x}"
    return f"{prefix}{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
