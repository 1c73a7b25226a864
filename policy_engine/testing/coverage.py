"""The lines of the policies that the tests cover, in the way and format of `opa test --coverage`.

Lines on which a rule or an expression begins are counted, declarations (`some x in xs`) are not. codegen/coverage.py
decides when a line counts as covered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from policy_engine.syntax.nodes import Expr, Module, Rule, SomeDecl, SomeIn
from policy_engine.syntax.visitor import walk


class Coverage:
    """The lines of some modules, and which of them have been covered so far."""

    def __init__(self, modules: Mapping[str, Module]) -> None:
        self._lines = {file: set(_lines(module)) for file, module in modules.items()}
        self._covered: dict[str, set[int]] = {file: set() for file in modules}

    def add(self, rows: Mapping[str, Iterable[int]]) -> None:
        """Add the lines that a decision covered."""
        for file, found in rows.items():
            self._covered[file].update(found)

    def files(self) -> Iterator[tuple[str, set[int], set[int]]]:
        """Each file with its covered lines and its uncovered lines."""
        for file, covered in self._covered.items():
            yield file, covered, self._lines[file] - covered


def files(coverages: Iterable[Coverage]) -> list[tuple[str, set[int], set[int]]]:
    """Each file with its covered lines and its uncovered lines, sorted."""
    return sorted(found for coverage in coverages for found in coverage.files())


def percentage(coverages: Iterable[Coverage]) -> float:
    """The coverage of all files in percent; 0 if there are no lines, as in OPA."""
    return _percentage(*_totals(coverages))


def document(coverages: Iterable[Coverage]) -> dict[str, Any]:
    """The report, with OPA's field names. As in OPA, a file's zero or empty fields are left out."""
    found = list(coverages)
    covered, missing = _totals(found)
    return {
        "files": {file: _file(hit, missed) for file, hit, missed in files(found)},
        "covered_lines": covered,
        "not_covered_lines": missing,
        "coverage": _percentage(covered, missing),
    }


def uncovered(coverages: Iterable[Coverage]) -> list[str]:
    """The uncovered places: `authz.rego:7`, `authz.rego:9-12`."""
    return [
        f"{file}:{first}" if first == last else f"{file}:{first}-{last}"
        for file, _, missed in files(coverages)
        for first, last in _ranges(missed)
    ]


def _totals(coverages: Iterable[Coverage]) -> tuple[int, int]:
    found = [(len(hit), len(missed)) for _, hit, missed in files(coverages)]
    return sum(hit for hit, _ in found), sum(missed for _, missed in found)


def _percentage(covered: int, missing: int) -> float:
    return 100 * covered / (covered + missing) if covered else 0


def _file(covered: set[int], missing: set[int]) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name, rows in (("covered", covered), ("not_covered", missing)):
        if rows:
            document[name] = [{"start": {"row": first}, "end": {"row": last}} for first, last in _ranges(rows)]
    for name, rows in (("covered_lines", covered), ("not_covered_lines", missing)):
        if rows:
            document[name] = len(rows)
    if covered:
        document["coverage"] = _percentage(len(covered), len(missing))
    return document


def _ranges(rows: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The first and last row of each run of consecutive rows."""
    first = last = 0
    for row in sorted(rows):
        if row != last + 1 or not first:
            if first:
                yield first, last
            first = row
        last = row
    if first:
        yield first, last


def _lines(module: Module) -> Iterator[int]:
    for node in walk(module):
        if isinstance(node, Rule) or (isinstance(node, Expr) and not isinstance(node.what, (SomeDecl, SomeIn))):
            yield node.loc.row
