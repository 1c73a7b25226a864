"""Language cases: how one is read and checked, for OPA's own suite and for those in this folder.

A case compiles `modules` with `data`, evaluates `query` with `input` and compares the set of bindings with
`want_result`, or the error with `want_error` (part of its text) and `want_error_code`. The fields mean what they mean
in OPA's v1/test/cases; the test file that reads a suite knows the format of its files.

Results are compared here and not with the engine's own equality, for which 1 might equal true.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from tests.oracle import Oracle, OracleUnavailable, both_modes


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """The real OPA in strict mode; skips if it is not installed."""
    try:
        with Oracle() as found:
            yield found
    except OracleUnavailable as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def oracles() -> Iterator[dict[bool, Oracle]]:
    """The real OPA in both modes: whether strict → OPA."""
    try:
        with both_modes() as (strict, default):
            yield {True: strict, False: default}
    except OracleUnavailable as error:
        pytest.skip(str(error))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Case:
    note: str
    query: str
    modules: tuple[str, ...] = ()
    data: Any = None
    input: Any = pe.UNDEFINED
    input_term: str = ""
    strict: bool = False
    want_result: Any = pe.UNDEFINED
    want_error: str = ""
    want_error_code: str = ""
    sort_bindings: bool = False
    ignore_generated_vars: bool = False

    @classmethod
    def read(cls, fields: dict[str, Any]) -> Case:
        """A case from its fields. Unknown ones are errors: a misspelt `want_eror` would be a case that cannot fail."""
        known = dict(fields, modules=tuple(fields.get("modules") or ()))
        if "strict_error" in known:
            known["strict"] = known.pop("strict_error")
        case = cls(**known)
        if case.want_result is pe.UNDEFINED and not case.want_error and not case.want_error_code:
            raise pytest.UsageError(f"case `{case.note}` expects nothing")
        return case

    def check(self, cache: Path | None = None) -> None:
        """Raises `AssertionError` if the engine, with a cache or without, does not answer as expected."""
        error, got = None, []
        try:
            got = self._evaluate(cache)
        except pe.PolicyError as raised:
            error = raised
        if self.want_error or self.want_error_code:
            assert error is not None, f"no error, but {pe.dumps(got)}"
            assert self.want_error in str(error), f"another error text\n  want {self.want_error}\n  got  {error}"
            assert self.want_error_code in ("", error.code), f"another error code than {self.want_error_code}\n{error}"
            return
        assert error is None, f"unexpected error\n{error}"
        want = self.want_result if isinstance(self.want_result, str) else pe.dumps(self.want_result)
        same = self._canonical(_parse(pe.dumps(got))) == self._canonical(_parse(want))
        assert same, f"another result\n  want {want}\n  got  {pe.dumps(got)}"

    def check_oracle(self, oracle: Oracle) -> None:
        """Raises `AssertionError` if OPA itself does not answer as expected.

        OPA's bindings give an error's code but not its place, and numbers as floats; nothing more is compared.
        """
        # Through OPA's API a query of one expression has a result even if the expression is false.
        answer = oracle.query(f"true; {self.query}", modules=self._files(), data=self.data or {}, input=self._input())
        if self.want_error or self.want_error_code:
            assert answer.code, f"OPA has no error, but {answer.bindings}"
            assert self.want_error_code in f"{answer.code} {answer.message}", f"OPA has another error: {answer.message}"
            return
        assert not answer.code, f"OPA has an error: {answer.message}"
        want = self.want_result if isinstance(self.want_result, str) else pe.dumps(self.want_result)
        same = self._canonical(_floats(json.dumps(answer.bindings))) == self._canonical(_floats(want))
        assert same, f"OPA has another result\n  want {want}\n  OPA  {answer.bindings}"

    def _files(self) -> dict[str, str]:
        return {f"test-{number}.rego": source for number, source in enumerate(self.modules)}

    def _input(self) -> Any:
        return pe.parse_value(self.input_term) if self.input_term else self.input

    def _evaluate(self, cache: Path | None) -> list[dict[str, Any]]:
        policies = pe.compile(self._files(), data=self.data or {}, cache=cache)
        return policies.prepare(self.query, strict_builtin_errors=self.strict).bindings(self._input())

    def _canonical(self, bindings: Iterable[dict[str, Any]]) -> frozenset[Hashable]:
        return frozenset(
            frozenset(
                (name, canonical(value, unordered=self.sort_bindings))
                for name, value in each.items()
                if not (self.ignore_generated_vars and name.startswith("__localq"))
            )
            for each in bindings
        )


def _parse(text: str) -> Any:
    """JSON text as values; numbers keep all their digits."""
    return json.loads(text, parse_float=Decimal, parse_int=Decimal)


def _floats(text: str) -> Any:
    return json.loads(text, parse_int=float)


def canonical(value: Any, *, unordered: bool = False) -> Hashable:
    """A key that is equal for equal JSON values only; `unordered` ignores the order of the outermost array."""
    if isinstance(value, dict):
        return "object", frozenset((key, canonical(member)) for key, member in value.items())
    if isinstance(value, list):
        members = [canonical(member) for member in value]
        return "array", tuple(sorted(members, key=repr) if unordered else members)
    return type(value).__name__, value


@pytest.fixture(scope="session")
def read_case() -> Callable[[dict[str, Any]], Case]:
    return Case.read


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how many of OPA's cases pass, by area: areas with gaps one per line, complete ones in a single line."""
    passed: dict[str, int] = {}
    total: dict[str, int] = {}
    for report in (each for reports in terminalreporter.stats.values() for each in reports):
        for name, value in getattr(report, "user_properties", ()):
            if name == "conformance" and report.when == "call":
                area, good, of = value
                passed[area] = passed.get(area, 0) + good
                total[area] = total.get(area, 0) + of
    if not total:
        return
    terminalreporter.section("conformance with OPA")
    complete = sorted(area for area in total if passed[area] == total[area])
    for area in sorted(total.keys() - set(complete)):
        terminalreporter.write_line(f"{area:40} {passed[area]:4} of {total[area]:4}")
    terminalreporter.write_line(f"complete: {', '.join(complete) or 'none'}", yellow=not complete)
    share = 100 * sum(passed.values()) / sum(total.values())
    terminalreporter.write_line(f"{'all':40} {sum(passed.values()):4} of {sum(total.values()):4} = {share:.1f} %")
