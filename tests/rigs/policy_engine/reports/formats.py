"""Shared parts of the tests in `tests/policy_engine/reports/test_formats.py`."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from policy_engine.errors import EVAL_CONFLICT_ERROR, PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.reports import Finding, Format, findings_of, report
from policy_engine.testing.discovery import Test as RegoTest
from policy_engine.testing.results import Case, Failure, Outcome, Result

FINDINGS = [
    *findings_of(PolicyError(PARSE_ERROR, "unexpected `}`", Location("a b/p,1.rego", 3, 10, 3, 11), hint="50% of\nit")),
    Finding("bundle_error", "no manifest", severity="warning"),
]


def result(name: str, outcome: Outcome, **more: Any) -> Result:
    test = RegoTest("data.authz_test", name, ("authz_test", name), Location("authz_test.rego", 7, 1, 9, 2))
    return Result(test, outcome, 1_500_000, **more)


RESULTS = [
    result("test_fine", Outcome.PASSED, prints=("a \x1b[1m <&> line",)),
    result(
        "test_wrong",
        Outcome.FAILED,
        failures=(Failure(Location("authz_test.rego", 8, 2, 8, 8), "x == 1", "does not hold", ("x = 2",)),),
    ),
    result("test_no", Outcome.FAILED, cases={"a#1": Case("a#1", passed=False), "b": Case("b", passed=True)}),
    result(
        "test_broken", Outcome.ERROR, error=PolicyError(EVAL_CONFLICT_ERROR, "two values", Location("a.rego", 3, 1))
    ),
    result("todo_test_later", Outcome.SKIPPED),
]


def shown(form: Format, **what: Any) -> str:
    output = io.StringIO()
    sources = {"a b/p,1.rego": "package p\n\nallow if }\n", "authz_test.rego": "\n" * 7 + " x == 1\n"}
    report(form, Console(file=output, width=40), sources=sources, **what)
    return output.getvalue()
