"""The cost of other gateways: LiteLLM's proxy and Portkey's gateway beside this one and a bare pass-through, in one
run.

    python -m benchmarks.peers [--rounds 3] [--seconds 2] [--installed DIRECTORY] [--write]

It runs at the root of a clone. All four forward the same chat completions to the provider of `data_plane.py`, one after
the other in interleaved rounds, each with one process on one core, while the provider and the load generator have the
other core. Ratios are medians of the rounds' ratios. LiteLLM (pip) and Portkey (npm) are installed into a directory of
their own unless they are there already; one that cannot be installed or started is left out, and the output says so.
`--write` rewrites data-plane.md and its chart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path

import uvloop

from benchmarks import data_plane
from benchmarks.data_plane import BODY, CLIENTS, EVENTS, STREAM_BODY, Figure
from benchmarks.memory import Memory
from benchmarks.peers_report import Results, page, table
from gateway.data_directory import DataDirectory
from gateway.http import sockets
from gateway.processes.children import flags
from gateway.settings import Settings

PAGE = data_plane.ROOT / "docs" / "contributing" / "benchmarks" / "data-plane.md"
STREAMS = f"streams of {EVENTS} events, 16 clients"
MASTER_KEY = "sk-benchmark"
# LiteLLM imports for a while before it listens.
START_SECONDS = 120.0


class Target:
    """One server: where it listens, its process, and how a request to it begins."""

    def __init__(self, port: int, pid: int, headers: str) -> None:
        self.port, self.pid, self._headers = port, pid, headers

    def request(self, body: bytes) -> bytes:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: bench\r\n{self._headers}"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        return head.encode() + body


class Unavailable(Exception):  # it says why a peer is left out, and is no error
    """A peer cannot be installed or started here."""


def install(command: list[str], directory: Path, wanted: Path) -> None:
    """Run `command` in `directory` unless `wanted` is there."""
    if wanted.exists():
        return
    directory.mkdir(parents=True, exist_ok=True)
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise Unavailable(f"{command[0]} is not installed") from None
    if not wanted.exists():
        raise Unavailable(f"{' '.join(command)} failed: {done.stderr.strip()[-300:]}")


def litellm(stack: ExitStack, core: int, installed: Path, upstream: int, port: int) -> Target:
    """LiteLLM's proxy with its master key. Virtual keys need PostgreSQL, and would cost it more."""
    home = installed / "litellm"
    program = home / "venv" / "bin" / "litellm"
    install([sys.executable, "-m", "venv", "venv"], home, home / "venv" / "bin" / "pip")
    install([str(home / "venv" / "bin" / "pip"), "install", "-q", "litellm[proxy]"], home, program)
    model = {"model": "openai/gpt-4o-mini", "api_base": f"http://127.0.0.1:{upstream}/v1", "api_key": "sk-bench"}
    settings = {
        "model_list": [{"model_name": "gpt-4o-mini", "litellm_params": model}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"telemetry": False},
    }
    (home / "config.yaml").write_text(json.dumps(settings))  # JSON is YAML
    arguments = ["--config", "config.yaml", "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "PYTHONPATH": ""}
    pid = _started(stack, core, program, arguments, port, home, environment)
    return Target(port, pid, f"Authorization: Bearer {MASTER_KEY}\r\n")


def portkey(stack: ExitStack, core: int, installed: Path, upstream: int, port: int) -> Target:
    """Portkey's gateway. It has no keys of its own: the client's key is the provider's."""
    home = installed / "portkey"
    server = home / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
    install(["npm", "install", "--no-fund", "--no-audit", "--prefix", ".", "@portkey-ai/gateway"], home, server)
    pid = _started(stack, core, Path("node"), [str(server), "--headless", f"--port={port}"], port, home, {})
    headers = f"x-portkey-provider: openai\r\nx-portkey-custom-host: http://127.0.0.1:{upstream}/v1\r\n"
    return Target(port, pid, headers + "Authorization: Bearer sk-bench\r\n")


def _started(
    stack: ExitStack, core: int, program: Path, arguments: list[str], port: int, home: Path, environment: dict[str, str]
) -> int:
    with (home / "output").open("wb") as output:
        child = data_plane.process(
            core,
            *arguments,
            program=str(program),
            environment=environment,
            directory=home,
            output=output,
            ready=data_plane.wait_for(port, START_SECONDS),
        )
        try:
            return stack.enter_context(child)
        except (SystemExit, FileNotFoundError) as error:
            raise Unavailable(f"{program.name} does not start: {error}; see {home / 'output'}") from None


def gateway(stack: ExitStack, core: int, directory: Path, upstream: int, port: int) -> Target:
    key = data_plane.prepare(directory, upstream)
    settings = flags(Settings(data=DataDirectory(directory), port=port))
    opened = stack.enter_context(sockets.bind("127.0.0.1", port, shared=True))
    worker = data_plane.process(
        core,
        *("-m", "gateway.processes.app", "data", "boot_bench", str(opened.fileno())),
        first_line=json.dumps(settings).encode() + b"\n",
        ready=data_plane.wait_for(port),
        pass_fds=(opened.fileno(),),
    )
    return Target(port, stack.enter_context(worker), f"Authorization: Bearer {key}\r\n")


def start(stack: ExitStack, options: argparse.Namespace, temporary: Path) -> dict[str, Target]:
    """Start the provider and all servers that can be had here."""
    cores = sorted(os.sched_getaffinity(0))
    core, other = cores[0], cores[-1]
    os.sched_setaffinity(0, {other})
    first: int = options.port
    provider, through = first, first + 1
    here = [str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(provider), str(through), "0"]
    for side, role, port in ((other, "provider", provider), (core, "through", through)):
        child = data_plane.process(side, *here, "--serve", role, ready=data_plane.wait_for(port))
        pid = stack.enter_context(child)
    targets = {
        "bare": Target(through, pid, ""),
        "this gateway": gateway(stack, core, temporary / "data", provider, first + 2),
    }
    for number, (name, peer) in enumerate({"Portkey": portkey, "LiteLLM": litellm}.items()):
        try:
            targets[name] = peer(stack, core, options.installed, provider, first + 3 + number)
        except Unavailable as error:
            print(f"{name} is left out: {error}", file=sys.stderr)
    return targets


def measure(targets: dict[str, Target], rounds: int, seconds: float) -> Results:
    workloads = {f"{n} client" + "s" * (n > 1): (n, BODY) for n in CLIENTS} | {STREAMS: (16, STREAM_BODY)}
    results = Results(list(workloads), list(targets))
    results.idle = {name: Memory.of(target.pid) for name, target in targets.items()}
    for round_number in range(rounds + 1):
        for title, (clients, body) in workloads.items():
            for name, target in targets.items():
                if (name, title) in results.failed:
                    continue
                length = seconds if round_number else min(seconds, 0.7)  # the first round warms up
                try:
                    figure, memory = one(target, clients, body, length)
                except SystemExit as failed:
                    results.failed[name, title] = str(failed)
                    print(f"{name}, {title}: {failed}", file=sys.stderr)
                    continue
                results.seen(name, memory)
                if round_number:
                    results.add(name, title, figure)
    return results


def one(target: Target, clients: int, body: bytes, seconds: float) -> tuple[Figure, Memory]:
    """One measurement, and the memory in the middle of it. `SystemExit` if any request fails."""
    seen: list[Memory] = []
    look = threading.Timer(seconds / 2, lambda: seen.append(Memory.of(target.pid)))
    before = data_plane.cpu_seconds(target.pid)
    look.start()
    try:
        rate, latency, done = uvloop.run(data_plane.load(target.port, target.request(body), clients, seconds))
    finally:
        look.join()
    cpu = (data_plane.cpu_seconds(target.pid) - before) / done * 1000
    return Figure(rate, latency, cpu), seen[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--port", type=int, default=18310, help="the first of six free ports")
    parser.add_argument("--installed", type=Path, default=Path(tempfile.gettempdir(), "gateway-peers"))
    parser.add_argument("--write", action="store_true", help=f"rewrite {PAGE.relative_to(data_plane.ROOT)}")
    options = parser.parse_args()
    options.installed = options.installed.absolute()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        targets = start(stack, options, Path(temporary))
        results = measure(targets, options.rounds, options.seconds)
    print(table(results))
    if options.write:
        for path, text in page(results, PAGE).items():
            path.write_text(text)


if __name__ == "__main__":
    main()
