from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from policy_engine.errors import EVAL_CONFLICT_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.reports import Format, report
from policy_engine.reports.results import duration
from policy_engine.testing.discovery import Test as RegoTest
from policy_engine.testing.results import Case, Outcome, Result


def result(name: str, outcome: Outcome, **more: Any) -> Result:
    test = RegoTest("data.authz_test", name, ("authz_test", name), Location("authz_test.rego", 7, 1, 9, 2))
    return Result(test, outcome, 1_500_000, **more)


CONFLICT = PolicyError(
    EVAL_CONFLICT_ERROR, "complete rules must not produce multiple outputs", Location("a.rego", 3, 1)
)

RESULTS = [
    result("test_fine", Outcome.PASSED, prints=("quiet",)),
    result("test_wrong", Outcome.FAILED, prints=("loud", "two\nlines")),
    result("test_broken", Outcome.ERROR, error=CONFLICT),
    result("todo_test_later", Outcome.SKIPPED),
    result(
        "test_cases",
        Outcome.FAILED,
        cases={
            "b": Case("b", passed=False),
            "a": Case("a", passed=True),
            "group": Case("group", passed=False, cases={"x": Case("x", passed=False), "y": Case("y", passed=True)}),
        },
    ),
]


def shown(form: Format, *, verbose: bool = False) -> str:
    output = io.StringIO()
    report(form, Console(file=output, width=40), results=RESULTS, sources={}, verbose=verbose)
    return output.getvalue()


def test_pretty_shows_failures_with_their_prints_and_the_totals() -> None:
    assert (
        shown(Format.PRETTY)
        == f"""\
authz_test.rego:7:
data.authz_test.test_wrong: FAIL (1.5ms)

  loud
  two
  lines

authz_test.rego:7:
data.authz_test.test_broken: ERROR (1.5ms)
  a.rego:3: eval_conflict_error: complete rules must not produce multiple outputs
authz_test.rego:7:
data.authz_test.todo_test_later: SKIPPED
authz_test.rego:7:
data.authz_test.test_cases: FAIL (1.5ms)
  b: FAIL
  group: FAIL
    x: FAIL
{"-" * 80}
PASS: 3/8
FAIL: 3/8
ERROR: 1/8
SKIPPED: 1/8
"""
    )


def test_verbose_shows_everything() -> None:
    text = shown(Format.PRETTY, verbose=True)
    assert "test_fine: PASS (1.5ms)\n\n  quiet\n" in text
    assert "test_wrong: FAIL (1.5ms)\n\n  loud\n  two\n  lines\n" in text
    assert "  a: PASS\n  b: FAIL\n  group: FAIL\n    x: FAIL\n    y: PASS\n" in text


def test_json_has_the_shape_of_opa() -> None:
    fine, wrong, broken, later, cases = json.loads(shown(Format.JSON))
    where = {"file": "authz_test.rego", "row": 7, "col": 1}
    assert wrong == {
        "location": where,
        "package": "data.authz_test",
        "name": "test_wrong",
        "duration": 1_500_000,
        "fail": True,
        "output": "bG91ZAp0d28KbGluZXMK",
    }
    assert "fail" not in fine
    assert broken["error"]["code"] == "eval_conflict_error"
    assert broken["error"]["location"] == {"file": "a.rego", "row": 3, "col": 1}
    assert later["skip"] is True
    assert cases["sub_results"]["group"]["sub_results"]["x"] == {"name": "x", "fail": True}
    assert cases["sub_results"]["a"] == {"name": "a"}


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0ns"), (999, "999ns"), (68_875, "68.875µs"), (1_234_567, "1.23457ms"), (2_000_000_000, "2s")],
)
def test_durations_read_as_in_go(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text
