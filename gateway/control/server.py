"""The control API as an ASGI application: from a request's bytes to its operation, and back (control-api.md).

A request is matched against the table of operations by its path as it was sent, authenticated, read, checked and
carried out in a thread; the event loop never waits for the disk. Nothing else that the control listener serves is here.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.audit.writer import AuditWriter
from gateway.control import dispatch, openapi, operations, page, problems, requests
from gateway.control.callers import Caller, check_access
from gateway.control.dashboard.app import Dashboard
from gateway.control.dashboard.door import OperationReply
from gateway.control.event_streams import EventStreams, Feed
from gateway.control.gate import Gate
from gateway.control.logins import Logins, Visit
from gateway.control.mcp import endpoint
from gateway.control.mcp.endpoint import ApiReply, McpEndpoint
from gateway.control.operation import MAX_BODY, Answer, Ask, Context, Operation
from gateway.control.operations import PREFIX, matchers
from gateway.control.permissions import Bundles
from gateway.control.places import ALIKE, LARGE_BYTES, THREADS, Hall, Threads, held, holders_of
from gateway.control.problems import Problem
from gateway.control.repeats import Repeats
from gateway.control.sealing import Cursors
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.identifiers import new_id
from gateway.identity.credentials import Peppers
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.documents import plain
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.settings import Settings, load_settings
from gateway.shares import Holder, Shares, address_of

logger = logging.getLogger("gateway.control.server")

T = TypeVar("T")

MAX_CHANGING: Final = 4
"""Changes that are made at a time. They wait for one another anyway; an operator's are never all of them."""
MAX_HEAVY: Final = 3
"""Requests that take seconds, have large bodies or ask policies; more wait, with their bodies read."""
MAX_BESIDE: Final = 2
"""Requests for pages beside the API, such as metrics, which are made one at a time; more wait."""
MAX_OUTSIDE: Final = 8
"""Requests that wait for servers elsewhere; more are refused, because waiting ones would keep all others out."""
MAX_VISITS: Final = 32
"""Requests without a token; they are no part of the others, so they keep no operator out."""
_LONGEST_WARNING: Final = 1000
_CHECKED_BY_CONTENT: Final = ("me", "fleet")
"""Nouns that every caller may ask for: the function itself checks what it may answer, if need be."""
_VISIT_BYTES: Final = 16 * 1024
_VISIT_SECONDS: Final = 10.0
_READING: Final = ("GET", "HEAD")  # pages that are the same for everybody; the listener leaves the body out for HEAD

_ALWAYS: Final = (
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("x-frame-options", "DENY"),
)
_NO_CONTENT_POLICY: Final = ("content-security-policy", "default-src 'none'; frame-ancestors 'none'")


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    media_type: str
    body: bytes
    headers: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class _Stream:
    """A stream of an operator, which was counted."""

    feed: Feed
    caller: Caller


@dataclass(frozen=True, slots=True)
class _Request:
    """A request as it is handed to a thread."""

    operation: Operation
    path: Mapping[str, str]
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


class ControlApi:
    """In front of another application, which gets what is not under `/api`. Owned by the event loop's thread."""

    def __init__(
        self,
        app: ASGIApp,
        context: Context,
        operations: Sequence[Operation],
        version: str,
        stop: asyncio.Event | None = None,
    ) -> None:
        self._app = app
        self._context = context
        self._table = matchers(operations)
        document = openapi.document(operations, version)
        text, policy = page.render(document)
        readable = _Response(200, "text/html; charset=utf-8", text, [("content-security-policy", policy)])
        self._static = {
            f"{PREFIX}/openapi.json": _Response(200, "application/json", orjson.dumps(document)),
            "/": _Response(307, "text/plain; charset=utf-8", b"", [("location", "/dashboard/")]),
            PREFIX: readable,
            f"{PREFIX}/": readable,
        }
        self._ordinary = Hall("ordinary")
        self._restricting = Hall("restricting")
        self._threads = {
            "reading": Threads("reading", "readings", THREADS),
            "changing": Threads("changing", "changes", MAX_CHANGING, ALIKE),
            "restricting": Threads("restricting", "restrictions", THREADS),
            "heavy": Threads("heavy", "requests that take seconds", MAX_HEAVY, ALIKE),
            "beside": Threads("beside", "pages beside the API", MAX_BESIDE, ALIKE),
            "outside": Threads("outside", "servers elsewhere that are tried", MAX_OUTSIDE, ALIKE, waits=False),
        }
        self._gate = Gate(context.registry, context.peppers, later=self._threads["changing"].submit)
        self._large = Shares("bytes of large bodies", LARGE_BYTES)
        self._visits = Shares("requests without a token", MAX_VISITS)
        self.logins = Logins(context)
        self._streams = EventStreams(stop)
        self._dashboard = Dashboard(context, self.logins, self, self._arrived, self._asked)
        self._mcp = McpEndpoint(
            operations,
            version,
            context.settings.control_url,
            _CHECKED_BY_CONTENT,
            functools.partial(self._arrive, self._ordinary),
            self._message,
            self._carried,
        )
        self._owned: AuditWriter | None = None

    @classmethod
    def open(
        cls,
        app: ASGIApp,
        data: DataDirectory,
        version: str,
        source: KeySource | None = None,
        stop: asyncio.Event | None = None,
        writer: AuditWriter | None = None,
        health: Callable[[str | None, Registry], Mapping[str, Any]] | None = None,
        followed: Callable[[str], bool] | None = None,
        settings: Settings | None = None,
    ) -> ControlApi:
        """The API of the gateway in a data directory, whose streams end when `stop` is set. Blocks.

        `writer` is the log's in this process; without one the API has its own. `health` and
        `followed` are those of `Context`.
        """
        peppers = Peppers.load(data.keys)
        vault, cursors = Vault.load(data.keys, source), Cursors(peppers.current)
        registry = Registry.open(data)
        if own := writer is None:
            writer = AuditWriter(data, boot=new_id("boot"), deployment=queries.deployment(registry))
        context = Context(
            registry=registry,
            data=data,
            settings=settings or load_settings({"data": data.path}),
            writer=writer,
            peppers=peppers,
            vault=vault,
            cursors=cursors,
            bundles=Bundles(data.bundles),
            health=health,
            followed=followed,
        )
        api = cls(app, context, operations.every(), version, stop)
        api._owned = writer if own else None
        return api

    def close(self) -> None:
        """Wait for what is under way, and close the registry. Blocks."""
        threads = (self._ordinary.gate, self._restricting.gate, *self._threads.values(), self._streams.threads)
        for each in threads:
            each.close()
        self._context.kept.close()
        self.logins.threads.shutdown()
        if self._owned is not None:
            self._owned.close()
        self._context.registry.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and re.match(r"/dashboard(/|$)", scope["path"]):
            await self._dashboard(scope, receive, send)
            return
        if scope["type"] == "http" and scope["path"] == endpoint.PATH:
            await self._mcp(scope, receive, send)
            return
        if scope["type"] != "http" or not (_is_visit(scope) or re.match(r"/api(/|$)", scope["path"])):
            await self._app(scope, receive, send)
            return
        try:
            response: _Response | _Stream = await self._answer(scope, receive)
        except Problem as problem:
            response = _problem(problem)
        except Exception:
            logger.exception("a request to the control API failed")
            response = _problem(Problem(500, "internal_error", "the gateway failed", hint="see its log"))
        if isinstance(response, _Stream):
            await self._stream(response, receive, send)
        else:
            await _send(send, response)

    async def _answer(self, scope: Scope, receive: Receive) -> _Response | _Stream:
        requests.check_host(scope["headers"])
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        target = raw.split(b"?")[0]
        if scope["method"] in _READING and (static := self._static.get(target.decode("latin-1"))) is not None:
            return static
        operation, path = dispatch.find(scope["method"], target, self._table)
        if operation.public:
            return await self._visited(operation, scope, receive, _stranger(scope))
        hall = self._restricting if operation.restricts else self._ordinary
        caller = await self._arrive(hall, scope)
        holders = holders_of(caller)
        with held(hall.under_way, *holders):
            if operation.noun not in _CHECKED_BY_CONTENT:
                check_access(caller, operation.noun, write=operation.writes)
            headers = requests.single_headers(scope["headers"])
            async with self._body(operation, receive, headers, holders) as body:
                asked = _Request(operation, path, scope["query_string"], headers, body)
                if operation.streams:
                    return await self._open_stream(asked, caller)
                return await self._threads_for(operation).run(holders, self._carry_out, asked, caller)

    async def _asked(
        self, caller: Caller, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes], body: bytes
    ) -> OperationReply:
        """The API's answer to a person whose session was checked already: for the pages of the dashboard."""
        found = await self._carried(caller, method, path, query, headers, body)
        return OperationReply(orjson.loads(found.body), found.tag, [*found.warnings])

    async def _message(self, caller: Caller, receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
        """The body of a request for a tool. Its place is given back before the call takes one of its own."""
        with held(self._ordinary.under_way, *holders_of(caller)):
            return await requests.read(receive, headers, requests.length(headers, MAX_BODY))

    async def _carried(
        self, caller: Caller, method: str, path: str, query: bytes, headers: Mapping[bytes, bytes], body: bytes
    ) -> ApiReply:
        """The API's answer to an operator whose token was checked already."""
        operation, names = dispatch.find(method, path.encode(), self._table)
        hall = self._restricting if operation.restricts else self._ordinary
        holders = holders_of(caller)
        with held(hall.under_way, *holders):
            if operation.noun not in _CHECKED_BY_CONTENT:
                check_access(caller, operation.noun, write=operation.writes)
            asked = _Request(operation, names, query, headers, body)
            found = await self._threads_for(operation).run(holders, self._carry_out, asked, caller)
        warnings = [value for name, value in found.headers if name == "gateway-warning"]
        return ApiReply(found.body, dict(found.headers).get("etag", ""), warnings)

    async def read_beside(self, scope: Scope, noun: str, work: Callable[[Caller], T]) -> T:
        """Do `work`, which blocks, for an operator who may read things of this kind: for pages beside the API.

        Raises `Problem`, or what `work` raises.
        """
        caller = await self._arrive(self._ordinary, scope)
        holders = holders_of(caller)
        with held(self._ordinary.under_way, *holders):
            check_access(caller, noun, write=False)
            return await self._threads["beside"].run(holders, work, caller)

    async def _arrived(self, token: str, scope: Scope) -> Caller:
        """The operator whose session a browser's request belongs to. Raises `Problem`."""
        return await self._arrive(
            self._ordinary, {**scope, "headers": [(b"authorization", b"Bearer " + token.encode())]}
        )

    async def _arrive(self, hall: Hall, scope: Scope) -> Caller:
        """The operator who asks. Raises `Problem`."""
        stranger = _stranger(scope)
        with held(hall.strangers, stranger):
            return await hall.gate.run((stranger,), self._authenticate, scope["headers"], stranger.id)

    @asynccontextmanager
    async def _body(
        self, operation: Operation, receive: Receive, headers: Mapping[bytes, bytes], holders: tuple[Holder, ...]
    ) -> AsyncIterator[bytes]:
        """The whole body of a request, before it has a turn: it may come slowly.

        Small ones are few because the requests are.
        """
        most = requests.announced(operation, headers)
        if most <= MAX_BODY:
            yield await requests.read(receive, headers, most)
            return
        with held(self._large, *holders, amount=most):
            yield await requests.read(receive, headers, most)

    async def _visited(self, operation: Operation, scope: Scope, receive: Receive, stranger: Holder) -> _Response:
        """Answer an operation that needs no token. Its request is small, and its function does not block."""
        with held(self._visits, stranger):
            return await self._visit(operation, scope, receive, stranger.id)

    async def _visit(self, operation: Operation, scope: Scope, receive: Receive, address: str) -> _Response:
        try:
            headers = requests.single_headers(scope["headers"])
            raw = await requests.read(receive, headers, _VISIT_BYTES, _VISIT_SECONDS)
            requests.validated_query(operation, requests.parameters(scope["query_string"]))
            body = requests.validated_body(operation, headers, raw)
            answer: Answer = await operation.function(Visit(logins=self.logins, body=body, address=address))
            return _response(operation, answer, ())
        except GatewayError as error:
            raise problems.of(error, operation.noun) from error

    async def _open_stream(self, asked: _Request, caller: Caller) -> _Stream:
        holders = holders_of(caller)
        self._streams.take(holders)
        try:
            return _Stream(await self._threads["reading"].run(holders, self._begin, asked, caller), caller)
        except BaseException:
            self._streams.give_back(holders)
            raise

    async def _stream(self, stream: _Stream, receive: Receive, send: Send) -> None:
        def check() -> None:
            with self._context.registry.read() as session:
                self._gate.check_again(session, stream.caller)

        headers = [("content-type", "text/event-stream"), ("x-accel-buffering", "no"), *_ALWAYS, _NO_CONTENT_POLICY]
        encoded = [(name.encode(), value.encode()) for name, value in headers]
        try:
            await self._streams.run(stream.feed, check, encoded, receive, send, holders_of(stream.caller))
        finally:
            self._streams.give_back(holders_of(stream.caller))

    def _threads_for(self, operation: Operation) -> Threads:
        if operation.restricts:
            return self._threads["restricting"]
        if operation.waits_for_others:
            return self._threads["outside"]
        if operation.heavy:
            return self._threads["heavy"]
        return self._threads["changing" if operation.writes else "reading"]

    def _authenticate(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> Caller:
        try:
            return self._gate.caller(headers, address)
        except GatewayError as error:
            raise problems.of(error) from error

    def _carry_out(self, asked: _Request, caller: Caller) -> _Response:
        """In a thread: check the request's contents, carry it out and publish what it changed."""
        operation = asked.operation
        try:
            repeats = Repeats.of(asked.headers, operation, caller, asked.path, asked.query, asked.body)
            ask = self._ask(asked, caller, repeats)
            if (again := repeats.answered(self._context.registry)) is not None:
                return _Response(again[0], "application/json", again[1], [("idempotency-replayed", "true")])
            warnings: list[str] = []

            def warn(what: str, hint: str) -> None:
                warnings.append(f"{what}: {hint}")

            with dispatch.publishing(self._context, operation, ask.body, warn, owed=warn):
                answer: Answer = operation.function(ask)
                # Before anything that can fail: what it made is in force, and a secret in it is told only once.
                repeats.remember(self._context.registry, operation, answer)
            return _response(operation, answer, warnings)
        except GatewayError as error:
            commands = asked.headers.get(b"gateway-client") == b"command-line"
            raise problems.of(error, operation.noun, named=operation.parameters, commands=commands) from error

    def _begin(self, asked: _Request, caller: Caller) -> Feed:
        """In a thread: check the request's contents, and make the feed of its stream."""
        operation = asked.operation
        try:
            repeats = Repeats(caller.operator.id, None, b"")
            feed: Feed = operation.function(self._ask(asked, caller, repeats)).body
            return feed
        except GatewayError as error:
            raise problems.of(error, operation.noun, named=operation.parameters) from error

    def _ask(self, asked: _Request, caller: Caller, repeats: Repeats) -> Ask:
        return dispatch.asked(
            self._context,
            caller,
            asked.operation,
            asked.path,
            requests.parameters(asked.query),
            body=requests.validated_body(asked.operation, asked.headers, asked.body),
            matching=requests.tags(asked.operation, asked.headers),
            last_event=asked.headers.get(b"last-event-id", b"").decode("latin-1") or None,
            before=[lambda session: self._gate.check_again(session, caller), *repeats.before],
            after=repeats.after,
        )


# --- answering --------------------------------------------------------------------------------------------------------


def _response(operation: Operation, answer: Answer, warnings: Sequence[str]) -> _Response:
    headers = [("gateway-warning", requests.shown(each, _LONGEST_WARNING)) for each in warnings]
    if answer.tag is not None:
        headers.append(("etag", answer.tag))
    if answer.location is not None and operation.status == 201:
        headers.append(("location", PREFIX + answer.location))
    return _Response(operation.status, "application/json", orjson.dumps(plain(answer.body)), headers)


def _stranger(scope: Scope) -> Holder:
    return address_of(scope["client"][0] if scope.get("client") else "")


def _is_visit(scope: Scope) -> bool:
    """True if a browser was given the listener's address alone: it is led to the dashboard."""
    return bool(scope["method"] in _READING and scope["path"] == "/")


def _problem(problem: Problem) -> _Response:
    return _Response(problem.status, problems.MEDIA_TYPE, problem.body(), problem.headers)


async def _send(send: Send, response: _Response) -> None:
    headers = [("content-type", response.media_type), ("content-length", str(len(response.body))), *_ALWAYS]
    headers += response.headers
    if not any(name == "content-security-policy" for name, _ in response.headers):
        headers.append(_NO_CONTENT_POLICY)
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
