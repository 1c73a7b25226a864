"""The control API as an ASGI application: from a request's bytes to its operation, and back (docs/control-api.md).

A request is matched against the table of operations by its path as it was sent, authenticated, read, checked and
carried out in a thread; the event loop never waits for the disk. Nothing else that the control listener serves is here.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl, unquote_to_bytes

import orjson
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.control import openapi, page, problems, tenants
from gateway.control.api import OPERATIONS
from gateway.control.cursors import Cursors
from gateway.control.gate import Caller, Gate
from gateway.control.operation import Answer, Ask, Context, Operation
from gateway.control.problems import Problem
from gateway.control.repeats import Repeats
from gateway.errors import GatewayError, did_you_mean
from gateway.identity import operator_roles
from gateway.identity.credentials import Peppers
from gateway.logs import without_keys
from gateway.registry import publication
from gateway.registry.database import Registry
from gateway.registry.documents import plain
from gateway.registry.key_source import KeySource
from gateway.registry.vault import Vault
from gateway.settings import DataDirectory
from gateway.upstream import strict_json

logger = logging.getLogger("gateway.control")

PREFIX: Final = "/api/v1"
MAX_BODY: Final = 256 * 1024
THREADS: Final = 8
MAX_WAITING: Final = 64
"""How many requests may be under way; more are refused."""

NO_MEMBER: Final = "there is no such member"
_BODY_SECONDS: Final = 30.0
_JSON: Final = re.compile(r"application/(json|merge-patch\+json)\s*(;\s*charset=utf-8\s*)?", re.IGNORECASE)

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
class _Request:
    """What a thread gets."""

    operation: Operation
    path: Mapping[str, str]
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes


class ControlApi:
    """In front of another application, which gets what is not under `/api`. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, context: Context, operations: Sequence[Operation], version: str) -> None:
        self._app = app
        self._context = context
        self._gate = Gate(context.registry, context.peppers)
        self._table = [(_pattern(each.path), each) for each in operations]
        document = openapi.document(operations, version)
        text, policy = page.render(document)
        readable = _Response(200, "text/html; charset=utf-8", text, [("content-security-policy", policy)])
        self._static = {
            f"{PREFIX}/openapi.json": _Response(200, "application/json", orjson.dumps(document)),
            PREFIX: readable,
            f"{PREFIX}/": readable,
        }
        self._threads = ThreadPoolExecutor(THREADS, "control-api")
        self._running = 0

    @classmethod
    def open(cls, app: ASGIApp, data: DataDirectory, version: str, source: KeySource | None = None) -> ControlApi:
        """The API of the gateway in a data directory. Blocks."""
        peppers = Peppers.load(data.keys)
        vault, cursors = Vault.load(data.keys, source), Cursors(peppers.current)
        context = Context(registry=Registry.open(data), data=data, peppers=peppers, vault=vault, cursors=cursors)
        return cls(app, context, OPERATIONS, version)

    def close(self) -> None:
        """Wait for what is under way, and close the registry. Blocks."""
        self._threads.shutdown()
        self._context.registry.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not re.match(r"/api(/|$)", scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            response = await self._answer(scope, receive)
        except Problem as problem:
            response = _problem(problem)
        except Exception:
            logger.exception("a request to the control API failed")
            response = _problem(Problem(500, "internal_error", "the gateway failed", hint="see its log"))
        await _send(send, response)

    async def _answer(self, scope: Scope, receive: Receive) -> _Response:
        raw: bytes = scope.get("raw_path") or scope["path"].encode()
        target = raw.split(b"?")[0]
        if scope["method"] == "GET" and (static := self._static.get(target.decode("latin-1"))) is not None:
            return static
        operation, path = self._find(scope["method"], target)
        if self._running >= MAX_WAITING:
            raise Problem(503, "overloaded", "too many requests are under way", headers=[("retry-after", "1")])
        self._running += 1
        try:
            address = scope["client"][0] if scope.get("client") else ""
            loop = asyncio.get_running_loop()
            caller = await loop.run_in_executor(self._threads, self._authenticate, scope["headers"], address)
            _check_access(operation, caller)
            headers = _single_headers(scope["headers"])
            body = await _read(receive, headers)
            asked = _Request(operation, path, scope["query_string"], headers, body)
            return await loop.run_in_executor(self._threads, self._carry_out, asked, caller)
        finally:
            self._running -= 1

    def _authenticate(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> Caller:
        try:
            return self._gate.caller(headers, address)
        except GatewayError as error:
            raise problems.of(error) from error

    def _find(self, method: str, target: bytes) -> tuple[Operation, dict[str, str]]:
        """The operation, and the parameters in its path. Each part is decoded by itself: `%2F` separates nothing."""
        allowed = []
        for pattern, operation in self._table:
            if (found := pattern.fullmatch(target)) is not None:
                if operation.method == method:
                    return operation, {name: _part(value) for name, value in found.groupdict().items()}
                allowed.append(operation.method)
        if allowed:
            headers = [("allow", ", ".join(sorted(allowed)))]
            raise Problem(405, "wrong_method", f"this path does not take {_shown(method)}", headers=headers)
        hint = f"GET {PREFIX}/ shows what there is"
        raise Problem(404, "unknown_path", "there is no such path in the control API", hint=hint)

    def _carry_out(self, asked: _Request, caller: Caller) -> _Response:
        """In a thread: check the request's contents, carry it out and publish what it changed."""
        operation = asked.operation
        try:
            query = _parameters(asked.query)
            wanted = query.pop("organization", None) if operation.about != "nothing" else None
            repeats = Repeats.of(asked.headers, operation, caller, asked.path, asked.query, asked.body)
            ask = Ask(
                context=self._context,
                caller=caller,
                organization=tenants.organization(self._context.registry, operation, caller, wanted),
                path=asked.path,
                query=_validated_query(operation, query),
                body=_validated_body(operation, asked.headers, asked.body),
                matching=_tags(operation, asked.headers),
                before=[lambda session: self._gate.check_again(session, caller), *repeats.before],
                after=repeats.after,
            )
            if (again := repeats.answered(self._context.registry)) is not None:
                return _Response(again[0], "application/json", again[1], [("idempotency-replayed", "true")])
            warnings: list[str] = []
            with self._publishing(operation, warnings):
                answer = operation.function(ask)
            response = _response(answer, warnings)
            repeats.remember(self._context.registry, answer)
            return response
        except GatewayError as error:
            raise problems.of(error, operation.noun, named=operation.parameters) from error

    def _publishing(self, operation: Operation, warnings: list[str]) -> AbstractContextManager[Any]:
        registry, data = self._context.registry, self._context.data
        if operation.restricts:
            return publication.restricting(registry, data, lambda what, hint: warnings.append(f"{what}: {hint}"))
        return publication.changing(registry, data) if operation.writes else _NOTHING_TO_PUBLISH


class _Nothing(AbstractContextManager[None]):
    def __exit__(self, *_: object) -> None:
        return None


_NOTHING_TO_PUBLISH: Final = _Nothing()


def _check_access(operation: Operation, caller: Caller) -> None:
    noun, write = operation.noun, operation.writes
    if noun == "me":
        return
    what = f"{'change' if write else 'read'} {noun if noun != 'audit' else 'audit entries'}"
    if not operator_roles.may(caller.operator.role, noun, write=write):
        detail = f"an operator with the role {caller.operator.role} may not {what}"
        raise Problem(403, "forbidden", detail, hint="an owner can give you another role")
    if not operator_roles.within(caller.token.scopes, noun, write=write):
        detail = f"this token is for {', '.join(caller.token.scopes or ())}: it may not {what}"
        raise Problem(403, "token_scope", detail, hint="use a token for that")


# --- what the request holds -------------------------------------------------------------------------------------------


def _pattern(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile((re.escape(PREFIX) + text).encode())


def _part(value: bytes) -> str:
    try:
        return unquote_to_bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise Problem(400, "bad_request", "the path is not UTF-8") from None


def _shown(text: str) -> str:
    return without_keys(text if text.isprintable() else ascii(text))[:80]


def _single_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """The headers, those that mean something here at most once."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in found and name in (b"content-type", b"content-length", b"idempotency-key", b"if-match"):
            raise Problem(400, "bad_request", f"the request has several {name.decode()} headers", hint="send one")
        found[name] = value
    return found


async def _read(receive: Receive, headers: Mapping[bytes, bytes]) -> bytes:
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise Problem(415, "unsupported_encoding", "the body is compressed", hint="send it as it is")
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise Problem(400, "bad_request", "the request broke off")
                body += message.get("body", b"")
                if len(body) > MAX_BODY:
                    raise Problem(413, "too_large", f"the body is longer than {MAX_BODY} bytes")
                if not message.get("more_body"):
                    return bytes(body)
    except TimeoutError:
        raise Problem(400, "bad_request", "the request's body did not come in time") from None


def _parameters(query: bytes) -> dict[str, str]:
    """The parameters by their names, each at most once."""
    try:
        pairs = parse_qsl(query.decode("ascii"), keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except ValueError:
        raise Problem(400, "bad_request", "the parameters after the `?` cannot be read") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            error = {"parameter": _shown(name), "message": "given twice"}
            raise Problem(400, "invalid_parameter", "a parameter is given twice", errors=[error])
        found[name] = value
    return found


def _validated_query(operation: Operation, query: dict[str, str]) -> BaseModel:
    try:
        return operation.query.model_validate(query)
    except ValidationError as error:
        errors = [
            {"parameter": _shown(".".join(map(str, each["loc"]))), "message": _said(each)}
            for each in error.errors(include_url=False, include_context=False, include_input=False)
        ]
        detail = f"parameter `{errors[0]['parameter']}`: {errors[0]['message']}"
        raise Problem(400, "invalid_parameter", detail, errors=errors) from None


def _validated_body(operation: Operation, headers: Mapping[bytes, bytes], raw: bytes) -> BaseModel | None:
    if operation.body is None:
        if raw:
            raise Problem(400, "bad_request", "this operation takes no body")
        return None
    if not raw:
        raw = b"{}"
    elif not _JSON.fullmatch(headers.get(b"content-type", b"").decode("latin-1").strip()):
        raise Problem(
            415, "unsupported_media_type", "the body must be JSON", hint="send content-type: application/json"
        )
    strict_json.parse(raw)  # whatever parsers could read differently is refused here
    try:
        return operation.body.model_validate_json(raw)
    except ValidationError as error:
        errors = [
            {"pointer": _shown("".join(f"/{part}" for part in each["loc"])), "message": _said(each)}
            for each in sorted(
                error.errors(include_url=False, include_context=False, include_input=False),
                key=lambda each: each["type"] != "extra_forbidden",  # a mistyped name explains the missing one
            )
        ]
        detail = f"{errors[0]['pointer'] or 'the body'}: {errors[0]['message']}"
        hint = ""
        if errors[0]["message"] == NO_MEMBER:
            hint = did_you_mean(errors[0]["pointer"].removeprefix("/"), operation.body.model_fields)
        raise Problem(422, "invalid_body", detail, hint=hint, errors=errors) from None


def _said(error: Any) -> str:
    if error["type"] == "extra_forbidden":
        return NO_MEMBER if error["loc"] else "unexpected"
    message: str = error["msg"]
    return message[:1].lower() + message[1:]


def _tags(operation: Operation, headers: Mapping[bytes, bytes]) -> list[str] | None:
    text = headers.get(b"if-match")
    if operation.if_match is None:
        return None
    if text is None:
        if operation.if_match == "required":
            hint = "read it first, and send its ETag in If-Match; `If-Match: *` means whatever it is"
            raise Problem(428, "if_match_required", "the change must say which version it is of", hint=hint)
        return None
    return [each.strip() for each in text.decode("latin-1").split(",")]


# --- answering --------------------------------------------------------------------------------------------------------


def _response(answer: Answer, warnings: Sequence[str]) -> _Response:
    headers = [("gateway-warning", _shown(each)) for each in warnings]
    if answer.tag is not None:
        headers.append(("etag", answer.tag))
    if answer.location is not None:
        headers.append(("location", PREFIX + answer.location))
    return _Response(answer.status, "application/json", orjson.dumps(plain(answer.body)), headers)


def _problem(problem: Problem) -> _Response:
    return _Response(problem.status, problems.MEDIA_TYPE, orjson.dumps(problem.document()), problem.headers)


async def _send(send: Send, response: _Response) -> None:
    headers = [("content-type", response.media_type), ("content-length", str(len(response.body))), *_ALWAYS]
    headers += response.headers
    if not any(name == "content-security-policy" for name, _ in response.headers):
        headers.append(_NO_CONTENT_POLICY)
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body})
