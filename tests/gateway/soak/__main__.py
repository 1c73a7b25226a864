"""Memory and descriptors under a long mixed load: `python -m tests.gateway.soak --minutes 30 --streams 500`.

A gateway of real processes serves streams of sixty seconds, always as many at a time, and beside them short calls,
bodies of 1 to 20 MiB, denials, errors, broken answers and clients that leave. After a warm-up, which is a sixth of the
time, memory and descriptors may not grow, of the supervisor, the control process and the data workers together: by at
most 5 %, comparing medians over two windows. Memory is RSS, and the private part of it: shares of files (PSS) grow when
other programs of the machine end. At the end the log must verify with every decision closed. Ends with exit code 1
otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import orjson

from tests.gateway.dataplane.processes import POLICY, Background, Live, write_policy
from tests.gateway.soak.load import STREAM_SECONDS, Load
from tests.gateway.soak.samples import Samples, take
from tests.gateway.soak.upstream import Upstream

_EXPECTED = {
    "stream 200",
    "small 200",
    "large 200",
    "error 500",
    "cut 502",
    "cut 200",
    "denied 403",
    "abort",
    "abort large",
}
SETTINGS = "policy_deadline_ms = 1000\nbreaker_failures = 0\n"


class Rig(Live):
    """`Live` with an upstream in this process."""

    def __init__(self, directory: Path, base_url: str) -> None:  # deliberately not that of `Live`: another provider
        self.directory = directory
        self.data = directory / ".gateway"
        self.up: Background | None = None
        self.base_url = ""
        self.key = orjson.loads(self.run("init", "--agent", "bot", "--json"))["key"]
        with (self.data / "gateway.toml").open("a") as file:
            file.write(SETTINGS)
        write_policy(self.data / "policies", POLICY)
        self.run("upstreams", "add", "paced", "--base-url", base_url, "--no-key", "--default")

    def processes(self) -> dict[str, int]:
        assert self.up is not None
        found = {"supervisor": self.up.process.pid}
        for kind in ("control", "data"):
            for number, process in enumerate(sorted(self.children(kind)), 1):
                found[f"{kind} {number}"] = process
        return found


async def soak(options: argparse.Namespace, directory: Path) -> int:
    upstream = Upstream()
    await upstream.start()
    rig = await asyncio.to_thread(Rig, directory, upstream.base_url)
    try:
        await asyncio.to_thread(rig.start, "--workers", str(options.workers))
        processes = rig.processes()
        samples = Samples()
        load = Load(rig.port, rig.key, options.streams, random.Random(options.seed))
        seconds = options.minutes * 60
        warm = max(seconds / 6, min(STREAM_SECONDS, seconds / 2))
        running = asyncio.create_task(load.run(seconds))
        await _sample(processes, samples, seconds, warm, load)
        await running
        same = rig.processes() == processes
    finally:
        await asyncio.to_thread(rig.stop)
        upstream.close()
    await asyncio.to_thread(rig.check_log)
    if options.write:
        samples.write(options.write)
    return _report(samples, warm, seconds, load.ended, same=same)


async def _sample(processes: dict[str, int], samples: Samples, seconds: float, warm: float, load: Load) -> None:
    """Take samples until the load ends; fewer than a second each would be a load of its own."""
    started = time.monotonic()
    every = max(1.0, min(5.0, seconds / 100))
    told = 0.0
    while (now := time.monotonic() - started) < seconds:
        for name, process in processes.items():
            samples.add(name, take(process, now))
        if now >= told:
            state = "warm-up" if now < warm else "measuring"
            print(f"{now:6.0f} s  {state:9} {load.ended.total()} calls have ended", flush=True)
            told += max(60.0, seconds / 30)
        await asyncio.sleep(every)


def _report(samples: Samples, warm: float, end: float, ended: Counter[str], *, same: bool) -> int:
    window = (end - warm) / 5
    violations = [] if same else ["a process was restarted"]
    print(f"\n{'':12} {'RSS, MB':>22} {'highest':>8} {'private, MB':>22} {'descriptors':>16} {'highest':>8}")
    rows = samples.growth(warm, window, end)
    judged = {kind: samples.together(kind, warm, window, end) for kind in ("supervisor", "control", "data")}
    for name, growth in [*rows.items(), ("data, all", judged["data"])]:
        row = f"{name:12} {_change(growth.rss, 1e6)} {growth.highest_rss / 1e6:8.1f} {_change(growth.private, 1e6)}"
        before, after = growth.descriptors
        print(f"{row} {f'{before:.0f} to {after:.0f}':>16} {growth.highest_descriptors:8}")
    violations += [f"{kind}: {each}" for kind, growth in judged.items() for each in growth.violations]
    print(f"\n{', '.join(f'{count} × {kind}' for kind, count in sorted(ended.items()))}")
    violations += [f"{count} × {kind}" for kind, count in ended.items() if kind not in _EXPECTED]
    for violation in violations:
        print(f"VIOLATION: {violation}")
    print("the log verifies, every decision is closed" + ("" if violations else "; nothing grew"))
    return 1 if violations else 0


def _change(pair: tuple[float, float], unit: float) -> str:
    before, after = pair
    return f"{f'{before / unit:.1f} to {after / unit:.1f} {after / before - 1:+.1%}':>22}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.gateway.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--streams", type=int, default=500, help="how many are open at a time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, metavar="FILE", help="write all samples there, as tab-separated values")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        return asyncio.run(soak(options, Path(directory)))


if __name__ == "__main__":
    sys.exit(main())
