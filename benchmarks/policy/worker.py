"""The process that one engine lives in: reads commands as lines of JSON, answers with lines of JSON.

An engine of its own process can crash, hang or grow without end and takes nothing with it, and the threads of its
garbage collector stay out of the other engines' figures. All the same only one of these processes works at a time.
"""

from __future__ import annotations

import ctypes
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from benchmarks.policy.engines import ENGINES, ByHand, Engine, Opa, Unable
from benchmarks.policy.workload import Measure, Workload
from benchmarks.policy.workloads import BY_NAME

MAX_REASON = 100
"""Characters of an engine's error that the table repeats."""


class Worker:
    """One engine, and the workload it is ready for."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.act: Callable[[Any], Any] | None = None
        self.input: Any = None
        self.megabytes = 0.0

    def prepare(self, work: Workload, directory: Path) -> dict[str, Any]:
        """Be ready to measure: the answer's text, once it has been asked."""
        engine, module, data, value = self.engine, work.module(), work.data(), work.input()
        match work.measure:
            case Measure.ASK:
                act = engine.prepare(work, module, data)
            case Measure.LOAD:
                act = lambda value: engine.prepare(work, module, data)(value)  # noqa: E731
            case Measure.RESTORE:
                restore = engine.keep(work, module, data, directory)
                act = lambda value: restore()(value)  # noqa: E731
            case Measure.REPLACE:
                replace = engine.replacing(work, module, data)
                act = lambda value: replace(data)(value)  # noqa: E731
            case Measure.MEMORY:
                del data
                act = self._weighed(work, module, value)
        answer = engine.text(act(value))
        if work.measure is Measure.ASK:
            act(value)  # the second look-up in long data makes this engine's table of it
        self.act, self.input = act, value
        gc.collect()
        return {"answer": answer, "reference": engine.marshalled(work, value) if isinstance(engine, Opa) else ""}

    def _weighed(self, work: Workload, module: str, value: Any) -> Callable[[Any], Any]:
        before = _resident()
        data = work.data()
        ask = self.engine.prepare(work, module, data)
        ask(value)
        ask(value)  # with the tables that later decisions use
        if not isinstance(self.engine, ByHand):
            del data  # an engine that works on Python's objects keeps them itself
        self.megabytes = _resident() - before
        return ask

    def measure(self, seconds: float, wall: bool) -> dict[str, Any]:
        assert self.act is not None
        clock = time.perf_counter if wall else time.thread_time
        return {"seconds": _per_call(self.act, self.input, seconds, clock), "megabytes": self.megabytes}

    def forget(self) -> dict[str, Any]:
        self.act = self.input = None
        gc.collect()
        return {}


def _per_call(act: Callable[[Any], Any], value: Any, seconds: float, clock: Callable[[], float]) -> float:
    """Seconds a call, over as many calls as fit; at least one."""
    calls, batch, started = 0, 1, clock()
    while True:
        for _ in itertools.repeat(None, batch):
            act(value)
        calls += batch
        spent = clock() - started
        if spent >= seconds:
            return spent / calls
        # Never more than a tenth of the time between two looks at the clock, which itself costs as much as a decision.
        batch = max(1, min(batch * 2, int(seconds / 10 / max(spent / calls, 1e-9))))


def _resident() -> float:
    """MB of memory that the process really holds, without what is only waiting to be used again."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _answer(worker: Worker, command: dict[str, Any], directory: Path) -> dict[str, Any]:
    try:
        match command["do"]:
            case "prepare":
                return worker.prepare(BY_NAME[command["workload"]], directory)
            case "measure":
                return worker.measure(command["seconds"], command["wall"])
            case _:
                return worker.forget()
    except Unable as error:
        return {"unable": str(error)}
    except Exception as error:  # noqa: BLE001  an engine's errors are of any class, and none may end the run
        return {"unable": _reason(str(error) or type(error).__name__)}


def _reason(text: str) -> str:
    """The line of an engine's error that says most."""
    lines = [line.partition("error: ")[2] or line.strip() for line in text.splitlines() if "rror" in line]
    return (lines[-1] if lines else " ".join(text.split()))[:MAX_REASON]


def serve(name: str, directory: Path, output: TextIO) -> None:
    """Say which version this is, or why there is none; then do as told until nobody is there to tell."""
    try:
        engine = ENGINES[name]()
        print(json.dumps({"version": engine.version()}), file=output, flush=True)
    except Unable as error:
        print(json.dumps({"unable": str(error)}), file=output, flush=True)
        return
    worker = Worker(engine)
    for line in sys.stdin:
        print(json.dumps(_answer(worker, json.loads(line), directory)), file=output, flush=True)


def main() -> None:
    gc.set_threshold(100_000, 50, 100)  # as policy-engine.md advises a process that loads large policies
    # Peers print to standard output as they like; the answers go through a copy that only this module knows.
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as output:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        serve(sys.argv[1], Path(sys.argv[2]), output)


if __name__ == "__main__":
    main()
