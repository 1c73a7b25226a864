"""The cost of a signed request for a data worker, beside the same request with a key.

    python -m benchmarks.signatures [--rounds 5] [--seconds 1.5]

One worker serves the same call with an API key and signed by keys of both kinds, in interleaved rounds. The figure is
the worker's processor time for one request, and the ratio is the median of the rounds' ratios. The signatures are made
by the clients, each when its request is sent. The second table has the processor time of the parts, alone.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from benchmarks import data_plane
from benchmarks.flat_cost import Side
from gateway.client.signing import Signer
from gateway.identity import message_signatures, public_keys
from gateway.identity.authentication import presented
from gateway.identity.message_signatures import PrivateKey, content_digest
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.keys.public_keys import add_public_key
from gateway.runtime.nonces import UsedNonces
from gateway.runtime.store import RuntimeStore

HOST = "gateway"
TARGET = "/v1/chat/completions"
CALLS = 2000


def signed(signer: Signer, body: bytes) -> bytes:
    headers = signer.headers("POST", HOST, TARGET, content_digest(body))
    lines = "".join(f"{name}: {text}\r\n" for name, text in headers.items())
    head = f"POST {TARGET} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n{lines}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def signed_requests(key: PrivateKey) -> Iterator[bytes]:
    signer = Signer(key)
    while True:
        yield signed(signer, data_plane.BODY)


def microseconds(call: Callable[[], object]) -> float:
    began = time.process_time_ns()
    for _ in range(CALLS):
        call()
    return (time.process_time_ns() - began) / CALLS / 1000


def parts(directory: Path, key: PrivateKey) -> Iterator[tuple[str, float]]:
    kind = message_signatures.algorithm_of(key.public_key())
    head, _, _ = signed(Signer(key), data_plane.BODY).partition(b"\r\n\r\n")
    pairs = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    headers = [(name.lower(), value) for name, _, value in pairs]
    found = presented(headers, b"", "POST", TARGET.encode())
    yield f"{kind}: read the headers", microseconds(lambda: presented(headers, b"", "POST", TARGET.encode()))
    public, base = key.public_key(), found.base  # type: ignore[attr-defined]  # it is a signature
    signature = found.signature  # type: ignore[attr-defined]
    yield f"{kind}: verify", microseconds(lambda: message_signatures.verify(public, signature, base))
    yield f"{kind}: sign, in the client", microseconds(lambda: signed(Signer(key), data_plane.BODY))

    async def use() -> float:
        with closing(RuntimeStore(directory / f"{kind}.db")) as store:
            nonces = UsedNonces(store)
            began = time.process_time_ns()
            for number in range(CALLS):
                await nonces.use("key", str(number), 1)
            return (time.process_time_ns() - began) / CALLS / 1000

    yield f"{kind}: keep the nonce", asyncio.run(use())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--port", type=int, default=18350, help="the first of two free ports")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    keys = {"signed, ed25519": public_keys.generate("ed25519"), "signed, P-256": public_keys.generate("p256")}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        side = Side("signatures", Path(temporary, "data"), options.port, options.port + 1)
        with closing(Registry.open(side.data)) as registry:
            agent = queries.agents(registry, "default")[0].name
            for key in keys.values():
                add_public_key(registry, key.public_key(), actor="local:0", organization="default", agent=agent)
        os.sched_setaffinity(0, {cores[-1]})
        here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(options.port), "0", "0"
        ready = data_plane.wait_for(options.port)
        stack.enter_context(data_plane.process(cores[-1], *here, "--serve", "provider", ready=ready))
        side.start(stack, cores[0])
        plain = data_plane.chat_request(side.keys[0], data_plane.BODY)
        cases = {"an API key": itertools.repeat(plain)} | {name: signed_requests(key) for name, key in keys.items()}
        costs: dict[str, list[float]] = {title: [] for title in cases}
        for round_number in range(options.rounds + 1):
            for title, requests in cases.items():
                cost = side.cost_of(requests, options.seconds if round_number else 0.5)  # the first round warms up
                if round_number:
                    costs[title].append(cost)
        first = next(iter(costs.values()))
        for title, found in costs.items():
            ratio = statistics.median(each / base for each, base in zip(found, first, strict=True))
            print(f"{title:34}{statistics.median(found):8.3f} ms{ratio:8.2f}")
        for key in keys.values():
            for title, cost in parts(Path(temporary), key):
                print(f"{title:44}{cost:8.1f} µs")


if __name__ == "__main__":
    main()
