"""The log as server-sent events: what is sent, to whom, from where on, and when it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import jsonschema
import orjson
import pytest
from starlette.types import Message, Scope

from gateway.control import event_streams
from gateway.control.server import ControlApi
from gateway.http import listener
from gateway.http.connection import ConnectionLimits
from gateway.registry.models import OperatorToken
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization
from gateway.settings import Settings
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control, document_of

WAIT = 240.0


class Reader:
    """A client of the stream. It takes what is sent unless it is told to hold."""

    def __init__(self, client: Client, query: str = "", **headers: str) -> None:
        self.status = 0
        self.raw = b""
        self.ended = False
        self._api: ControlApi = client.api
        self._gone = asyncio.Event()
        self._asked = False
        self._news = asyncio.Condition()
        self.may_take = asyncio.Event()
        self.may_take.set()
        given = {
            "host": "gateway",
            "authorization": f"Bearer {client.token}",
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        self._scope: Scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/v1/events",
            "raw_path": b"/api/v1/events",
            "query_string": query.encode(),
            "headers": [(name.encode(), value.encode()) for name, value in given.items()],
            "client": (client.address, 4711),
        }
        self.task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        await self._api(self._scope, self._receive, self._send)
        self.ended = True
        async with self._news:
            self._news.notify_all()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        await self.may_take.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.raw += message.get("body", b"")
        async with self._news:
            self._news.notify_all()

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT), self._news:
            await self._news.wait_for(true)

    async def opened(self) -> Reader:
        """When it is sent what happens from now on."""
        await self.until(lambda: b"retry:" in self.raw or self.ended)
        return self

    async def leave(self) -> None:
        self._gone.set()
        async with asyncio.timeout(WAIT):
            await self.task

    @property
    def events(self) -> list[dict[str, Any]]:
        """Those that are complete: id, event and data."""
        found = []
        for block in self.raw.decode().split("\n\n")[:-1]:
            lines = [line.partition(": ") for line in block.split("\n") if not line.startswith(":")]
            fields = {name: value for name, _, value in lines}
            if "data" in fields:
                found.append({**fields, "data": orjson.loads(fields["data"])})
        return found

    @property
    def registered(self) -> list[dict[str, Any]]:
        """The events that tell of new agents."""
        entries = [each for each in self.events if "event" not in each]
        return [each for each in entries if each["data"]["entry"].get("what") == "agent.registered"]

    @property
    def names(self) -> list[str]:
        return [each["data"]["entry"]["agent_name"] for each in self.registered]

    async def has(self, *names: str) -> None:
        with suppress(TimeoutError):
            await self.until(lambda: len(self.names) >= len(names))
        assert self.names == list(names)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "LOOK_SECONDS", 0.01)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


async def register(client: Client, *names: str) -> None:
    for name in names:
        reply = await asyncio.to_thread(client, "POST", "/agents", {"name": name})
        assert reply.status == 201, reply.raw


async def test_entries_come_as_they_are_written_and_go_on_after_a_break(owner: Client) -> None:
    await register(owner, "before")
    reader = await Reader(owner, "kind=change").opened()
    await register(owner, "one", "two")
    await reader.has("one", "two")
    schema = document_of(owner.api)["paths"]["/events"]["get"]["responses"]["200"]["content"]
    for each in reader.events:
        jsonschema.validate(each["data"], schema["text/event-stream"]["schema"]["contentSchema"])
    assert b"id: " in reader.raw
    await reader.leave()
    await register(owner, "three")
    first, second = (each["id"] for each in reader.registered)
    again = Reader(owner, "kind=change", last_event_id=second)
    await again.has("three")
    # The header counts more: a browser repeats the first parameters as well.
    both = Reader(owner, f"kind=change&after={second}", last_event_id=first)
    await both.has("two", "three")
    listed = await asyncio.to_thread(owner, "GET", "/audit/entries")
    behind = Reader(owner, f"after={listed.ok()['next']}")
    await register(owner, "four")
    await behind.has("four")
    for each in (again, both, behind):
        await each.leave()


@pytest.mark.slow
async def test_who_may_read_what(control: Control, owner: Client) -> None:
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    acme = control.operator("ann", organization="acme")
    mine = control.operator("dora", "auditor", ORG)
    viewer = control.operator("vera", "viewer", ORG)

    async def refused(reader: Reader) -> tuple[int, str]:
        await reader.until(lambda: reader.ended)
        return reader.status, orjson.loads(reader.raw)["code"]

    assert await refused(Reader(viewer)) == (403, "forbidden")
    assert await refused(Reader(acme, f"organization={ORG}")) == (404, "unknown_organization")
    assert await refused(Reader(acme, "organization=system")) == (404, "unknown_organization")
    assert await refused(Reader(acme, "after=AAAA")) == (400, "invalid_cursor")
    assert await refused(Reader(acme, "limit=5")) == (400, "invalid_parameter")
    theirs, ours = await Reader(acme).opened(), await Reader(mine).opened()
    await register(owner, "mine")
    await ours.has("mine")
    await register(acme, "theirs")
    await theirs.has("theirs")
    await register(owner, "more")
    await ours.has("mine", "more")
    assert theirs.names == ["theirs"]
    place = ours.registered[0]["id"]
    assert await refused(Reader(acme, last_event_id=place)) == (400, "invalid_cursor")
    for each in (theirs, ours):
        await each.leave()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["token", "operator", "role", "expiry"])
async def test_a_stream_ends_with_the_right_to_read_it(control: Control, owner: Client, how: str) -> None:
    home = control.home
    reading = control.operator("rita", "auditor", ORG)

    def take_away() -> None:
        given: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "operator": "rita"}
        if how == "operator":
            operators.revoke_operator(home.registry, **given)
        elif how == "role":
            operators.update_operator(home.registry, **given, role="viewer")
        (token,) = operators.tokens(home.registry, ORG, "rita")
        if how == "token":
            operators.revoke_token(home.registry, **given, token=token.id)
        elif how == "expiry":
            with home.registry.write() as session:
                session.get_one(OperatorToken, token.id).expires_ns = time.time_ns()

    reader = await Reader(reading).opened()
    await asyncio.to_thread(take_away)
    await reader.until(lambda: reader.ended)
    last = reader.events[-1]
    assert (last["event"], last["data"]["code"]) == ("end", "bad_credentials")
    assert reader.status == 200
    await register(owner, "later")
    assert b"later" not in reader.raw


@pytest.mark.slow
async def test_a_client_that_stops_reading_is_cut(
    control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile nothing is read for it."""
    monkeypatch.setattr(event_streams, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(control.api._streams._open, "capacity", 2)
    reader = await Reader(owner, "kind=change").opened()
    reader.may_take.clear()
    await register(owner, *(f"bot-{number}" for number in range(5)))
    await reader.until(lambda: reader.ended)
    assert len(reader.names) < 5
    assert b"event: end" not in reader.raw
    # Its place is free, and what it has missed is there.
    again = Reader(owner, "kind=change", last_event_id=reader.events[-1]["id"] if reader.events else "")
    await again.opened()
    assert again.status == 200
    await again.leave()


@pytest.mark.slow
async def test_how_many_streams_there_may_be(control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control.api._streams._open, "capacity", 4)
    other, third, fourth = (control.operator(name) for name in ("oscar", "theo", "fred"))
    for _ in range(4):  # what is refused takes no place
        bad = Reader(other, "after=AAAA")
        await bad.until(lambda: bad.ended)  # noqa: B023  # it is awaited here
        assert bad.status == 400
    open_ones = [await Reader(owner).opened() for _ in range(2)]
    more = Reader(owner)
    await more.until(lambda: more.ended)
    assert (more.status, orjson.loads(more.raw)["code"]) == (429, "too_many_streams")
    open_ones += [await Reader(other).opened(), await Reader(fourth).opened()]
    full = Reader(third)
    await full.until(lambda: full.ended)
    assert (full.status, orjson.loads(full.raw)["code"]) == (503, "overloaded")
    assert (await asyncio.to_thread(owner, "GET", "/agents")).status == 200
    for each in open_ones:
        await each.leave()
    again = [await Reader(client).opened() for client in (owner, owner, third)]
    assert [each.status for each in again] == [200] * 3
    for each in again:
        await each.leave()


@pytest.mark.slow
async def test_a_heartbeat_moves_the_place(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Entries that did not match need not be searched again after a break."""
    monkeypatch.setattr(event_streams, "HEARTBEAT_SECONDS", 0.02)
    reader = await Reader(owner, "kind=decided").opened()
    await register(owner, "one")
    await reader.until(lambda: b": here\nid: " in reader.raw)
    beats = len(reader.raw.split(b": here"))
    await reader.until(lambda: len(reader.raw.split(b": here")) > beats + 2)
    assert reader.events == []
    place = reader.raw.rpartition(b"id: ")[2].partition(b"\n")[0].decode()
    await reader.leave()
    again = await Reader(owner, last_event_id=place).opened()
    await register(owner, "two")
    await again.has("two")
    await again.leave()


@pytest.mark.slow
async def test_many_entries_are_sent_in_pieces(owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "_PIECE", 1)
    monkeypatch.setattr("gateway.control.api.events._LOOKED_AT", 2)
    names = [f"bot-{number}" for number in range(7)]
    start = (await asyncio.to_thread(owner, "GET", "/audit/entries")).ok()["next"]
    await register(owner, *names)
    reader = Reader(owner, f"after={start}&kind=change")
    await reader.has(*names)
    await reader.leave()


@pytest.mark.slow
async def test_a_stream_ends_with_the_gateway_and_says_when_it_fails(control: Control) -> None:
    client = control.operator()
    stop = asyncio.Event()
    api = await asyncio.to_thread(lambda: ControlApi.open(control.api._app, control.home.data, "1", None, stop))
    reader = await Reader(Client(api, client.token)).opened()
    stop.set()
    await reader.until(lambda: reader.ended)
    assert reader.events == []
    await asyncio.to_thread(api.close)
    failing = await Reader(client).opened()
    control.home.data.audit_db.rename(control.home.data.audit_db.with_name("away"))
    await failing.until(lambda: failing.ended)
    assert failing.events[-1]["event"] == "end"
    assert "code" in failing.events[-1]["data"]


@pytest.mark.slow
async def test_over_a_socket(control: Control) -> None:
    """With the real listener: whole events, and a clean end when the gateway stops, without waiting for the client."""
    client = control.operator()
    settings = Settings(data=control.home.data, drain_timeout=3600)
    head = f"GET /api/v1/events?kind=change HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {client.token}\r\n\r\n"
    stop = asyncio.Event()
    api = await asyncio.to_thread(lambda: ControlApi.open(control.api._app, control.home.data, "1", None, stop))
    opened = listener.listen("127.0.0.1", 0)
    serving = asyncio.create_task(listener.serve(api, opened, settings, ConnectionLimits.of(settings), stop))
    async with asyncio.timeout(WAIT):
        reading, writing = await asyncio.open_connection(*opened.getsockname())
        writing.write(head.encode())
        start = await reading.readuntil(b"retry: 3000\n\n")
        assert start.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\ncontent-type: text/event-stream\r\n" in start
        await register(client, "one")
        await reading.readuntil(b'"agent_name":"one"')
        stop.set()
        assert (await reading.read()).endswith(b"0\r\n\r\n")
        writing.close()
        await serving
    await asyncio.to_thread(api.close)
