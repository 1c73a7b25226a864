"""Running tests: each test rule is evaluated as a separate decision with a time limit, which gives an outcome.

By default errors of builtins make expressions undefined, as in `opa test`; with `strict` they are errors, as in the
gateway.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import re2

from policy_engine.codegen.context import Limits, Options
from policy_engine.engine import Policies, from_modules
from policy_engine.errors import PolicyError
from policy_engine.location import Location
from policy_engine.syntax import parser
from policy_engine.testing import failures
from policy_engine.testing.coverage import Coverage
from policy_engine.testing.discovery import Test, discover, dotted
from policy_engine.testing.results import Case, Failure, Outcome, Result
from policy_engine.values import UNDEFINED, Value, dumps

TIMEOUT = 5.0
"""Seconds for one test, as in `opa test`."""


@dataclass(frozen=True, slots=True)
class Suite:
    """Policies compiled for testing, and the tests in them.

    `printed` receives the lines that the running test prints; `coverage`, if requested, the lines it covers.
    """

    policies: Policies
    tests: tuple[Test, ...]
    printed: list[str]
    coverage: Coverage | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


def prepare(
    modules: Mapping[str, str],
    data: Mapping[str, Value] | None = None,
    schemas: Mapping[str, Value] | None = None,
    *,
    coverage: bool = False,
) -> Suite:
    """Parse and compile modules (file name → source) and find their tests. Raises `PolicyError`."""
    trees = parser.parse_modules(modules)
    printed: list[str] = []
    options = Options(print=printed.append)
    unnamed: set[Location] = set()
    while True:
        rewritten, tests = discover(trees, unnamed=unnamed)
        try:
            policies = from_modules(rewritten, data, options=options, schemas=schemas, covering=coverage)
            break
        except PolicyError as error:
            # The companion of a test is unsafe if its body uses a variable before the expression that binds it. Then
            # try again without that companion: failing cases are not named. A real error occurs again.
            places = {single.location for single in error.errors if single.location}
            if places <= unnamed:
                raise
            unnamed |= places
    return Suite(policies, tuple(tests), printed, Coverage(trees) if coverage else None, dict(modules))


def run(suite: Suite, *, matching: str = "", timeout: float = TIMEOUT, strict: bool = False) -> Iterator[Result]:
    """Run the tests whose full name (`data.authz_test.test_x`) has a match of the RE2 expression `matching`, in order.

    Results are yielded one by one. Raises `ValueError` for an invalid expression; errors of tests are outcomes.
    """
    try:
        pattern = re2.compile(matching)
    except re2.error as error:
        raise ValueError(f"`{matching}` is not a regular expression: {_text(error)}") from None
    for test in suite.tests:
        if pattern.search(test.full_name):
            yield (
                Result(test, Outcome.SKIPPED) if test.skipped else _run(suite, test, Limits(timeout, work=None), strict)
            )


def _run(suite: Suite, test: Test, limits: Limits, strict: bool) -> Result:
    suite.printed.clear()
    entrypoint = suite.policies.entrypoint(dotted(("data", *test.path)), strict_builtin_errors=strict)
    start = time.perf_counter_ns()
    try:
        decision = entrypoint.decide(limits=limits, trace=suite.coverage is not None)
    except PolicyError as error:
        return Result(test, Outcome.ERROR, time.perf_counter_ns() - start, error, tuple(suite.printed))
    duration = time.perf_counter_ns() - start
    value = decision.value
    if suite.coverage is not None:
        suite.coverage.add(decision.coverage or {})
    prints = tuple(suite.printed)
    cases = _cases(value, _case_names(suite, test, limits)) if test.parametrised else {}
    passed = value is not UNDEFINED and all(case.passed for case in cases.values()) if cases else value is True
    if passed:
        return Result(test, Outcome.PASSED, duration, prints=prints, cases=cases)
    failed = _failures(suite, test, limits, strict)
    return Result(test, Outcome.FAILED, duration, prints=prints, cases=cases, failures=failed)


def _failures(suite: Suite, test: Test, limits: Limits, strict: bool) -> tuple[Failure, ...]:
    """The failures of a test, from a second evaluation that notes its steps."""
    rule = dotted(("data", *test.path))
    steps = suite.policies.entrypoint(rule, strict_builtin_errors=strict).explain(limits=limits).steps
    return failures.of_test(steps, rule, suite.sources, cases=test.parametrised)


def _case_names(suite: Suite, test: Test, limits: Limits) -> list[list[str]]:
    """The names of all cases of a parametrised test, including failing ones."""
    if not test.cases:
        return []
    try:
        names = suite.policies.entrypoint(dotted(("data", *test.cases))).decide(limits=limits).value
    except PolicyError:
        return []  # the test itself has the same error; only names are lost
    return [[part if isinstance(part, str) else dumps(part) for part in name] for name in names]


def _cases(value: Value, announced: list[list[str]]) -> dict[str, Case]:
    """One case per member of the test's object, and a failed case for each announced name without a member."""
    members = value if isinstance(value, dict) else {}
    inner: dict[str, list[list[str]]] = {name: [] for name in members}
    for first, *rest in announced:
        inner.setdefault(first, []).extend([rest] if rest else [])
    cases = {}
    for name, names in inner.items():
        member = members.get(name, UNDEFINED)
        if isinstance(member, dict) or names:
            below = _cases(member, names)
            cases[name] = Case(name, bool(below) and all(case.passed for case in below.values()), below)
        else:
            cases[name] = Case(name, member is True)
    return cases


def _text(error: Exception) -> str:
    reason = error.args[0] if error.args else error
    return reason.decode() if isinstance(reason, bytes) else str(reason)
