"""All MCP servers of an organization as one (`/mcp`): what a client asks is asked of the servers that it concerns.

Each request to a server is an ordinary one: its path is that of the server, its message names things as the server
does, and it is judged, recorded and answered by the same code as if the client had sent it there. The log has beside it
the name that the client knows. So nothing is decided here, but whom to ask:

    lists              every server that the agent's policies let it ask, side by side, all pages of each
    tools and prompts  the server in the name
    resources          the one server that lists the URI, or has a template for it
    tasks              the server that gave the agent the task

A server that fails is named in the list's `_meta`, and the others' things stand. The gateway itself answers
`initialize`, `server/discover` and `ping`; nothing is remembered of them.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Protocol

import orjson
from starlette.types import Message, Send

from gateway.audit.entry import SALT_BYTES
from gateway.call import Call
from gateway.dataplane.admission import Place
from gateway.dataplane.held_bytes import Holding
from gateway.dataplane.judgement import SAYS_NO, Judge
from gateway.dataplane.phases import Admitted, Observed, Request
from gateway.dataplane.reading import Reader
from gateway.dataplane.registry_view import RegistryView
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.identifiers import new_id, random_bytes
from gateway.identity.principals import Principal
from gateway.mcp import eras, joined
from gateway.mcp.exchange import NAMED_BY, encoded
from gateway.mcp.joined import LISTS, PATH, Part
from gateway.mcp.messages import INVALID_PARAMS, METHOD_NOT_FOUND, ProtocolError
from gateway.policy import authorization
from gateway.policy.cache import PolicyCache
from gateway.settings import Settings
from gateway.upstream import routing, sse
from gateway.upstream.providers.base import Endpoint, JoinedHead
from gateway.upstream.providers.json_rpc import ProtocolDenied
from gateway.upstream.providers.mcp.joined import Joined
from gateway.upstream.providers.mcp.lists import MOST_TOOLS
from gateway.upstream.routing import Choices, Match
from gateway.upstream.strict_json import shown
from gateway.upstream.taps import json_object

_AT_ONCE: Final = 16
_MOST_PAGES: Final = 100
_GRACE: Final = 0.5  # for a server whose time is over, so that its call ends by itself
_LONGEST: Final = 300
_OF_HEAD: Final = ("mcp-session-id", "mcp-method", "mcp-name")
_BY_NAME: Final = ("tools/call", "prompts/get")
_EXPRESSION: Final = re.compile(r"\{[^{}]*\}")


class Plane(Protocol):
    """The part of the data plane that makes requests to servers."""

    def request_of(self, outer: Request) -> Request:
        """A further request of the same client."""
        ...

    def enter(self, request: Request, principal: Principal) -> Place:
        """Its place among the requests in progress; `Denied` if there is none."""
        ...

    def choose(self, principal: Principal, found: Match | Choices) -> tuple[Match, tuple[Match, ...]]: ...

    async def serve(self, admitted: Admitted, client: Departure, send: Send) -> Observed:
        """Judge and carry it out, and answer."""
        ...

    async def tell(self, observed: Observed, denied: Denied, client: Departure, send: Send) -> None:
        """Answer with a refusal, and count it."""
        ...

    def finished(self, observed: Observed, subject: str, began_ns: int) -> None:
        """Tell everybody who keeps count of requests."""
        ...


class _Kept:
    """The answer to one of several requests: ASGI's `send`."""

    def __init__(self, holding: Holding) -> None:
        self._holding = holding
        self._kind = b""
        self._pieces: list[bytes] = []
        self.decision = ""

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = dict(message["headers"])
            self._kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
            self.decision = headers.get(b"x-decision-id", b"").decode("latin-1")
            return
        piece = message.get("body", b"")
        self._holding.add(len(piece))
        self._pieces.append(piece)

    def message(self, of: str | int) -> dict[str, Any] | None:
        """The message that answers the request with this id; None if there is none."""
        whole = b"".join(self._pieces)
        if self._kind != b"text/event-stream":
            return json_object(whole)
        splitter = sse.EventSplitter()
        for event in [*splitter.feed(whole), splitter.take_rest()]:
            found = json_object(sse.data_of(event)) if event else None
            if found is not None and "method" not in found and found.get("id") == of:
                return found
        return None


class Joining:
    """Serves the requests of one worker to all servers as one; used from its event loop only."""

    def __init__(
        self,
        plane: Plane,
        settings: Settings,
        registry: RegistryView,
        policies: PolicyCache,
        reader: Reader,
        judge: Judge,
    ) -> None:
        self._plane = plane
        self._seconds = settings.mcp_list_timeout
        self._registry = registry
        self._policies = policies
        self._reader = reader
        self._judge = judge

    async def serve(self, admitted: Admitted, client: Departure, send: Send, holding: Holding) -> Observed:
        """Answer a request. `holding` is for the parts of a list, until it is sent."""
        place = admitted.place
        try:
            await place.work()
            admitted, reading = await self._reader.read(admitted)
        finally:
            if place.is_at_work:
                place.rest()
        asking = _Asking(admitted, reading.call)
        try:
            if asking.call.message_id is None:
                await _send(asking, send, 202, b"")
            elif (found := asking.own_answer()) is not None:
                await _answer(asking, send, found)
            elif asking.method in LISTS:
                await self._list(asking, client, send, holding)
            else:
                server, message, name = await self._addressed(asking, client, holding)
                request, observed = admitted.request, admitted.observed
                request.received = orjson.dumps(message)
                inner = await self._at(asking, request, observed, admitted.place, server, message, name)
                return await self._plane.serve(inner, client, send)
        except ProtocolError as error:
            error.of = asking.call.message_id
            denied = ProtocolDenied(error)
            denied.as_answer = asking.older
            raise denied from None
        finally:
            holding.release()
        return admitted.observed

    # Lists

    async def _list(self, asking: _Asking, client: Departure, send: Send, holding: Holding) -> None:
        if asking.params.get("cursor") is not None:
            raise ProtocolError(INVALID_PARAMS, "the list of all servers has one page, and no cursor")
        parts = await self._parts(asking, asking.method, client, holding)
        refused = [each.refused for each in parts if each.refused is not None]
        if refused and len(refused) == len(parts):
            status = 200 if asking.older else 403
            await _send(asking, send, status, orjson.dumps({**refused[0], "id": asking.call.message_id}))
            asking.admitted.observed.outcome = "policy_denied"
            return
        await _answer(asking, send, joined.result(asking.method, parts, asking.servers))

    async def _parts(self, asking: _Asking, method: str, client: Departure, holding: Holding) -> Sequence[Part]:
        """Every server's part of a list, in the order of their names."""
        asked = await self._visible(asking, method)
        turns, departures = asyncio.Semaphore(_AT_ONCE), [Departure() for _ in asked]

        def leave() -> None:
            for each in departures:
                each.happened()

        client.tell = leave
        if client.gone:
            leave()

        async def part(server: str, departure: Departure) -> Part:
            async with turns:
                timer = asyncio.get_running_loop().call_later(self._seconds + _GRACE, departure.happened)
                try:
                    return await self._part(asking, method, server, departure, holding)
                finally:
                    timer.cancel()

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(part(*each)) for each in zip(asked, departures, strict=True)]
        finally:
            client.tell = None
        return [each.result() for each in tasks]

    async def _visible(self, asking: _Asking, method: str) -> Sequence[str]:
        """The servers whose list the agent's policies let it ask for; if there are none, one that says no."""
        admitted = asking.admitted
        principal, request = admitted.principal, admitted.request
        active = await self._registry.active(admitted.epochs.policy)
        judges = authorization.panel(principal, active, self._policies)
        message = asking.listing(method)
        head, raw = asking.head(message), orjson.dumps(message)
        found: list[str] = []
        for server, provider in asking.servers.items():
            call = provider.read(Endpoint(server, provider.routes[0], PATH), head, raw)
            within = authorization.within_scope(judges, principal.scope, call, (), request.peer)
            if await self._judge.may(admitted, call, within):
                found.append(server)
        return found or [*asking.servers][:1]

    async def _part(self, asking: _Asking, method: str, server: str, departure: Departure, holding: Holding) -> Part:
        """One server's part of a list: all pages."""
        ends = asyncio.get_running_loop().time() + self._seconds
        items: list[dict[str, Any]] = []
        decisions: list[str] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            kept = _Kept(holding)
            await self._ask(asking, server, asking.listing(method, cursor), departure, kept, ends)
            if kept.decision:
                decisions.append(kept.decision)
            answer = kept.message(asking.of)
            found = _page(answer, method)
            if isinstance(found, tuple):
                reason, text = found
                by_gateway = reason != "server_error"
                refused = answer if by_gateway and not items and reason in SAYS_NO else None
                return Part(server, tuple(items), tuple(decisions), reason, text, refused)
            page, cursor = found[LISTS[method].member], found.get("nextCursor")
            items += page
            if len(items) > MOST_TOOLS:
                return Part(server, (), tuple(decisions), "too_large", f"it lists more than {MOST_TOOLS}")
            if not isinstance(cursor, str) or not page:
                return Part(server, tuple(items), tuple(decisions))
        return Part(server, tuple(items), tuple(decisions), "too_large", f"it has more than {_MOST_PAGES} pages")

    async def _ask(
        self, asking: _Asking, server: str, message: Mapping[str, Any], client: Departure, kept: _Kept, ends: float
    ) -> None:
        """Make one request to a server, beside others for the same client."""
        outer, began = asking.admitted, time.monotonic_ns()
        request = self._plane.request_of(outer.request)
        request.ends, request.received = ends, orjson.dumps(message)
        observed = Observed(request, new_id("dec_"), began, outer.principal)
        observed.message_id, observed.as_answer = asking.of, asking.older
        request.speaker = asking.servers[server]
        try:
            place = self._plane.enter(request, outer.principal)
            inner = await self._at(asking, request, observed, place, server, message, "")
            observed = await self._plane.serve(inner, client, kept.send)
        except Denied as denied:
            observed.outcome = denied.code
            await self._plane.tell(observed, denied, client, kept.send)
        finally:
            request.release()
            self._plane.finished(observed, f"POST /{server}{PATH}", began)

    async def _at(
        self,
        asking: _Asking,
        request: Request,
        observed: Observed,
        place: Place,
        server: str,
        message: Mapping[str, Any],
        name: str,
    ) -> Admitted:
        """A request to one of the servers, as if it had come to that one's path."""
        outer = asking.admitted
        target = routing.target("POST", f"/{server}{PATH}".encode())
        routes = await self._registry.routes(outer.epochs.upstreams)
        try:
            found = routes.resolve(outer.principal.organization, target)
        except Denied as denied:
            found = await self._registry.resolve_again(
                denied, outer.epochs.upstreams, outer.principal.organization, target
            )
        match, others = self._plane.choose(outer.principal, found)
        observed.match, request.joined_as = match, name
        return replace(
            outer,
            request=request,
            observed=observed,
            place=place,
            salt=random_bytes(SALT_BYTES),
            target=target,
            head=asking.head(message),
            found=found,
            match=match,
            others=others,
        )

    # Requests to one server

    async def _addressed(self, asking: _Asking, client: Departure, holding: Holding) -> tuple[str, dict[str, Any], str]:
        """The server that a request is for, the message that it gets, and the client's name for the thing."""
        call, params, method = asking.call, asking.params, asking.method
        if method in _BY_NAME:
            server, name = _named(asking, str(params["name"]))
            return server, asking.message(method, {**params, "name": name}), str(params["name"])
        if method == "completion/complete" and call.prompt is not None:
            server, name = _named(asking, call.prompt.name)
            ref = {**params["ref"], "name": name}
            return server, asking.message(method, {**params, "ref": ref}), call.prompt.name
        if call.uri is not None and method in ("resources/read", "completion/complete"):
            server = await self._with_resource(asking, call.uri["text"], client, holding)
            return server, asking.message(method, params), ""
        if method in ("tasks/get", "tasks/update", "tasks/cancel") and not asking.older:
            return await self._with_task(asking), asking.message(method, params), ""
        text = f"{shown(method)} is not served for all servers as one: ask a server at its own path, /SERVER{PATH}"
        raise ProtocolError(METHOD_NOT_FOUND, text)

    async def _with_task(self, asking: _Asking) -> str:
        """The server that gave the agent the task. If none did, any of them may refuse it: it is somebody else's."""
        admitted = asking.admitted
        routes = await self._registry.routes(admitted.epochs.upstreams)
        tasks = tuple(each for each in asking.call.references if each.kind == "mcp_task")
        call = replace(asking.call, references=tasks)
        for server in asking.servers:
            destination = routes.named(admitted.principal.organization, server)
            if destination is None:
                continue
            match = Match(destination, admitted.match.endpoint)
            if not await self._reader.foreign(admitted.principal, match, call):
                return server
        return next(iter(asking.servers))

    async def _with_resource(self, asking: _Asking, uri: str, client: Departure, holding: Holding) -> str:
        """The one server that has this resource."""
        for method, has in (("resources/list", str.__eq__), ("resources/templates/list", _fits)):
            parts = await self._parts(asking, method, client, holding)
            key = LISTS[method].key
            having = [part.server for part in parts if any(has(str(each.get(key)), uri) for each in part.items)]
            if len(having) == 1:
                return having[0]
            if having:
                paths = " or ".join(f"/{each}{PATH}" for each in having)
                text = f"several servers have {shown(uri, 256)}: read it at the path of one, {paths}"
                raise ProtocolError(INVALID_PARAMS, text)
        text = f"no server lists {shown(uri, 256)}: read it at the path of its server, /SERVER{PATH}"
        raise ProtocolError(INVALID_PARAMS, text)


class _Asking:
    """A client's request to all servers: what it asks, and the messages that servers get for it."""

    def __init__(self, admitted: Admitted, call: Call) -> None:
        provider = admitted.match.destination.provider
        assert isinstance(provider, Joined)
        assert call.protocol is not None
        self.admitted = admitted
        self.call = call
        self.servers = provider.servers
        self.method: str = call.protocol["method"]
        self.version: str = call.protocol["version"]
        self.older = eras.era(self.version) == "older"
        self.params: Mapping[str, Any] = {} if call.body is None else call.body.get("params", {})

    @property
    def of(self) -> str | int:
        assert self.call.message_id is not None
        return self.call.message_id

    def own_answer(self) -> dict[str, Any] | None:
        """The answer to what only the gateway can answer; None if servers are asked."""
        if self.method == ("initialize" if self.older else "server/discover"):
            return joined.about(self.version, older=self.older)
        return {} if self.method == "ping" and self.older else None

    def message(self, method: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": self.of, "method": method, "params": dict(params)}

    def listing(self, method: str, cursor: str | None = None) -> dict[str, Any]:
        """The message that asks for a list, or the next page of one."""
        meta = {name: value for name, value in self.params.get("_meta", {}).items() if name != "progressToken"}
        params: dict[str, Any] = {"_meta": meta} if meta else {}
        if cursor is not None:
            params["cursor"] = cursor
        return self.message(method, params)

    def head(self, message: Mapping[str, Any]) -> JoinedHead:
        """The head of a request with this message: headers that repeat the client's say the same of it."""
        given = self.admitted.head
        headers = {name: text for name, text in given.headers.items() if name not in _OF_HEAD}
        if message["method"] != "tools/call":
            headers = {name: text for name, text in headers.items() if not name.startswith("mcp-param-")}
        if not self.older:
            headers["mcp-method"] = message["method"]
            member = NAMED_BY.get(message["method"])
            if member is not None and isinstance(name := message["params"].get(member), str):
                headers["mcp-name"] = encoded(name)
        return JoinedHead(given.query, headers, given.content_type)


def _named(asking: _Asking, name: str) -> tuple[str, str]:
    found = joined.owner(name, asking.servers)
    if found is None:
        text = f"{shown(name, 256)} begins with the name of no server: the lists have the names, as SERVER__NAME"
        raise ProtocolError(INVALID_PARAMS, text)
    return found


def _page(answer: Mapping[str, Any] | None, method: str) -> dict[str, Any] | tuple[str, str]:
    """One page of a list; or why there is none, as a code and a text."""
    if answer is None:
        return "upstream_error", "its answer cannot be read"
    error, found = answer.get("error"), answer.get("result")
    member = LISTS[method].member
    if isinstance(error, dict):
        if error.get("code") == METHOD_NOT_FOUND:
            return {member: []}  # it has no such things
        data = error.get("data")
        reason = data.get("reason") if isinstance(data, dict) else None
        return str(reason or "server_error")[:_LONGEST], str(error.get("message", ""))[:_LONGEST]
    items = found.get(member) if isinstance(found, dict) else None
    if not isinstance(found, dict) or not isinstance(items, list):
        return "upstream_error", "its answer is no such list"
    return {**found, member: [each for each in items if isinstance(each, dict)]}


def _fits(template: str, uri: str) -> bool:
    """True if a URI may have been made of this template (RFC 6570): it has its plain parts, in their order."""
    first, *rest = _EXPRESSION.split(template)
    if not rest:
        return template == uri
    if not uri.startswith(first):
        return False
    at = len(first)
    for piece in rest[:-1]:
        if (found := uri.find(piece, at)) < 0:
            return False
        at = found + len(piece)
    return len(uri) - at >= len(rest[-1]) and uri.endswith(rest[-1])


async def _answer(asking: _Asking, send: Send, found: Mapping[str, Any]) -> None:
    result = joined.for_era(found, older=asking.older) if "_meta" in found else dict(found)
    await _send(asking, send, 200, orjson.dumps({"jsonrpc": "2.0", "id": asking.of, "result": result}))


async def _send(asking: _Asking, send: Send, status: int, body: bytes) -> None:
    observed = asking.admitted.observed
    observed.status, observed.outcome = status, "ok"
    headers = [(b"content-length", b"%d" % len(body)), (b"cache-control", b"no-store")]
    if body:
        headers.append((b"content-type", b"application/json"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
