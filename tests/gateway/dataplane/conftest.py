"""A data plane in this process: the real server, registry, policies and log, and an upstream that a test controls.

Everything runs in one event loop on real sockets; only the processes are missing (see `test_processes.py` for those).
"""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from gateway.audit import storage
from gateway.audit.entry import decode
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.dataplane.proxy import DataPlane
from gateway.http import listener as server
from gateway.identity import token_keys
from gateway.identity.credentials import Peppers
from gateway.policy import bundle as policy_bundle
from gateway.processes.background import Background
from gateway.processes.data_worker import DataWorker
from gateway.registry.agents import registration
from gateway.registry.database import Registry
from gateway.registry.keys import changes as key_changes
from gateway.registry.policies import activations, bindings
from gateway.registry.records import BundleRecord, UpstreamRecord
from gateway.registry.upstreams import changes as upstream_changes
from gateway.secrets.vault import Vault
from gateway.settings import Settings
from gateway.usage.price_book import PriceBook

ORG = "default"
ACTOR = "local:0"
UPSTREAM_KEY = "sk-upstream-secret"

POLICY = """\
package bot.authz

default allow := false

allow if input.action == "models.list"

allow if startswith(input.resource.model, "gpt-")

allow if startswith(input.resource.model, "mock-")

deny contains "no secrets, please" if input.resource.model == "gpt-secret"

obligations := {"max_output_tokens": 50} if input.resource.model == "gpt-capped"
"""

MANIFEST = orjson.dumps({"roots": ["bot"], "metadata": {"gateway": {"entrypoint": "data.bot.authz"}}})


@dataclass
class Seen:
    """One request as it reached the upstream."""

    head: bytes
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


Handler = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


def answer(document: object, status: int = 200, **headers: str) -> Handler:
    """An upstream's ordinary answer."""
    body = document if isinstance(document, bytes) else orjson.dumps(document)
    lines = {"content-type": "application/json", **{name.replace("_", "-"): text for name, text in headers.items()}}

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(body)}\r\n"
        head += "".join(f"{name}: {text}\r\n" for name, text in lines.items())
        writer.write(head.encode() + b"\r\n" + body)

    return handle


def stream(*chunks: bytes | float, end: bool = True) -> Handler:
    """An event stream in these chunks; a number is a pause in seconds, and without `end` the connection breaks."""

    async def handle(seen: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        for chunk in chunks:
            if isinstance(chunk, float):
                await writer.drain()
                await asyncio.sleep(chunk)
            else:
                writer.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if end:
            writer.write(b"0\r\n\r\n")
        else:
            await writer.drain()
            writer.close()

    return handle


COMPLETION = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4o-2024",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


class Upstream:
    """A raw HTTP server: it keeps what it was sent, byte for byte, and answers as the test says."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.handler: Handler = answer(COMPLETION)
        self.port = 0
        self.connections = 0
        self.closed = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self) -> int:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self.port

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                seen = Seen(head, b"")
                seen.body = await reader.readexactly(int(seen.headers.get("content-length", "0")))
                self.seen.append(seen)
                await self.handler(seen, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except asyncio.CancelledError:
            pass  # the test is over; an uncaught one would be logged by the stream's own callback
        finally:
            self._tasks.discard(task)
            self.closed += 1
            writer.close()


@dataclass
class Reply:
    """A response as it came over the wire. `complete` is false if the connection ended before the body did."""

    status: int
    headers: dict[str, str]
    body: bytes
    complete: bool

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def code(self) -> str | None:
        code = self.json["error"]["code"]
        return None if code is None else str(code)


@dataclass
class Gateway:
    """The running data plane, and what a test does with it."""

    data: DataDirectory
    registry: Registry
    peppers: Peppers
    upstream: Upstream
    port: int
    key: str
    writer: AuditWriter
    plane: DataPlane
    stop: asyncio.Event
    serving: asyncio.Task[None]
    prices: PriceBook
    extra: dict[str, Any] = field(default_factory=dict)

    def request(
        self, body: bytes | dict[str, Any] | None = None, *lines: str, path: str = "", method: str = ""
    ) -> bytes:
        """One request as bytes. Further `lines` are headers; a `Host`, the key and a content type are there already."""
        raw = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
        method = method or ("GET" if body is None else "POST")
        path = path or ("/v1/models" if body is None else "/v1/chat/completions")
        given = {line.split(":")[0].lower() for line in lines}
        head = [f"{method} {path} HTTP/1.1", *lines]
        defaults = {"Host": "gateway", "Authorization": f"Bearer {self.key}"}
        if body is not None:
            defaults |= {"Content-Type": "application/json", "Content-Length": str(len(raw))}
        head += [f"{name}: {text}" for name, text in defaults.items() if name.lower() not in given]
        return "\r\n".join(line for line in head if not line.endswith(": omit")).encode("latin-1") + b"\r\n\r\n" + raw

    async def send(self, data: bytes) -> Reply:
        """Send bytes on a connection of their own and read one response."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            return await read_reply(reader)
        finally:
            writer.close()

    def add_upstream(self, name: str, provider: str, base: str = "", *, secret: str, **more: Any) -> UpstreamRecord:
        """An upstream of the organization that is `self.upstream`, below the path `base`."""
        return upstream_changes.add_upstream(
            self.registry,
            Vault.load(self.data.keys),
            actor=ACTOR,
            organization=ORG,
            name=name,
            provider=provider,
            base_url=f"http://127.0.0.1:{self.upstream.port}{base}",
            secret=secret,
            **more,
        )

    async def chat(self, model: str = "gpt-4o", *lines: str, **members: Any) -> Reply:
        return await self.send(self.request(chat(model, **members), *lines))

    async def entries(self, kind: str = "") -> list[dict[str, Any]]:
        """The entries of the organization's log, once nothing is on its way into it."""
        await asyncio.to_thread(self.settle)
        return [entry for entry in self.log(ORG) if not kind or entry["kind"] == kind]

    def settle(self) -> None:
        """Wait for all that was submitted before."""
        from gateway.audit.intents import Refused

        self.writer.write_sync(Refused(reason="bad_request", count=1, first_ns=1, last_ns=1, fields={"marker": True}))

    def log(self, organization: str) -> list[dict[str, Any]]:
        db = storage.connect_read_only(self.data.audit_db)
        try:
            rows = db.execute(
                "SELECT leaf FROM entry JOIN log ON log.id = log_id WHERE organization = ? ORDER BY seq",
                (organization,),
            )
            entries = [dict(decode(leaf)) for (leaf,) in rows]
        finally:
            db.close()
        return [entry for entry in entries if "marker" not in entry]

    def open_decisions(self) -> int:
        db = storage.connect_read_only(self.data.audit_db)
        try:
            return int(db.execute("SELECT count(*) FROM open_decision").fetchone()[0])
        finally:
            db.close()


def chat(model: str = "gpt-4o", **members: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **members}


def without_decision(answer: bytes) -> bytes:
    """The text of a refusal besides the entry that it is recorded as."""
    return re.sub(rb" \((?:decision dec|refusal rfs)_[0-9a-f-]+\)", b"", answer)


async def until(condition: Callable[[], object]) -> None:
    """Wait for what another task brings about."""
    for _ in range(12_000):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("this never came true")


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status_line, *lines = head.strip().split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    body, complete = b"", True
    try:
        if headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readline() or b"x", 16):
                body += await reader.readexactly(size)
                await reader.readexactly(2)
            await reader.readline()
        else:
            body = await reader.readexactly(int(headers["content-length"]))
    except asyncio.IncompleteReadError as error:
        body, complete = body + error.partial, False
    except ValueError:
        complete = False
    return Reply(int(status_line.split()[1]), headers, body, complete)


@dataclass(frozen=True)
class Prepared:
    """A data directory to be copied, which is quicker than to run all migrations: an agent with its bundle and key."""

    path: Path
    key: str

    def copy(self, path: Path, upstream_port: int) -> tuple[DataDirectory, Registry, Peppers, Vault]:
        """A data directory of its own, with the default upstream at this port."""
        data = DataDirectory(path / "data")
        shutil.copytree(self.path, data.path)
        registry, vault = Registry.open(data), Vault.load(data.keys)
        upstream_changes.add_upstream(
            registry,
            vault,
            actor=ACTOR,
            organization=ORG,
            name="openai",
            provider="openai",
            base_url=f"http://127.0.0.1:{upstream_port}/v1",
            secret=UPSTREAM_KEY,
            default=True,
        )
        return data, registry, Peppers.load(data.keys), vault


@pytest.fixture(scope="session")
def prepared(new_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    data = DataDirectory(tmp_path_factory.mktemp("prepared") / "data")
    data.create()
    storage.create(data)
    shutil.copy(new_registry, data.registry_db)
    registry = Registry.open(data)
    peppers = Peppers.create(data.keys)
    Vault.create(data.keys)
    token_keys.create(data.keys)
    digest = policy_bundle.publish(data.bundles, {".manifest": MANIFEST, "authz.rego": POLICY.encode()})
    bundle = BundleRecord(name="bot", commit="c" * 40, digest=digest, author="dana", entrypoint="data.bot.authz")
    activations.activate(registry, actor=ACTOR, commit="c" * 40, author="dana", bundles=[bundle])
    agent = registration.register_agent(registry, actor=ACTOR, organization=ORG, name="bot")
    bindings.bind(registry, actor=ACTOR, organization=ORG, kind="agent", subject=agent.id, bundle="bot")
    key = key_changes.create_key(registry, peppers, actor=ACTOR, organization=ORG, agent=agent.id)
    registry.close()
    assert not list(data.path.glob("*-wal")), "all of it is in the files that are copied"
    return Prepared(data.path, key.text)


@asynccontextmanager
async def running(prepared: Prepared, path: Path, **changed: Any) -> AsyncIterator[Gateway]:
    """A data worker's own composition in this event loop, below `path`; keywords change its settings."""
    async with AsyncExitStack() as stack:
        upstream = Upstream()
        upstream_port = await upstream.start()
        stack.push_async_callback(upstream.stop)
        data, registry, peppers, _ = await asyncio.to_thread(prepared.copy, path, upstream_port)
        stack.callback(registry.close)
        listener = server.listen("127.0.0.1", 0)
        port = listener.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        usual = Settings(data=data, data_url=url, drain_timeout=1.0, policy_deadline_ms=1000, upstream_retries=0)
        settings = replace(usual, **changed)
        stop = asyncio.Event()
        worker = DataWorker(settings, "boot_test", Background(stop), stack)
        await worker.open()
        app = worker.application()
        serving = asyncio.create_task(server.serve(app, listener, settings, worker.limits(), stop))
        gateway = Gateway(
            data,
            registry,
            peppers,
            upstream,
            port,
            prepared.key,
            worker.writer,
            worker.plane,
            stop,
            serving,
            worker.prices,
        )
        try:
            yield gateway
        finally:
            stop.set()
            await serving


Start = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def start(prepared: Prepared, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts a fresh data plane; keywords change its settings."""
    async with AsyncExitStack() as stack:

        async def started(**changed: Any) -> Gateway:
            return await stack.enter_async_context(running(prepared, tmp_path, **changed))

        yield started


@pytest.fixture
async def gateway(start: Start) -> Gateway:
    """A fresh data plane with the usual settings."""
    return await start()


@pytest.fixture
def run(prepared: Prepared, tmp_path: Path) -> Callable[..., None]:
    """Run a coroutine function against a data plane that has ended, with its log closed, when this returns."""

    def started(test: Callable[[Gateway], Awaitable[None]], **changed: Any) -> None:
        asyncio.run(_run(prepared, tmp_path, test, changed))

    return started


@pytest.fixture
def run_as_worker(prepared: Prepared, tmp_path: Path) -> Callable[..., None]:
    """The same in the event loop that data workers have: their connections are other objects."""

    def started(test: Callable[[Gateway], Awaitable[None]], **changed: Any) -> None:
        uvloop.run(_run(prepared, tmp_path, test, changed))

    return started


async def _run(
    prepared: Prepared, path: Path, test: Callable[[Gateway], Awaitable[None]], changed: dict[str, Any]
) -> None:
    async with running(prepared, path, **changed) as gateway:
        await test(gateway)
