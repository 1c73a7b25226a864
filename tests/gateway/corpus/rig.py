"""A gateway of real processes, a provider that records every byte it is sent, and clients on raw sockets."""

from __future__ import annotations

import asyncio
import re
import socket
import sqlite3
from collections import deque
from collections.abc import Iterable
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from gateway.audit.entry import commitment, decode
from gateway.data_directory import DataDirectory
from gateway.processes.creation import create
from gateway.registry.database import Registry
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from gateway.upstream.providers.http import api, openapi
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.dataplane.processes import Background, Live, write_policy

from .case import Case, mark
from .seen import SECRET, Seen

SETTINGS = """\
workers = 1
policy_deadline_ms = 1000
max_body_bytes = 2_000_000
drain_timeout = 5
"""

# Everything that can be forwarded is forwarded, so that the provider can be asked what it saw.
POLICY = """\
package bot.authz

default allow := false

allow if startswith(input.action, "models.")

allow if {
	input.resource.model != null
	startswith(input.resource.model, "mock-")
}

# Of state, the default moderation model and records: no model is named.
allow if input.resource.model == null

references := "allowed"
"""

# A JSON API beside the providers of models.
API = b"""
openapi: 3.1.0
paths:
  /v1/customers:
    get:
      operationId: searchCustomers
      parameters: [{name: q, in: query, required: true}, {name: limit, in: query}, {name: X-Tenant, in: header}]
    post:
      operationId: createCustomer
      requestBody: {content: {application/json: {schema: {properties: {
        note: {type: string}, owner_id: {type: string}, amount: {type: number},
        filter: {type: object, properties: {owner_id: {type: string}}}}}}}}
  /v1/customers/{customer_id}:
    get: {operationId: getCustomer}
    delete: {operationId: deleteCustomer}
    patch:
      operationId: updateCustomer
      requestBody: {content: {application/json: {schema: {properties: {
        note: {type: string}, customer_id: {type: string}, amount: {type: number}}}}}}
  /v1/customers/{customer_id}/move:
    post:
      operationId: moveCustomer
      parameters: [{name: to, in: query, required: true}, {name: reason, in: query},
        {name: tags, in: query, schema: {type: array, items: {type: string}}}]
      requestBody: {content: {application/json: {schema: {properties: {
        note: {type: string}, to: {type: string}, amount: {type: number}, customer_id: {type: string},
        owner: {type: object, properties: {id: {type: string}, tags: {type: array, items: {
          type: object, properties: {id: {type: string}}}}}}}}}}}
  /v1/customers/{customer_id}/orders/{order_id}:
    get: {operationId: getOrder}
components:
  securitySchemes: {token: {type: http, scheme: bearer}}
"""
_LANES = 32
_PARKED = 200
_PATIENCE = 30.0
_ANSWER = (
    b'{"id":"a","object":"chat.completion","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
)


class Provider:
    """It takes what comes strictly by the book; `strange` is what it could not read as requests.

    Its port is its own from the beginning to `close`, so that nobody else gets it while it is stopped.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.strange: list[bytes] = []
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the server binds the same address
        self._holder.bind(("127.0.0.1", 0))
        self.port = int(self._holder.getsockname()[1])
        self._server: asyncio.Server | None = None

    def close(self) -> None:
        self._holder.close()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, limit=2**20, backlog=512)

    def stop(self) -> None:
        assert self._server is not None
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
                body = await reader.readexactly(int(length[1])) if length else b""
                self.seen.append(Seen(head, body))
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (len(_ANSWER), _ANSWER)
                )
        except asyncio.IncompleteReadError as error:
            if error.partial:
                self.strange.append(error.partial)
        except (ConnectionError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


@dataclass
class Told:
    """The bytes that a client read: everything that came, until it had one whole answer or the connection ended."""

    case: Case
    data: bytes = b""

    @property
    def status(self) -> int | None:
        return int(self.data[9:12]) if self.data.startswith(b"HTTP/1.1 ") else None

    @property
    def statuses(self) -> list[int]:
        return [int(each) for each in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.data)]

    @property
    def body(self) -> bytes:
        return self.data.partition(b"\r\n\r\n")[2]

    @property
    def decisions(self) -> list[str]:
        return [each.decode() for each in re.findall(rb"x-decision-id: (\S+)", self.data)]

    def header(self, name: bytes) -> bytes:
        found = re.search(rb"\r\n" + name + rb": ([^\r]*)\r\n", self.data)
        return found[1] if found else b""


@dataclass
class Played:
    """A corpus after its run: what each client was told and what the provider saw."""

    told: list[Told]
    seen: list[Seen] = field(default_factory=list)
    strange: list[bytes] = field(default_factory=list)


class Rig(Live):
    """`Live` with a provider in this process, which runs while a corpus is played."""

    def __init__(self, directory: Path) -> None:  # deliberately not that of `Live`: another provider
        self.directory = directory
        self.data = directory / ".gateway"
        self.up: Background | None = None
        self.base_url = ""
        self.upstream = Provider()
        self.key = create(self.data, "bot").key
        (self.data / "gateway.toml").write_text(SETTINGS)
        write_policy(self.data / "policies", POLICY, models=True)
        data = DataDirectory(self.data)
        upstreams = (
            ("mock", "openai-compatible", "/v1"), ("claude", "anthropic", "/v1"), ("crm", "http", ""),
            ("google", "gemini", ""), ("azure", "azure", ""), ("router", "openrouter", "/v1"),
            ("llama", "ollama", "/v1"),
        )  # fmt: skip
        with closing(Registry(data.registry_db)) as registry:
            for name, provider, path in upstreams:
                add_upstream(
                    registry,
                    Vault.load(data.keys),
                    actor=ACTOR,
                    organization=ORG,
                    name=name,
                    provider=provider,
                    base_url=f"http://127.0.0.1:{self.upstream.port}{path}",
                    secret=SECRET,
                    default=name == "mock",
                    specification=api.dump(openapi.read(API)) if provider == "http" else None,
                )
        self.start()

    def close(self) -> None:
        if self.up is not None:
            self.up.stop()
        self.upstream.close()

    def play(self, cases: Iterable[Case]) -> Played:
        """Send every case on a connection of its own, several at a time."""
        self.upstream.seen.clear()
        self.upstream.strange.clear()
        told = asyncio.run(self._play(list(cases)))
        return Played(told, list(self.upstream.seen), list(self.upstream.strange))

    async def _play(self, cases: list[Case]) -> list[Told]:
        await self.upstream.start()
        told = [Told(case) for case in cases]
        waiting = deque(enumerate(told))
        parked: deque[tuple[Told, asyncio.StreamReader, asyncio.StreamWriter]] = deque()

        async def lane() -> None:
            while waiting:
                number, each = waiting.popleft()
                parked.append((each, *await self._send(number, each)))
                if len(parked) > _PARKED:
                    await _leave(*parked.popleft())

        try:
            await asyncio.gather(*(lane() for _ in range(_LANES)))
            # Answers that came later, or twice, have come by now.
            while parked:
                await _leave(*parked.popleft())
        finally:
            self.upstream.stop()
        return told

    async def _send(self, number: int, told: Told) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Send one case and wait for its first answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(told.case.ready(number, self.key))
            if told.case.cut is not None:
                with suppress(TimeoutError):
                    await _listen(told, reader, told.case.cut)
                writer.write_eof()
            await _listen(told, reader, _PATIENCE)
        except (OSError, TimeoutError):
            pass
        return reader, writer

    def decided(self) -> dict[str, tuple[dict[str, Any], bytes, dict[str, Any]]]:
        """The decisions in the log by their ids: the entry, the salt of its commitments, and the judged input."""
        statement = "SELECT leaf, salt, input FROM entry JOIN private ON entry_id = id WHERE kind = 'decided'"
        with closing(sqlite3.connect(f"file:{self.data / 'audit.db'}?mode=ro", uri=True, timeout=60)) as db:
            rows = db.execute(statement).fetchall()
        entries = ((dict(decode(leaf)), salt, orjson.loads(judged)) for leaf, salt, judged in rows)
        return {entry["id"]: (entry, salt, judged) for entry, salt, judged in entries}


async def _listen(told: Told, reader: asyncio.StreamReader, seconds: float) -> None:
    """Read until one whole answer is there or the connection has ended; `TimeoutError` after so many seconds."""
    async with asyncio.timeout(seconds):
        while not _whole(told.data) and (data := await reader.read(65536)):
            told.data += data


async def _leave(told: Told, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Read what else has come, and close."""
    try:
        async with asyncio.timeout(0.001):
            while data := await reader.read(65536):
                told.data += data
    except (ConnectionError, TimeoutError):
        pass
    writer.close()


def _whole(data: bytes) -> bool:
    """True if one final answer is there with its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _whole(body)
    length = re.search(rb"\r\ncontent-length: (\d+)", head, re.IGNORECASE)
    return bool(end) and (len(body) >= int(length[1]) if length else body.endswith(b"0\r\n\r\n"))


def matches(seen: Seen, entry: dict[str, Any], salt: bytes) -> bool:
    """True if the log's entry is about this path and commits to the bytes that the provider saw."""
    if entry["path"].encode() != seen.target[0]:
        return False
    if "forwarded_commitment" in entry:
        return bool(entry["forwarded_commitment"] == commitment(salt, "forwarded_body", seen.body))
    return bool(entry["request_commitment"] == commitment(salt, "request_body", seen.body))


__all__ = ["Played", "Provider", "Rig", "Seen", "Told", "mark", "matches"]
