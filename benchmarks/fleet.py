"""The time of `gateway apply` and `gateway export` for many agents, and of a page of a list of them.

    python -m benchmarks.fleet [--agents 10000]

The yardstick is SQLite itself, in the same run: as many rows of the same size inserted with one transaction for each
group of 256, which is about how the log is written. Times are of whole processes, start and parsing of the file
included; the ratio is one of processor time as well, which other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import math
import os
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BAR_SECONDS = 5.0
ROW_BYTES = 700  # an entry of the log and what belongs to it


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=10_000)
    count = parser.parse_args().agents
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        gateway(place, "init")
        (place / "fleet.yaml").write_text("v: 1\nagents:\n" + "".join(map(agent, range(count))))
        bare, bare_processor = insert(place / "bare.db", 3 * count)
        for what, arguments in (
            ("register", ("apply", "-f", "fleet.yaml")),
            ("register again", ("apply", "-f", "fleet.yaml")),
            ("export", ("export", "--out", "export.yaml")),
        ):
            wall, processor = gateway(place, *arguments)
            print(f"{what:16} {wall:6.2f} s  processor {processor:6.2f} s", end="")
            times = f"{wall / bare:5.1f} times {3 * count:,} bare rows, of processor {processor / bare_processor:.1f}"
            print(f"  {times}; bar {BAR_SECONDS} s" if what == "register" else "")
        print(f"page of 100      {page(place):6.1f} ms, from the middle of the agents, by a registry that is open")


def agent(number: int) -> str:
    return (
        f"- name: agent-{number}\n  owner: owner-{number % 50}@acme.example\n  team: team-{number % 40}\n"
        f"  environment: prod\n  capabilities: [chat, tools]\n  labels: {{tier: '1', cost: c{number % 9}}}\n"
    )


def gateway(place: Path, *arguments: str) -> tuple[float, float]:
    """Wall and processor time of one command."""
    environment = {**os.environ, "AIG_DATA": str(place / ".gateway"), "PYTHONPATH": os.getcwd()}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gateway", *arguments], cwd=place, env=environment, check=True, capture_output=True
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def page(place: Path) -> float:
    """Milliseconds for one page, the best of some."""
    from gateway.data_directory import DataDirectory
    from gateway.registry import pages, queries
    from gateway.registry.database import Registry

    registry = Registry.open(DataDirectory(place / ".gateway"))
    agents = sorted(each.id for each in queries.agents(registry, "default"))
    best = math.inf
    for _ in range(20):
        began = time.perf_counter()
        pages.agents(registry, "default", after=agents[len(agents) // 2], limit=100)
        best = min(best, time.perf_counter() - began)
    registry.close()
    return best * 1000


def insert(path: Path, count: int) -> tuple[float, float]:
    """Wall and processor time of as many bare rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, name TEXT UNIQUE, body BLOB)")
    began, began_processor = time.perf_counter(), time.process_time()
    for start in range(0, count, 256):
        connection.execute("BEGIN")
        rows = ((n, f"agent-{n}", os.urandom(ROW_BYTES)) for n in range(start, min(count, start + 256)))
        connection.executemany("INSERT INTO row VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    return time.perf_counter() - began, time.process_time() - began_processor


if __name__ == "__main__":
    main()
