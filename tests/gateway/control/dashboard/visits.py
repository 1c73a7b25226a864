"""Visits of every page of a filled gateway (`filled.py`), and what each costs the server: time and statements."""

from __future__ import annotations

import asyncio
import functools
import re
import resource
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final
from unittest.mock import patch
from urllib.parse import urlencode

from sqlmodel import select
from starlette.types import Message

from gateway.audit import search
from gateway.audit.log_files import opened_log
from gateway.control.dashboard import pages
from gateway.control.dashboard.sessions import Links
from gateway.control.sealing import Cursors
from gateway.control.server import ControlApi
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.identity.credentials import Peppers
from gateway.policy.rollout.whereabouts import is_followed
from gateway.processes import status_answer
from gateway.registry import pages as lists
from gateway.registry.database import Registry
from gateway.registry.limits import usage_limits
from gateway.registry.models import ApprovalRequest
from gateway.registry.operators import operators
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import elsewhere
from tests.gateway.control.dashboard import filled

BAR_MS: Final = 150.0
TIMES: Final = 5
PENDING: Final = (b"being looked at: load", b"are being made: load")
"""What pages say while an answer that they keep is made for the first time."""


@dataclass(frozen=True)
class Cost:
    """A visit that was repeated: the milliseconds of the first time and the least of the others, and the statements
    of one.
    """

    page: str
    status: int
    first_ms: float
    ms: float
    statements: int
    size: int


class Visitor:
    """A person with a session at the gateway's control listener, without the sockets."""

    def __init__(self, api: ControlApi, cookie: str = "") -> None:
        self._api = api
        self.cookie = cookie

    async def enter(self, link: str) -> None:
        head, _ = await self._exchange("POST", "/dashboard/enter", urlencode({"link": link}).encode())
        found = [value.decode() for name, value in head["headers"] if name == b"set-cookie"]
        self.cookie = next(each for each in found if each.startswith("aig_session=")).partition(";")[0]

    async def get(self, address: str) -> tuple[int, bytes]:
        head, body = await self._exchange("GET", address)
        return head["status"], body

    async def _exchange(self, method: str, address: str, form: bytes = b"") -> tuple[Message, bytes]:
        path, _, query = address.partition("?")
        headers = [(b"host", b"127.0.0.1:1"), (b"cookie", self.cookie.encode())]
        if method == "POST":
            headers += [(b"content-type", b"application/x-www-form-urlencoded")]
            headers += [(b"content-length", str(len(form)).encode()), (b"origin", b"http://127.0.0.1:1")]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "client": ("127.0.0.1", 4711),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": form, "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._api(scope, receive, send)
        return sent[0], b"".join(each.get("body", b"") for each in sent[1:])


class Counter:
    """The statements that SQLite was given, of every connection that is opened inside `counting`."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.on = False

    def note(self, statement: str) -> None:
        if self.on and statement.lstrip()[:6].upper() in ("SELECT", "WITH R", "INSERT", "UPDATE", "DELETE"):
            self.statements.append(statement)


@contextmanager
def counting() -> Iterator[Counter]:
    counter, connect = Counter(), sqlite3.connect

    def traced(*given: Any, **named: Any) -> sqlite3.Connection:
        made: sqlite3.Connection = connect(*given, **named)
        made.set_trace_callback(counter.note)
        return made

    with patch("sqlite3.connect", traced), patch("sqlite3.dbapi2.connect", traced):
        yield counter


def _used() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


async def cost(visitor: Visitor, counter: Counter, page: str, address: str, times: int = TIMES) -> Cost:
    """Visit a page some times. The statements are counted in a visit of its own, which is not timed."""
    took = []
    status, body = await visitor.get(address)
    deadline = time.monotonic() + 120
    while any(each in body for each in PENDING) and time.monotonic() < deadline:
        await asyncio.sleep(1)
        status, body = await visitor.get(address)
    for _ in range(times + 1):
        before = _used()
        status, body = await visitor.get(address)
        took.append((_used() - before) * 1000)
    counter.statements, counter.on = [], True
    await visitor.get(address)
    counter.on = False
    return Cost(page, status, took[0], min(took[1:]), len(counter.statements), len(body))


@contextmanager
def served(data: DataDirectory) -> Iterator[ControlApi]:
    settings = load_settings({"data": data.path}, {})
    health, followed = functools.partial(status_answer.answer, settings), functools.partial(is_followed, settings)
    with closing(ControlApi.open(elsewhere, data, "1.2.3", health=health, followed=followed)) as api:
        yield api


def costs(data: DataDirectory, say: Callable[[Cost], None] = lambda _cost: None, only: str = "") -> list[Cost]:
    """What each visit costs an owner of the whole gateway."""

    async def look(api: ControlApi, counter: Counter) -> list[Cost]:
        visitor = Visitor(api)
        await visitor.enter(link)
        found = []
        for page, address in listed:
            if only in page:
                found.append(await cost(visitor, counter, page, address))
                say(found[-1])
        return found

    with closing(Registry.open(data)) as registry:
        olga = operators.add_operator(registry, actor=ACTOR, organization=None, name=new_id("opr")[-9:], role="owner")
        peppers = Peppers.load(data.keys)
        link = Links(peppers.current).make(new_id("brw"), olga.id)
        listed = list(visits(data, registry, Cursors(peppers.current)))
    with counting() as counter, served(data) as api:
        return asyncio.run(look(api, counter))


def visits(data: DataDirectory, registry: Registry, cursors: Cursors) -> Iterator[tuple[str, str]]:
    """A name and an address for each visit: every page, lists from their middle, with each filter, and as files."""
    names = {
        "organization": ORG,
        "verb": "revoke",
        "team": "team-1",
        "upstream": "openai",
        "operator": operators.operators(registry, ORG)[0].id,
    }
    agents, _ = lists.agents(registry, ORG, after=None, limit=500)
    some = agents[len(agents) // 2]
    names |= {"agent": some.name, "key": lists.keys_of(registry, ORG, [some.id])[some.id][0]}
    names |= {"limit": usage_limits.limits(registry, ORG)[-1].id}
    with registry.read() as session:
        names["approval"] = session.exec(select(ApprovalRequest.id).where(ApprovalRequest.state == "waiting")).first()
        everybody = session.connection().exec_driver_sql("SELECT id, name FROM agent ORDER BY id").all()
        bound = session.connection().exec_driver_sql("SELECT id FROM binding ORDER BY id").all()
        held = session.connection().exec_driver_sql("SELECT id FROM usage_limit ORDER BY id").all()
        asked = session.connection().exec_driver_sql("SELECT id FROM approval_request ORDER BY id").all()
    last = everybody[-1].name
    names["binding"] = bound[len(bound) // 2].id
    with opened_log(data) as log:
        end = search.last_position(log)
        middle = log.execute(
            "SELECT event_id, time_ns FROM entry WHERE id > ? AND kind = 'decided' LIMIT 1", (end // 2,)
        ).fetchone()
    names |= {"decision": middle[0], "entry": middle[0]}
    day = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(middle[1] // 10**9))
    base = f"/dashboard/o/{ORG}"
    seen = set()

    def visit(path: str, what: str = "", /, **query: str) -> tuple[str, str]:
        seen.add(path)
        found = [each for each in pages.PAGES if each.path == path and not each.changes]
        page = min(found, key=lambda each: each.everywhere)
        target = path.format(**names)
        start = f"/dashboard/{target}" if page.everywhere else f"{base}/{target}".rstrip("/")
        string = f"?{urlencode(query)}" if query else ""
        return f"{path or 'home'}{f' ({what})' if what else ''}", start + string

    def at(position: Any, *place: str) -> str:
        return cursors.seal(position, ORG, *place)

    mid = everybody[len(everybody) // 2].id
    yield visit("")
    yield visit("agents")
    yield visit("agents", "from the middle", cursor=at(mid, "agents", "", "", "", "", ""))
    yield visit("agents", "by name", search=last)
    yield visit("agents", "by a part that many have", search="agent")
    yield visit("agents", "by what nobody has", search="nobody-at-all")
    yield visit("agents", "active", status="active")
    yield visit("agents", "suspended", status="suspended")
    yield visit("agents", "expired", status="expired")
    yield visit("agents", "of a team", team=some.team)
    yield visit("agents", "file", format="csv")
    yield visit("mine")
    yield visit("mine", "of an owner", owner=some.owner)
    yield visit("agents/new")
    yield visit("agents/{agent}")
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3 * 86_400))
    yield visit("agents/{agent}", "as of", at=before)
    yield visit("agents/{agent}/calls")
    yield visit("agents/{agent}/calls", "file", format="csv")
    yield visit("agents/{agent}/versions")
    yield visit("agents/{agent}/permissions")
    yield visit("agents/{agent}/permissions", "asked", model="gpt-4o")
    yield visit("agents/{agent}/do/{verb}")
    yield visit("keys/{key}/revoke")
    yield visit("decisions")
    yield visit("decisions", "from the middle", before=at(end // 2, "audit", "older"))
    yield visit("decisions", "of an agent", agent=some.name)
    yield visit("decisions", "of an agent that seldom calls", agent=last)
    yield visit("decisions", "denied", allow="false")
    yield visit("decisions", "a reason that is rare", reason=filled.RARE)
    yield visit("decisions", "a reason that many have", reason="policy_denied")
    yield visit("decisions", "of a model", model=filled.MODELS[3])
    yield visit("decisions", "since", since=day)
    yield visit("decisions", "until", until=day)
    yield visit("decisions", "of an agent, denied, until", agent=some.name, allow="false", until=day)
    yield visit("decisions", "file", format="csv")
    yield visit("decisions/live")
    yield visit("decisions/{decision}")
    yield visit("approvals")
    yield visit("approvals", "from the middle", cursor=at(asked[len(asked) // 2].id, "approvals", "", "", ""))
    yield visit("approvals", "waiting", state="waiting")
    yield visit("approvals", "expired", state="expired")
    yield visit("approvals", "of an agent", agent=last)
    yield visit("approvals/deny-all")
    yield visit("approvals/deny-all", "of an agent", agent=last)
    yield visit("approvals/{approval}")
    yield visit("policies")
    yield visit("policies", "from the middle", cursor=at(bound[len(bound) // 2].id, "bindings", "", "", ""))
    yield visit("policies", "file", format="csv")
    yield visit("usage")
    for by in ("model", "agent,model", "team", "upstream", "day"):
        yield visit("usage", f"by {by}", by=by)
    yield visit("usage", "90 days", days="90")
    yield visit("usage", "file", format="csv")
    yield visit("limits")
    yield visit("limits", "from the middle", cursor=at(held[len(held) // 2].id, "limits"))
    yield visit("limits/{limit}/remove")
    yield visit("upstreams")
    yield visit("upstreams/{upstream}/check")
    yield visit("log")
    yield visit("log", "from the middle", before=at(end // 2, "audit", "older"))
    yield visit("log", "of a kind", kind="erasure")
    yield visit("log", "by an id", id=names["decision"][:20])
    yield visit("log", "since", since=day)
    yield visit("organization")
    yield visit("operators/{operator}")
    yield visit("organizations")
    yield visit("sessions")
    # The rest are forms and things of which this gateway has at most a few.
    for each in pages.PAGES:
        known = all(name in names for name in re.findall(r"{(\w+)}", each.path))
        if not each.changes and not each.everywhere and each.path not in (*seen, "do/{verb}") and known:
            yield visit(each.path)
