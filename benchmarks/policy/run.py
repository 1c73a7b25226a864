"""Leads the engines through the workloads: everyone answers, the answers are compared, then rounds under the clock.

A round asks each engine once, in turn, so that whatever else the machine does hits all of them alike. A row is the
median of its rounds.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.policy.engines import ENGINES, ByHand, Opa, Ours, canonical
from benchmarks.policy.workload import UNDEFINED, Kind, Measure, Workload

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 10.0
"""Processor seconds for one command. A peer that needs more to load a policy is reported, not waited for."""
GLANCE = 0.25
"""Seconds between two looks at how many it has used."""
ABSENCE = 120.0
"""Seconds after which a process that does not even compute is given up."""

LATE = f"takes more than {PATIENCE:.0f} s"

SLOW = 0.5
"""A call of so many seconds is not repeated in as many rounds as the others: it is its own average."""


class Gone(Exception):
    """An engine's process ended, or was ended. The text says how."""


class Wrong(Exception):
    """A workload is not what it says: its answer is another one than OPA's."""


class Process:
    """An engine's process, started again when it is needed after it has crashed."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self._directory = directory
        self._child: subprocess.Popen[str] | None = None
        self.greeting = self._start()

    def ask(self, **command: Any) -> dict[str, Any]:
        """One command's answer. Raises `Gone`."""
        if self._child is None:
            self._start()
        child = self._child
        assert child is not None
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(command) + "\n")
            child.stdin.flush()
        except BrokenPipeError:
            self._end()
            raise Gone("crashed") from None
        return self._reply()

    def close(self) -> None:
        if self._child is not None:
            self._end()

    def _start(self) -> dict[str, Any]:
        command = [sys.executable, "-m", "benchmarks.policy.worker", self.name, str(self._directory)]
        self._child = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._child is not None
        assert self._child.stdout is not None
        used, given_up = _processor_seconds(self._child.pid), time.monotonic() + ABSENCE
        # The protocol has exactly one line in flight, so nothing can hide in the stream's buffer.
        while not select.select([self._child.stdout], [], [], GLANCE)[0]:
            if _processor_seconds(self._child.pid) - used > PATIENCE or time.monotonic() > given_up:
                self._end()
                raise Gone(LATE)
        line = self._child.stdout.readline()
        if not line:
            code = self._end()
            raise Gone(f"crashed with signal {-code}" if code < 0 else "crashed")
        found: dict[str, Any] = json.loads(line)
        return found

    def _end(self) -> int:
        child, self._child = self._child, None
        assert child is not None
        child.kill()
        child.communicate()
        return child.returncode


def _processor_seconds(pid: int) -> float:
    """The processor time of a process so far: unlike time on the wall no other process can add to it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Row:
    """A workload's outcome: for each engine a figure, or the reason why there is none."""

    work: Workload
    figures: dict[str, float] = field(default_factory=dict)
    """µs, ms or MB, as the workload's measure has it."""
    reasons: dict[str, str] = field(default_factory=dict)

    def ratio(self, peer: str) -> float | None:
        """The ratio of a peer's figure to this engine's; for the hand-written function the other way round."""
        if peer not in self.figures or Ours.name not in self.figures:
            return None
        ratio = self.figures[peer] / self.figures[Ours.name]
        return 1 / ratio if peer == ByHand.name else ratio


@dataclass
class Outcome:
    """Everything that a run found."""

    versions: dict[str, str]
    missing: dict[str, str]
    rows: list[Row]
    seconds: float = 0.0


@dataclass(frozen=True)
class Timing:
    """The number of turns, the time that one engine has in all of them together, and the clock."""

    rounds: int
    seconds: float
    wall: bool = False


def run(workloads: Sequence[Workload], timing: Timing, show: Callable[[Row], None]) -> Outcome:
    """All workloads; `show` gets each row as soon as it is there."""
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        processes = {name: Process(name, Path(directory)) for name in ENGINES}
        try:
            outcome = Outcome(
                {name: process.greeting.get("version", "") for name, process in processes.items()},
                {name: p.greeting["unable"] for name, p in processes.items() if "unable" in p.greeting},
                [],
            )
            present = {name: process for name, process in processes.items() if name not in outcome.missing}
            for work in workloads:
                row = Row(work)
                _row(row, present, _late(outcome.rows, work), timing)
                outcome.rows.append(row)
                show(row)
        finally:
            for process in processes.values():
                process.close()
    outcome.seconds = time.perf_counter() - started
    return outcome


def _late(rows: Sequence[Row], work: Workload) -> set[str]:
    """The engines that needed too long for as much of the same, or less."""
    smaller = [row for row in rows if work.series and row.work.series == work.series and row.work.size <= work.size]
    return {name for row in smaller for name, reason in row.reasons.items() if reason == LATE}


def _row(row: Row, processes: dict[str, Process], late: set[str], timing: Timing) -> None:
    work = row.work
    if work.measure is Measure.MEMORY:
        for process in processes.values():
            process.close()  # a fresh process: what others have left free would be used before it grows
    ready = _agreeing(row, processes, late)
    samples: dict[str, list[float]] = {name: [] for name in ready}
    share = timing.seconds / timing.rounds
    for number in range(timing.rounds):
        for name in ready:
            if number and _is_enough(work, samples[name]):
                continue
            reply = _told(row, processes[name], do="measure", seconds=share, wall=timing.wall)
            if reply:
                samples[name].append(reply["megabytes"] if work.measure is Measure.MEMORY else reply["seconds"])
    for name in ready:
        _told(row, processes[name], do="forget")
        if samples[name] and name not in row.reasons:
            row.figures[name] = statistics.median(samples[name]) * _scale(work)


def _agreeing(row: Row, processes: dict[str, Process], late: set[str]) -> list[str]:
    """The engines that are ready and gave the right answer: the workload's, which must be what OPA says.

    Those that are `late` with less are not asked.
    """
    want = UNDEFINED if row.work.want is None else canonical(row.work.want)
    ready = []
    for name, process in processes.items():
        if name in late:
            row.reasons[name] = LATE
            continue
        reply = _told(row, process, do="prepare", workload=row.work.name)
        if not reply:
            continue
        if name == Opa.name and reply["reference"] != want:
            raise Wrong(f"{row.work.name}: the workload wants {want}, OPA answers {reply['reference']}")
        if reply["answer"] == want:
            ready.append(name)
        else:
            got, right = _difference(reply["answer"], want)
            row.reasons[name] = f"answers {got} instead of {right}"
            _told(row, process, do="forget")
    return ready


def _told(row: Row, process: Process, **command: Any) -> dict[str, Any] | None:
    """A command's answer; without one the reason goes into the row."""
    try:
        reply = process.ask(**command)
    except Gone as error:
        reply = {"unable": str(error)}
    if "unable" in reply:
        row.reasons[process.name] = reply["unable"]
        return None
    return reply


def _is_enough(work: Workload, samples: list[float]) -> bool:
    """True if more rounds would only take time: memory does not vary, and long calls are averages of themselves."""
    return work.measure is Measure.MEMORY or (bool(samples) and samples[0] > SLOW and len(samples) > 1)


def _scale(work: Workload) -> float:
    return 1.0 if work.measure is Measure.MEMORY else 1e6 if work.measure is Measure.ASK else 1e3


def _difference(got: str, want: str) -> tuple[str, str]:
    """Two different texts, cut to what is around the first difference."""
    start = next((i for i, pair in enumerate(zip(got, want, strict=False)) if pair[0] != pair[1]), 0)
    start = max(0, start - 24)
    return _cut(got, start), _cut(want, start)


def _cut(text: str, start: int) -> str:
    return ("…" if start else "") + text[start : start + 48] + ("…" if len(text) > start + 48 else "")


def series(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """The rows of each growth curve, by size."""
    growing = of_kind(rows, Kind.GROWING)
    for name in dict.fromkeys(row.work.series for row in growing):
        yield name, [row for row in growing if row.work.series == name]


def of_kind(rows: Sequence[Row], kind: Kind) -> list[Row]:
    return [row for row in rows if row.work.kind is kind]
