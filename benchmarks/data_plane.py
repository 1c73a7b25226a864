"""What the gateway costs: requests per second through it, beside a bare pass-through and the provider, in one run.

    python benchmarks/data_plane.py [--rounds 3] [--seconds 2]

Three servers answer the same chat completion: a provider that sends fixed bytes, a pass-through (uvicorn and aiohttp,
nothing else) in front of it, and one data worker of a real gateway with a policy, a principal and two durable records
per request. The load generator keeps N connections busy. Rounds are interleaved and the median is shown, so that what
else the machine does hits all alike; read the ratios, not the absolute numbers.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send

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


class Provider(asyncio.Protocol):
    """Answers every request with the same bytes, whatever it says."""

    RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(ANSWER) + ANSWER

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n")[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            self._buffer = self._buffer[end + 4 + length :]
            self._transport.write(self.RESPONSE)  # type: ignore[attr-defined]


async def provide(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", port)
    await server.serve_forever()


def pass_through(port: int, upstream: int) -> None:
    """The floor: read the body, send it on, relay the answer."""
    session: aiohttp.ClientSession | None = None
    url = f"http://127.0.0.1:{upstream}/v1/chat/completions"

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal session
        if session is None:
            session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        message = await receive()
        async with session.post(url, data=message["body"], headers={"content-type": "application/json"}) as response:
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", response.headers["content-length"].encode()),
            ]
            await send({"type": "http.response.start", "status": response.status, "headers": headers})
            async for chunk in response.content.iter_any():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})

    uvicorn.run(app, port=port, loop="uvloop", http="httptools", access_log=False, log_level="critical", lifespan="off")


class Client(asyncio.Protocol):
    """One connection that sends the next request as soon as the answer is complete."""

    def __init__(self, request: bytes, latencies: list[float], failures: list[bytes]) -> None:
        self._request = request
        self._latencies = latencies
        self._failures = failures
        self._buffer = b""
        self.running = True

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
        length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) < end + 4 + length:
            return
        self._latencies.append(time.perf_counter() - self._started)
        if not head.startswith(b"http/1.1 200"):
            self._failures.append(self._buffer)
        self._buffer = b""
        if self.running:
            self._next()


async def load(port: int, request: bytes, clients: int, seconds: float) -> tuple[float, float]:
    """Requests per second and the median latency in milliseconds."""
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
    await asyncio.sleep(0.2)
    for transport, _ in made:
        transport.close()
    if failures:
        raise SystemExit(f"{len(failures)} requests failed, the first with {failures[0][:300]!r}")
    return count / elapsed, statistics.median(latencies) * 1000


def prepare(directory: Path, upstream: int) -> str:
    """A gateway's data directory with one agent and one policy; returns the agent's key."""
    from gateway.audit import signer, storage
    from gateway.identity.credentials import Peppers
    from gateway.policy import bundle as policy_bundle
    from gateway.registry import activations, changes
    from gateway.registry.database import Registry
    from gateway.registry.records import BundleRecord
    from gateway.registry.vault import Vault
    from gateway.settings import DataDirectory

    data, actor, organization = DataDirectory(directory), "local:0", "default"
    data.create()
    storage.create(data)
    signer.create_key(data, "bench")
    registry = Registry.create(data, "bench")
    peppers, vault = Peppers.create(data.keys), Vault.create(data.keys)
    changes.create_organization(registry, actor=actor, name=organization)
    manifest = {"roots": ["bench"], "metadata": {"gateway": {"entrypoint": "data.bench.authz"}}}
    files = {".manifest": json.dumps(manifest).encode(), "authz.rego": POLICY.encode()}
    digest = policy_bundle.publish(data.bundles, files)
    bundle = BundleRecord(name="bench", commit="c" * 40, digest=digest, author="", entrypoint="data.bench.authz")
    activations.activate(registry, actor=actor, commit="c" * 40, author="", bundles=[bundle])
    agent = changes.register_agent(registry, actor=actor, organization=organization, name="bench")
    changes.bind(registry, actor=actor, organization=organization, kind="agent", subject=agent.id, bundle="bench")
    key = changes.create_key(registry, peppers, actor=actor, organization=organization, agent=agent.id)
    changes.add_upstream(
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
def process(*arguments: str, first_line: bytes = b"", ready: Callable[[], None] = lambda: None) -> Iterator[None]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, *arguments], stdin=subprocess.PIPE, env=environment)
    assert child.stdin is not None
    child.stdin.write(first_line)
    child.stdin.flush()
    try:
        ready()
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()


def wait_for(port: int) -> Callable[[], None]:
    import socket

    def wait() -> None:
        for _ in range(200):
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


def measure(options: argparse.Namespace, data: Path, provider: int, through: int, gateway: int) -> None:
    sys.path.insert(0, str(ROOT))
    from gateway.processes.children import flags
    from gateway.settings import DataDirectory, Settings

    key = prepare(data, provider)
    settings = flags(Settings(data=DataDirectory(data), port=gateway))
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n"
    request = head.encode() + BODY
    here = [str(Path(__file__).resolve()), "--ports", *map(str, options.ports), "--serve"]
    targets = {"provider": provider, "pass-through": through, "gateway": gateway}
    figures: dict[tuple[str, int], list[tuple[float, float]]] = {}
    worker: tuple[Any, ...] = ("-m", "gateway.processes.app", "data", "boot_bench")
    with (
        process(*here, "provider", ready=wait_for(provider)),
        process(*here, "through", ready=wait_for(through)),
        process(*worker, first_line=json.dumps(settings).encode() + b"\n", ready=wait_for(gateway)),
    ):
        for round_number in range(options.rounds + 1):
            for clients in CLIENTS:
                for name, port in targets.items():
                    seconds = options.seconds if round_number else 0.5  # the first round warms up
                    found = uvloop.run(load(port, request, clients, seconds))
                    if round_number:
                        figures.setdefault((name, clients), []).append(found)
    print(f"{'':14}" + "".join(f"{f'{clients} clients':>24}" for clients in CLIENTS))
    for name in targets:
        cells = []
        for clients in CLIENTS:
            rate = statistics.median(rate for rate, _ in figures[name, clients])
            latency = statistics.median(latency for _, latency in figures[name, clients])
            floor = statistics.median(rate for rate, _ in figures["pass-through", clients])
            share = f"{rate / floor:4.0%}" if name == "gateway" else ""
            cells.append(f"{f'{rate:8,.0f}/s {latency:6.2f} ms {share:>5}':>24}")
        print(f"{name:14}" + "".join(cells))


if __name__ == "__main__":
    main()
