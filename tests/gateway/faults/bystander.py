"""A client beside the faults, in a process of its own: `… -m tests.gateway.faults.bystander PORT KEY FILE WORKER PATH`.

It asks one small call after the other until it is killed, and writes to FILE for each when it began (of the clock that
all processes share), how long the answer took, how much processor time the process WORKER used meanwhile, and its
status. `Bystander` starts it and reads what it wrote.
"""

from __future__ import annotations

import http.client
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

from tests.gateway.dataplane.processes import ROOT, environment

_PAUSE = 0.01


def ask_for_ever(port: int, key: str, file: Path, worker: int, path: str) -> None:
    used = (~worker << 3) | 2  # the clock of the processor time of another process: clock_getcpuclockid(3)
    body = orjson.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]})
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with file.open("a", buffering=1) as out:
        while True:
            began, before = time.monotonic(), _clock(used)
            try:
                connection.request("POST", path, body, headers)
                answer = connection.getresponse()
                answer.read()
                status = answer.status
            except (OSError, http.client.HTTPException):
                status = 0
                connection.close()
            out.write(f"{began} {time.monotonic() - began} {status} {_clock(used) - before}\n")
            time.sleep(_PAUSE)


def _clock(clock: int) -> float:
    """The processor time of a process so far; 0 once it has ended."""
    with suppress(OSError):
        return time.clock_gettime(clock)
    return 0.0


@dataclass(frozen=True, slots=True)
class Waits:
    """The answers in one span of time, in seconds; `work` is the most processor time of the worker during one."""

    count: int
    median: float
    worst: float
    work: float
    statuses: frozenset[int]

    def __str__(self) -> str:
        return (
            f"{self.count} calls, median {self.median * 1e3:.0f} ms, worst {self.worst * 1e3:.0f} ms"
            f" ({self.work * 1e3:.0f} ms of processor time)"
        )


class Bystander:
    """The process. `calls` counts what it has asked."""

    def __init__(
        self, port: int, key: str, directory: Path, worker: int, path: str = "/calm/v1/chat/completions"
    ) -> None:
        self._file = directory / "bystander.txt"
        self._file.write_bytes(b"")
        arguments = [str(port), key, str(self._file), str(worker), path]
        command = [sys.executable, "-m", "tests.gateway.faults.bystander", *arguments]
        self._process = subprocess.Popen(command, cwd=ROOT, env=environment())

    def close(self) -> None:
        self._process.kill()
        self._process.wait(60)

    def since(self, began: float) -> Waits:
        whole = self._file.read_text().rpartition("\n")[0]  # the last line may not be written to its end yet
        rows = [tuple(map(float, line.split())) for line in whole.splitlines()]
        found = [row for row in rows if row[0] + row[1] >= began]
        waits = [row[1] for row in found] or [0.0]
        statuses = frozenset(int(row[2]) for row in found)
        work = max((row[3] for row in found), default=0.0)
        return Waits(len(found), statistics.median(waits), max(waits), work, statuses)

    @contextmanager
    def watching(self, name: str, figures: list[str]) -> Iterator[None]:
        """Note how long its calls waited in this time; each must have been answered."""
        began = time.monotonic()
        yield
        time.sleep(0.05)
        waits = self.since(began)
        figures.append(f"{name}: {waits}")
        assert waits.statuses <= {200}, waits


if __name__ == "__main__":
    ask_for_ever(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
