"""The cost of the gateway: requests per second through it, beside a bare pass-through and the provider, in one run.

    python benchmarks/data_plane.py [--rounds 3] [--seconds 2]

Three servers answer the same chat completions: a provider that sends fixed bytes, a bare pass-through in front of it (a
Starlette application with aiohttp as its client, nothing else), and one data worker of a real gateway with a policy, a
principal and two durable records for each request. The load generator keeps N connections busy. Pass-through and worker
share one core, provider and load generator the other. Rounds are interleaved and medians are shown, so that other work
on the machine hits all alike: read the ratios, not the absolute numbers. `cpu` is the processor time of the server's
process for one request, which other work hardly changes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import aiohttp
import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

ROOT = Path(__file__).resolve().parent.parent
CLIENTS = (1, 16, 64)
ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
    }
).encode()
BODY = json.dumps(
    {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello there"}],
        "temperature": 0.2,
    }
).encode()
STREAM_BODY = json.dumps({**json.loads(BODY), "stream": True, "stream_options": {"include_usage": True}}).encode()
POLICY = """\
package bench.authz

default allow := false

allow if {
	input.action == "chat.completions"
	startswith(input.resource.model, "gpt-4o")
	count(input.request.system_prompts) == 1
}

deny contains "not this model" if input.resource.model == "o3"
"""


EVENTS = 50
CHUNK = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "delta": {"content": "hello"}, "finish_reason": None}],
    }
).encode()


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Provider(asyncio.Protocol):
    """Answers every request with the same bytes: a document, or a stream of events with a pause after each."""

    RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER
    STREAM = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    EVENT = chunked(b"data: %s\n\n" % CHUNK)
    END = chunked(b"data: [DONE]\n\n") + b"0\r\n\r\n"
    LOOKED_AT = 4096  # of a body, in which it says whether it streams

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = bytearray()  # a large body costs one copy, not one for each piece of it

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = self._buffer[end + 4 : end + 4 + min(length, self.LOOKED_AT)]
            del self._buffer[: end + 4 + length]
            if b'"stream": true' in body or b'"stream":true' in body:
                self._transport.write(self.STREAM)  # type: ignore[attr-defined]
                self._event(EVENTS)
            else:
                self._transport.write(self.RESPONSE)  # type: ignore[attr-defined]

    def _event(self, left: int) -> None:
        """Each event in a turn of the loop of its own, so that it arrives alone."""
        self._transport.write(self.EVENT if left else self.END)  # type: ignore[attr-defined]
        if left:
            asyncio.get_running_loop().call_soon(self._event, left - 1)


async def provide(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


def pass_through(port: int, upstream: int, calm: int | None = None) -> None:
    """The floor: read the body, send it on, relay the answer. Below `/calm` it leads to another provider."""
    session: aiohttp.ClientSession | None = None
    upstreams = {"/v1/chat/completions": upstream, "/calm/v1/chat/completions": calm or upstream}

    async def relay(request: Request) -> Response:
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        body = await request.body()
        url = f"http://127.0.0.1:{upstreams[request.url.path]}/v1/chat/completions"
        answer = await session.post(url, data=body, headers={"content-type": "application/json"})
        kept = {name: answer.headers[name] for name in ("content-type", "content-length") if name in answer.headers}

        async def pieces() -> AsyncIterator[bytes]:
            async with answer:
                async for piece in answer.content.iter_any():
                    yield piece

        return StreamingResponse(pieces(), answer.status, kept)

    app = Starlette(routes=[Route(path, relay, methods=["POST"]) for path in upstreams])
    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="critical", lifespan="off")


class Client(asyncio.Protocol):
    """One connection that sends the next request as soon as the answer is complete."""

    def __init__(self, request: bytes, latencies: list[float], failures: list[bytes]) -> None:
        self._request = request
        self._latencies = latencies
        self._failures = failures
        self._buffer = b""
        self.running = True
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._next()

    def _next(self) -> None:
        self._started = time.perf_counter()
        self._transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        if b"content-length:" in head:
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._buffer) < end + 4 + length:
                return
        elif not self._buffer.endswith(b"\r\n0\r\n\r\n"):
            return
        self._latencies.append(time.perf_counter() - self._started)
        if not head.startswith(b"http/1.1 200"):
            self._failures.append(self._buffer)
        self._buffer = b""
        if self.running:
            self._next()
        else:
            self.ended.set_result(None)


async def load(port: int, request: bytes, clients: int, seconds: float) -> tuple[float, float, int]:
    """Requests per second, the median latency in milliseconds, and how many requests were made."""
    latencies: list[float] = []
    failures: list[bytes] = []
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Client(request, latencies, failures), "127.0.0.1", port)
        for _ in range(clients)
    ]
    started = time.perf_counter()
    await asyncio.sleep(seconds)
    elapsed = time.perf_counter() - started
    count = len(latencies)
    for _, client in made:
        client.running = False
    # Requests on their way are answered too: they are in the processor time that callers measure.
    await asyncio.wait([client.ended for _, client in made], timeout=10)
    if count < 10 * clients:  # with so few requests it matters where the last ones are cut off
        elapsed, count = time.perf_counter() - started, len(latencies)
    for transport, _ in made:
        transport.close()
    if failures:
        raise SystemExit(f"{len(failures)} requests failed, the first with {failures[0][:300]!r}")
    return count / elapsed, statistics.median(latencies) * 1000, len(latencies)


def prepare(directory: Path, upstream: int, policy: str = POLICY) -> str:
    """A gateway's data directory with one agent and one policy; returns the agent's key."""
    from gateway.audit import signer, storage
    from gateway.data_directory import DataDirectory
    from gateway.identity.credentials import Peppers
    from gateway.policy import bundle as policy_bundle
    from gateway.registry.agents.registration import register_agent
    from gateway.registry.database import Registry
    from gateway.registry.keys.changes import create_key
    from gateway.registry.organizations.changes import create_organization
    from gateway.registry.policies import activations
    from gateway.registry.policies.bindings import bind
    from gateway.registry.records import BundleRecord
    from gateway.registry.upstreams.changes import add_upstream
    from gateway.secrets.vault import Vault

    data, actor, organization = DataDirectory(directory), "local:0", "default"
    data.create()
    storage.create(data)
    signer.create_key(data, "bench")
    registry = Registry.create(data, "bench")
    peppers, vault = Peppers.create(data.keys), Vault.create(data.keys)
    create_organization(registry, actor=actor, name=organization)
    manifest = {"roots": ["bench"], "metadata": {"gateway": {"entrypoint": "data.bench.authz"}}}
    files = {".manifest": json.dumps(manifest).encode(), "authz.rego": policy.encode()}
    digest = policy_bundle.publish(data.bundles, files)
    bundle = BundleRecord(name="bench", commit="c" * 40, digest=digest, author="", entrypoint="data.bench.authz")
    activations.activate(registry, actor=actor, commit="c" * 40, author="", bundles=[bundle])
    agent = register_agent(registry, actor=actor, organization=organization, name="bench")
    bind(registry, actor=actor, organization=organization, kind="agent", subject=agent.id, bundle="bench")
    key = create_key(registry, peppers, actor=actor, organization=organization, agent=agent.id)
    add_upstream(
        registry,
        vault,
        actor=actor,
        organization=organization,
        name="openai",
        provider="openai",
        base_url=f"http://127.0.0.1:{upstream}/v1",
        secret="sk-bench",
        default=True,
    )
    registry.close()
    return key.text


@contextmanager
def process(
    core: int,
    *arguments: str,
    first_line: bytes = b"",
    ready: Callable[[], None] = lambda: None,
    pass_fds: tuple[int, ...] = (),
    program: str = sys.executable,
    environment: Mapping[str, str] | None = None,
    directory: Path | None = None,
    output: IO[bytes] | None = None,
) -> Iterator[int]:
    """A child on one core; gives its process id."""
    child = subprocess.Popen(
        [program, *arguments],
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        cwd=directory,
        pass_fds=pass_fds,
    )
    os.sched_setaffinity(child.pid, {core})
    assert child.stdin is not None
    child.stdin.write(first_line)
    child.stdin.flush()
    try:
        ready()
        yield child.pid
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        child.stdin.close()


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far, all threads, user and system."""
    # The number of its clock, as clock_getcpuclockid(3) makes it on Linux; /proc counts in hundredths of a second.
    return time.clock_gettime(~pid << 3 | 2)


def wait_for(port: int, seconds: float = 10.0) -> Callable[[], None]:
    import socket

    def wait() -> None:
        for _ in range(int(seconds / 0.05)):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.05)
        raise SystemExit(f"nothing listens on {port}")

    return wait


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--ports", type=int, nargs=3, default=(18300, 18301, 18302), metavar=("P", "T", "G"))
    options = parser.parse_args()
    provider, through, gateway = options.ports
    if options.serve == "provider":
        uvloop.run(provide(provider))
    elif options.serve == "through":
        pass_through(through, provider)
    else:
        with tempfile.TemporaryDirectory() as temporary:
            measure(options, Path(temporary) / "data", provider, through, gateway)


class Figure(NamedTuple):
    rate: float
    latency: float
    cpu: float


def measure(options: argparse.Namespace, data: Path, provider: int, through: int, gateway: int) -> None:
    sys.path.insert(0, str(ROOT))
    from gateway.data_directory import DataDirectory
    from gateway.http import sockets
    from gateway.processes.children import flags
    from gateway.settings import Settings

    key = prepare(data, provider)
    settings = flags(Settings(data=DataDirectory(data), port=gateway))
    workloads = {
        **{f"{clients} clients": (clients, chat_request(key, BODY)) for clients in CLIENTS},
        f"{EVENTS}-event streams, 16 clients": (16, chat_request(key, STREAM_BODY)),
    }
    here = [str(Path(__file__).resolve()), "--ports", *map(str, options.ports), "--serve"]
    opened = sockets.bind("127.0.0.1", gateway, shared=True)
    worker: tuple[Any, ...] = ("-m", "gateway.processes.app", "data", "boot_bench", str(opened.fileno()))
    cores = sorted(os.sched_getaffinity(0))
    server, others = cores[0], cores[-1]
    os.sched_setaffinity(0, {others})
    figures: dict[tuple[str, str], list[Figure]] = {}
    with (
        process(others, *here, "provider", ready=wait_for(provider)) as provider_id,
        process(server, *here, "through", ready=wait_for(through)) as through_id,
        process(
            server,
            *worker,
            first_line=json.dumps(settings).encode() + b"\n",
            ready=wait_for(gateway),
            pass_fds=(opened.fileno(),),
        ) as worker_id,
    ):
        targets = {"provider": (provider, provider_id), "bare": (through, through_id), "gateway": (gateway, worker_id)}
        for round_number in range(options.rounds + 1):
            for title, (clients, request) in workloads.items():
                for name, (port, pid) in targets.items():
                    before = cpu_seconds(pid)
                    seconds = options.seconds if round_number else 0.5  # the first round warms up
                    rate, latency, done = uvloop.run(load(port, request, clients, seconds))
                    if round_number:
                        cpu = (cpu_seconds(pid) - before) / done * 1000
                        figures.setdefault((name, title), []).append(Figure(rate, latency, cpu))
    for title in workloads:
        print(title)
        medians = {name: Figure(*map(statistics.median, zip(*figures[name, title], strict=True))) for name in targets}
        for name, found in medians.items():
            ratios = [g.rate / b.rate for g, b in zip(figures[name, title], figures["bare", title], strict=True)]
            against = f"   {statistics.median(ratios):.2f} of bare" if name == "gateway" else ""
            print(f"  {name:10}{found.rate:10,.0f}/s{found.latency:9.2f} ms{found.cpu:8.3f} ms cpu{against}")


def chat_request(key: str, body: bytes) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


if __name__ == "__main__":
    main()
