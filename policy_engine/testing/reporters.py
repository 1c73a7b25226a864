"""Test results for people and for programs, in the two formats of `opa test`.

A reporter receives each result as soon as it exists, so a long run shows progress; `finish` is called after the last.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from typing import Any, Protocol

from rich.console import Console
from rich.text import Text

from policy_engine.testing.results import Case, Outcome, Result

STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.ERROR: "bold red", Outcome.SKIPPED: "yellow"}
RULER = "-" * 80


class Reporter(Protocol):
    def report(self, result: Result) -> None: ...

    def finish(self) -> None: ...


class Pretty:
    """Failed tests, what they printed, and totals; with `verbose` also passed tests."""

    def __init__(self, console: Console, *, verbose: bool) -> None:
        self._console = console
        self._verbose = verbose
        self._counts: Counter[Outcome] = Counter()
        self._file = ""

    def report(self, result: Result) -> None:
        self._counts.update(result.counts())
        if result.outcome is Outcome.PASSED and not self._verbose:
            return
        file, row = result.test.location.file, result.test.location.row
        if self._file not in ("", file):
            self._line()
        self._file = file
        self._line(f"{file}:{row}:", "dim")
        took = "" if result.outcome is Outcome.SKIPPED else f" ({duration(result.duration_ns)})"
        self._line(result.test.full_name, result.outcome, took)
        for depth, case in result.walk():
            if self._verbose or not case.passed:
                self._line("  " * (depth + 1) + case.name, Outcome.PASSED if case.passed else Outcome.FAILED)
        if result.error:
            self._line(f"  {result.error}")
        if result.prints:
            self._line()
            for line in "\n".join(result.prints).splitlines():
                self._line(f"  {line}")
            self._line()

    def finish(self) -> None:
        if self._file:
            self._line(RULER, "dim")
        total = sum(self._counts.values())
        for outcome in Outcome:
            if count := self._counts[outcome]:
                self._line(Text.assemble((f"{outcome.value}:", STYLES[outcome]), f" {count}/{total}"))

    def _line(self, text: str | Text = "", style: str | Outcome = "", rest: str = "") -> None:
        """Print one line; `style` is a style, or an outcome to print after the text."""
        if isinstance(style, Outcome):
            text = Text.assemble(text, ": ", (style.value, STYLES[style]), rest)
        elif isinstance(text, str):
            text = Text(text, style)
        self._console.print(text, soft_wrap=True)


class Json:
    """One array of all results, with the field names of `opa test --format json`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._results: list[dict[str, Any]] = []

    def report(self, result: Result) -> None:
        self._results.append(_document(result))

    def finish(self) -> None:
        self._console.file.write(json.dumps(self._results, indent=2, ensure_ascii=False) + "\n")


def _document(result: Result) -> dict[str, Any]:
    test = result.test
    location = {"file": test.location.file, "row": test.location.row, "col": test.location.col}
    document: dict[str, Any] = {"location": location, "package": test.package, "name": test.name}
    document["duration"] = result.duration_ns
    if result.outcome is Outcome.FAILED:
        document["fail"] = True
    if result.outcome is Outcome.SKIPPED:
        document["skip"] = True
    if result.error:
        document["error"] = {"code": result.error.code, "message": result.error.message}
        if where := result.error.location:
            document["error"]["location"] = {"file": where.file, "row": where.row, "col": where.col}
    if result.prints:
        document["output"] = base64.b64encode("".join(f"{line}\n" for line in result.prints).encode()).decode()
    if result.cases:
        document["sub_results"] = _cases(result.cases)
    return document


def _cases(cases: Any) -> dict[str, Any]:
    return {name: _case(case) for name, case in sorted(cases.items())}


def _case(case: Case) -> dict[str, Any]:
    document: dict[str, Any] = {"name": case.name}
    if not case.passed:
        document["fail"] = True
    if case.cases:
        document["sub_results"] = _cases(case.cases)
    return document


def duration(nanoseconds: int) -> str:
    """A duration in Go's notation: `1.5s`, `12.345ms`, `68.9µs`."""
    for unit, size in (("s", 1_000_000_000), ("ms", 1_000_000), ("µs", 1_000)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.6g}{unit}"
    return f"{nanoseconds}ns"
