"""The oracle itself: both modes, and what it can show that JSON cannot."""

from __future__ import annotations

import pytest

from policy_engine.values import Set, parse_number
from tests.oracle import Oracle, OracleUnavailable, both_modes

FAILING = {
    "t.rego": "package t\n\ndeny contains 1 if regex.match(`^rm `, input.command)\n\nallow if count(deny) == 0\n"
}


def test_a_builtin_error_is_an_error_only_in_strict_mode() -> None:
    try:
        with both_modes() as (strict, default):
            asked = [
                oracle.query("x := data.t.allow", modules=FAILING, input={"command": ["rm"]})
                for oracle in (strict, default)
            ]
    except OracleUnavailable as error:
        pytest.skip(str(error))
    assert (asked[0].code, asked[0].bindings) == ("eval_type_error", [])
    assert asked[0].message == "regex.match: operand 2 must be string but got array"
    assert (asked[1].code, asked[1].bindings) == ("", [{"x": True}])


def test_null_input_is_not_no_input(oracle: Oracle) -> None:
    assert oracle.query("x := input", input=None).bindings == [{"x": None}]
    assert oracle.query("x := input").bindings == []


def test_text_keeps_sets_and_numbers(oracle: Oracle) -> None:
    operands = Set([parse_number("1.50"), True, "a\0"])
    assert oracle.call("sort", operands).bindings == [{"text": '[[true, 1.50, "a\\x00"]]'}]


def test_data_and_modules_are_forgotten(oracle: Oracle) -> None:
    assert oracle.query("x := data.a", data={"a": 1}).bindings == [{"x": 1}]
    assert oracle.query("x := data.a").bindings == []


def test_prints(oracle: Oracle) -> None:
    assert oracle.query('print("a", {1}, input.gone)').prints == ["a {1} <undefined>"]
