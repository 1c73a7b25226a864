from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.testing.results import Case, Outcome, Result
from policy_engine.testing.runner import prepare, run


def results(*modules: str, **options: Any) -> dict[str, Result]:
    suite = prepare({f"m{number}.rego": f"package m\n{source}" for number, source in enumerate(modules)})
    return {result.test.name: result for result in run(suite, **options)}


def outcome(rule: str, name: str = "test_x", **options: Any) -> str:
    return results(rule, **options)[name].outcome.value


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("test_x if true", "PASS"),
        ("test_x := true", "PASS"),
        ("test_x if false", "FAIL"),
        ("test_x := false", "FAIL"),
        ("test_x := 1", "FAIL"),
        ('test_x := "true"', "FAIL"),
        ("test_x contains 1", "FAIL"),
        ("test_x if input.y", "FAIL"),
        ("test_x if not input.y", "PASS"),
        ("test_x := y if some y in [1, 2]", "ERROR"),
        ('test_x if to_number("a") == 1', "FAIL"),
    ],
)
def test_a_test_passes_if_its_value_is_true(rule: str, expected: str) -> None:
    assert outcome(rule) == expected


def test_strict_makes_errors_of_builtins_errors() -> None:
    assert outcome('test_x if to_number("a") == 1', strict=True) == "ERROR"


def test_a_test_that_runs_too_long_is_stopped() -> None:
    slow = "test_x if { some i, j, k; xs := numbers.range(1, 9999); xs[i] * xs[j] * xs[k] < 0 }"
    result = results(slow, timeout=0.05)["test_x"]
    assert result.outcome is Outcome.ERROR
    assert result.error is not None
    assert result.error.code == "eval_cancel_error"


def test_todo_is_skipped_and_never_evaluated() -> None:
    result = results("todo_test_x := y if some y in [1, 2]")["todo_test_x"]
    assert result.outcome is Outcome.SKIPPED
    assert result.duration_ns == 0


def test_other_rules_functions_and_defaults_are_no_tests() -> None:
    found = results(
        "default test_x := false\ntest_x if true\nlatest_x if false\ntodo_x if false\ntest_f(x) := x\nx if test_x"
    )
    assert list(found) == ["test_x"]


def test_a_test_may_stand_deeper_in_its_package() -> None:
    found = results("roles.test_admin if true\nroles.test_guest if false")
    assert {name: each.outcome.value for name, each in found.items()} == {
        "roles.test_admin": "PASS",
        "roles.test_guest": "FAIL",
    }
    assert found["roles.test_guest"].test.full_name == "data.m.roles.test_guest"


def test_rules_of_one_name_are_tests_of_their_own() -> None:
    """As alternatives, the second would hide that the first does not hold."""
    found = results("test_x if false\ntest_x if true", "test_x if { false } else := true if { true }")
    assert {name: each.outcome.value for name, each in found.items()} == {
        "test_x": "FAIL",
        "test_x#01": "PASS",
        "test_x#02": "PASS",
    }


def test_the_filter_is_a_search_in_the_full_name() -> None:
    source = "test_admin if true\ntest_guest if true"
    assert list(results(source, matching="guest$")) == ["test_guest"]
    assert list(results(source, matching=r"^data\.m\.test_a")) == ["test_admin"]
    with pytest.raises(ValueError, match="is not a regular expression"):
        results(source, matching="(")


def test_prints_belong_to_their_test_even_if_it_fails() -> None:
    found = results(
        'test_a if print("one", 1)\ntest_b := y if { print("two"); some y in [1, 2] }\ntest_c if print(input.nothing)'
    )
    assert found["test_a"].prints == ("one 1",)
    assert found["test_b"].prints[0] == "two"
    assert found["test_c"].prints == ("<undefined>",)


def test_errors_of_every_module_are_reported_together() -> None:
    with pytest.raises(pe.PolicyError) as caught:
        results("p if", "q if")
    assert [error.location.file for error in caught.value.errors if error.location] == ["m0.rego", "m1.rego"]


def test_compiler_errors_do_not_blame_the_names_of_cases() -> None:
    with pytest.raises(pe.PolicyError, match="var y is unsafe"):
        results("test_x[n] if { n := 1; n == y }")


# ---- parametrised tests


def cases(rule: str) -> Any:
    """The cases of `test_x`, groups as dicts."""

    def plain(found: Mapping[str, Case]) -> dict[str, Any]:
        return {name: plain(case.cases) if case.cases else case.passed for name, case in found.items()}

    return plain(results(rule)["test_x"].cases)


TABLE = '[{"note": "one", "n": 1}, {"note": "two", "n": 2}]'


@pytest.mark.parametrize(
    "body",
    [
        f"some tc in {TABLE}; tc.n == 1",
        f"some i; tc := {TABLE}[i]; tc.n == 1",
        f"some tc, unused; tc = {TABLE}[_]; tc.n = unused; unused == 1",
        f"some tc in {TABLE}; print(tc); tc.n == 1",
        f"every x in [1] {{ x == 1 }}; some tc in {TABLE}; tc.n == 1",
    ],
)
def test_a_case_that_fails_has_a_name(body: str) -> None:
    assert cases(f"test_x[tc.note] if {{ {body} }}") == {"one": True, "two": False}


def test_cases_may_have_groups() -> None:
    rule = 'test_x[group][n] if { some group, ns in {"low": [1, 2], "high": [3]}; some n in ns; n < 2 }'
    assert cases(rule) == {"low": {"1": True, "2": False}, "high": {"3": False}}


def test_a_case_needs_the_value_true() -> None:
    assert cases('test_x[n] := v if some n, v in {"a": true, "b": false, "c": 1}') == {
        "a": True,
        "b": False,
        "c": False,
    }


def test_a_name_bound_late_costs_the_names_of_this_test_only() -> None:
    """The name's expression stands before what it needs, so that its beginning alone would be unsafe."""
    late = f"test_late[n] if {{ n = tc.note; tc = {TABLE}[_]; tc.n == 1 }}"
    found = results(f"{late}\ntest_x[tc.note] if {{ some tc in {TABLE}; tc.n == 1 }}")
    assert list(found["test_late"].cases) == ["one"]
    assert list(found["test_x"].cases) == ["one", "two"]


def test_many_such_tests_are_still_no_errors() -> None:
    late = "\n".join(f"test_{i}[n] if {{ n = tc.note; tc = {TABLE}[_] }}" for i in range(25))
    assert {each.outcome for each in results(late).values()} == {Outcome.PASSED}


def test_counts_are_those_of_the_cases() -> None:
    result = results(f"test_x[tc.note] if {{ some tc in {TABLE}; tc.n == 1 }}")["test_x"]
    assert result.outcome is Outcome.FAILED
    assert sorted(each.value for each in result.counts()) == ["FAIL", "PASS"]
