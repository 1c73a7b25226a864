"""The memory of a process, as Linux counts it, and of a data worker that is idle and under load.

    python -m benchmarks.memory [--seconds 3]

RSS counts pages that other processes share, such as those of libraries, in full; PSS counts its share of them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import uvloop


class Memory(NamedTuple):
    """In MB (10^6 bytes)."""

    rss: float
    pss: float

    @classmethod
    def of(cls, pid: int) -> Memory:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        found = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines[1:])}
        return cls(found["Rss"] * 1024 / 1e6, found["Pss"] * 1024 / 1e6)


def main() -> None:
    from benchmarks import data_plane, peers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--port", type=int, default=18330, help="the first of two free ports")
    options = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    here = str(data_plane.ROOT / "benchmarks" / "data_plane.py"), "--ports", str(options.port), "0", "0"
    seen: dict[str, Memory] = {}
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        provider = data_plane.process(core, *here, "--serve", "provider", ready=data_plane.wait_for(options.port))
        stack.enter_context(provider)
        worker = peers.gateway(stack, core, Path(temporary, "data"), options.port, options.port + 1)
        seen["idle, before its first request"] = Memory.of(worker.pid)
        for title, body in (("calls", data_plane.BODY), ("streams", data_plane.STREAM_BODY)):
            look = threading.Timer(options.seconds * 0.8, _look, (seen, f"under 64 connections, {title}", worker.pid))
            look.start()
            uvloop.run(data_plane.load(worker.port, worker.request(body), 64, options.seconds))
            look.join()
        seen["idle again"] = Memory.of(worker.pid)
    for title, memory in seen.items():
        print(f"{title:40}{memory.rss:8.1f} MB RSS{memory.pss:8.1f} MB PSS")


def _look(seen: dict[str, Memory], title: str, pid: int) -> None:
    seen[title] = Memory.of(pid)


if __name__ == "__main__":
    main()
