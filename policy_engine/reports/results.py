"""Test results as text for people and as JSON, as in `opa test`.

A reporter receives each result as soon as it exists, so a long run shows progress; `finish` is called after the last.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from policy_engine.location import Location
from policy_engine.reports.excerpts import excerpt
from policy_engine.testing.results import Case, Outcome, Result

STYLES = {Outcome.PASSED: "green", Outcome.FAILED: "bold red", Outcome.ERROR: "bold red", Outcome.SKIPPED: "yellow"}
RULER = "-" * 80


class Pretty:
    """Failed tests with what failed and what they printed, and totals; with `verbose` also passed tests.

    `sources` has the text of each file that a result can name.
    """

    def __init__(self, console: Console, sources: Mapping[str, str], *, verbose: bool) -> None:
        self._sources = sources
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
        for failure in result.failures:
            shown = excerpt(failure.location, failure.values, self._sources, failure.what)
            self._console.print(shown[1:], soft_wrap=True)
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
        for outcome, text in totals(self._counts):
            self._line(Text.assemble((f"{outcome.value}:", STYLES[outcome]), text.removeprefix(f"{outcome.value}:")))

    def _line(self, text: str | Text = "", style: str | Outcome = "", rest: str = "") -> None:
        """Print one line; `style` is a style, or an outcome to print after the text."""
        if isinstance(style, Outcome):
            text = Text.assemble(text, ": ", (style.value, STYLES[style]), rest)
        elif isinstance(text, str):
            text = Text(text, style)
        self._console.print(text, soft_wrap=True)


def totals(counts: Mapping[Outcome, int]) -> Iterator[tuple[Outcome, str]]:
    """`FAIL: 1/3` for each outcome that there is."""
    for outcome in Outcome:
        if count := counts.get(outcome):
            yield outcome, f"{outcome.value}: {count}/{sum(counts.values())}"


def document(result: Result) -> dict[str, Any]:
    """A result with the field names of `opa test --format json`, and `failures`, which has what failed."""
    test = result.test
    document: dict[str, Any] = {"location": _place(test.location), "package": test.package, "name": test.name}
    document["duration"] = result.duration_ns
    if result.outcome is Outcome.FAILED:
        document["fail"] = True
    if result.outcome is Outcome.SKIPPED:
        document["skip"] = True
    if result.error:
        document["error"] = {"code": result.error.code, "message": result.error.message}
        if where := result.error.location:
            document["error"]["location"] = _place(where)
    if result.failures:
        document["failures"] = [
            {"location": _place(failure.location), "message": failure.message, "values": list(failure.values)}
            for failure in result.failures
        ]
    if result.prints:
        document["output"] = base64.b64encode("".join(f"{line}\n" for line in result.prints).encode()).decode()
    if result.cases:
        document["sub_results"] = _cases(result.cases)
    return document


def _place(where: Location) -> dict[str, Any]:
    return {"file": where.file, "row": where.row, "col": where.col}


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
