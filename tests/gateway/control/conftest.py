"""The control API in this process: real registry, real log, real application; only the sockets are missing.

Every answer is checked against the OpenAPI document, so each test is one of the document as well.
"""

from __future__ import annotations

import asyncio
import functools
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jsonschema
import orjson
import pytest
from starlette.types import Message, Receive, Scope, Send

from gateway.audit import storage
from gateway.control.server import ControlApi
from gateway.policy.rollout.whereabouts import is_followed
from gateway.processes import status_answer
from gateway.registry.operators import operators
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, Home


@functools.cache
def event_loop() -> asyncio.AbstractEventLoop:
    """The one that the applications belong to, whichever thread asks; it runs until the tests end."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


@dataclass(frozen=True)
class Reply:
    """The answer."""

    status: int
    headers: dict[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)

    def ok(self, status: int = 200) -> Any:
        assert self.status == status, self.raw
        return self.json

    def problem(self, status: int) -> str:
        """The code of a problem."""
        assert self.status == status, self.raw
        assert self.headers["content-type"] == "application/problem+json"
        code = self.json["code"]
        assert isinstance(code, str)
        return code


@dataclass(frozen=True)
class Client:
    """Speaks to the application as an operator does."""

    api: ControlApi
    token: str | None
    address: str = "203.0.113.5"

    def __call__(
        self,
        method: str,
        path: str,
        body: Any = None,
        /,
        *,
        raw: bytes | None = None,
        headers: dict[str, str] | None = None,
        **query: str,
    ) -> Reply:
        sent = {"host": "gateway"} | ({} if self.token is None else {"authorization": f"Bearer {self.token}"})
        payload = raw if raw is not None else b"" if body is None else orjson.dumps(body)
        if payload:
            sent |= {"content-type": "application/json", "content-length": str(len(payload))}
        sent |= headers or {}
        listed = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
        target = path if path.startswith(("/api", "/mcp", "//")) else f"/api/v1{path}"
        string = "&".join(f"{name}={_quoted(value)}" for name, value in query.items())
        asking = self._exchange(method, target, string, listed, payload)
        reply = asyncio.run_coroutine_threadsafe(asking, event_loop()).result(300)
        check(self.api, method, target, reply)
        return reply

    async def _exchange(
        self, method: str, target: str, query: str, headers: list[tuple[bytes, bytes]], body: bytes
    ) -> Reply:
        scope: Scope = {
            "type": "http",
            "method": method,
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "headers": headers,
            "client": (self.address, 4711),
        }
        started: list[Message] = []
        parts: list[bytes] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                started.append(message)
            else:
                parts.append(message.get("body", b""))

        await self.api(scope, receive, send)
        (start,) = started
        return Reply(start["status"], {n.decode(): v.decode() for n, v in start["headers"]}, b"".join(parts))


@dataclass(frozen=True)
class Control:
    """A gateway's home with its control API."""

    home: Home
    api: ControlApi

    def operator(
        self, name: str = "olga", role: str = "owner", organization: str | None = None, **token: Any
    ) -> Client:
        """A client with the token of a new operator."""
        operators.add_operator(self.home.registry, actor=ACTOR, organization=organization, name=name, role=role)
        made = operators.create_token(
            self.home.registry, self.home.peppers, actor=ACTOR, organization=organization, operator=name, **token
        )
        return Client(self.api, made.text)

    def client(self, token: str | None, **more: str) -> Client:
        return Client(self.api, token, **more)


async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"  # uvicorn is told not to ask for more either
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"elsewhere"})


@pytest.fixture
def control(home: Home) -> Iterator[Control]:
    storage.create(home.data)
    settings = load_settings({"data": home.data.path}, {})
    health, followed = functools.partial(status_answer.answer, settings), functools.partial(is_followed, settings)
    api = ControlApi.open(elsewhere, home.data, "1.2.3", health=health, followed=followed)
    yield Control(home, api)
    api.close()


@pytest.fixture
def owner(control: Control) -> Client:
    return control.operator()


def _quoted(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:-]", lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), text)


# --- answers against the document -------------------------------------------------------------------------------------


@functools.cache
def document_of(api: ControlApi) -> dict[str, Any]:
    client = Client(api, None)
    reply = asyncio.run(client._exchange("GET", "/api/v1/openapi.json", "", [(b"host", b"gateway")], b""))
    found: dict[str, Any] = orjson.loads(reply.raw)
    return found


@functools.cache
def _validator(api: ControlApi, template: str, method: str, status: int) -> jsonschema.Draft202012Validator:
    """The schema of an operation's answer with a status. Made once: that takes longer than most answers."""
    document = document_of(api)
    (content,) = document["paths"][template][method]["responses"][str(status)]["content"].values()
    schema = content["schema"] | {"components": document["components"]}
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def check(api: ControlApi, method: str, target: str, reply: Reply) -> None:
    """Fail unless the document says that this may be answered."""
    document = document_of(api)
    path = target.removeprefix("/api/v1")
    for template, methods in document["paths"].items():
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in methods:
            responses = methods[method.lower()]["responses"]
            assert str(reply.status) in responses, f"{method} {target} answers {reply.status}: {reply.raw!r}"
            ((media_type, _),) = responses[str(reply.status)]["content"].items()
            assert reply.headers["content-type"] == media_type
            _validator(api, template, method.lower(), reply.status).validate(reply.json)
            documented = {name.lower() for name in responses[str(reply.status)].get("headers", {})}
            assert {"etag", "location", "idempotency-replayed", "gateway-warning"} & set(reply.headers) <= documented
            return
