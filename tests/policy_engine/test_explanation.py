"""`Entrypoint.explain`: which rules held, where the others failed, and the values at that place."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent
from typing import Any

import pytest

import policy_engine as pe
from tests.policy_engine.language.cases import CASES, without_remarks

UNDEFINED = pe.UNDEFINED


Rules = tuple[pe.RuleOutcome, ...]


def explained(body: str, value: Any, data: dict[str, Any] | None = None) -> Rules:
    modules = {"m.rego": "package m\n\n" + dedent(body)}
    plain = pe.compile(modules, data).entrypoint("data.m")
    found = plain.explain(value)
    assert (found.value, found.error) == (plain(value), None)
    return found.rules(modules)


def outcome(found: Rules, name: str, row: int | None = None) -> pe.RuleOutcome:
    (one,) = [each for each in found if each.path == f"data.m.{name}" and row in (None, each.location.row)]
    return one


def failed(body: str, value: Any, name: str = "p", **options: Any) -> tuple[int, str, dict[str, Any]]:
    """Row, text and values of the expression at which the only rule of a name failed."""
    one = outcome(explained(body, value, **options), name)
    assert (one.held, one.values) == (0, ())
    assert one.failed is not None
    return one.failed.location.row, one.failed.text, dict(one.failed.values)


def test_a_rule_that_holds_has_its_values() -> None:
    found = explained('p := input.x\n\nq contains y if some y in ["b", "a", "b"]', {"x": {"a": [1]}})
    p, q = outcome(found, "p"), outcome(found, "q")
    assert (p.held, p.values, p.failed, p.location.row) == (1, ({"a": [1]},), None, 3)
    assert (q.held, sorted(q.values), q.failed) == (3, ["a", "b"], None)


@pytest.mark.parametrize(
    ("body", "value", "expected"),
    [
        ('p if input.role == "admin"', {"role": "dev"}, ('input.role == "admin"', {"input.role": "dev"})),
        ('p if input.rolle == "admin"', {"role": "dev"}, ('input.rolle == "admin"', {"input.rolle": UNDEFINED})),
        ("p if input.on", {"on": False}, ("input.on", {"input.on": False})),
        ("p if not input.off", {"off": True}, ("not input.off", {"input.off": True})),
        (
            "p if count(input.xs) <= 1",
            {"xs": [1, 2]},
            ("count(input.xs) <= 1", {"input.xs": [1, 2], "count(input.xs)": 2}),
        ),
        ("p if input.xs[_] == 3", {"xs": [1, 2]}, ("input.xs[_] == 3", {"input.xs": [1, 2]})),
        (
            'p if input.model in {"a", "b"}',
            {"model": "c"},
            ('input.model in {"a", "b"}', {"input.model": "c"}),
        ),
        (
            "p if input.a +\n\tinput.b == 4",
            {"a": 1, "b": 2},
            ("input.a + input.b == 4", {"input.a": 1, "input.b": 2, "input.a + input.b": 3}),
        ),
    ],
)
def test_the_expression_that_failed_stands_with_its_values(
    body: str, value: Any, expected: tuple[str, dict[str, Any]]
) -> None:
    row, text, values = failed(body, value)
    assert (row, text, values) == (3, *expected)


def test_variables_are_named_as_in_the_policy() -> None:
    body = """\
        p if {
            some user in input.users
            limit := 3
            user.age > limit
        }
    """
    value = {"users": [{"age": 1}, {"age": 2}]}
    row, text, values = failed(body, value)
    assert (row, text) == (6, "user.age > limit")
    assert values == {"user": {"age": 1}, "limit": 3, "user.age": 1}
    one = outcome(explained(body, value), "p").failed
    assert one is not None
    assert one.times == 2


def test_the_furthest_attempt_counts() -> None:
    """Not the last one: the first user passes the first condition, the second one does not."""
    body = """\
        p if {
            some user in input.users
            user.active
            user.age > 3
        }
    """
    row, text, values = failed(body, {"users": [{"active": True, "age": 1}, {"active": False, "age": 9}]})
    assert (row, text, values["user.age"]) == (6, "user.age > 3", 1)


def test_every_names_the_member_that_fails() -> None:
    body = """\
        p if every tool in input.tools {
            tool.type == "function"
            tool.name in data.names
        }
    """
    tools = [{"type": "function", "name": name} for name in ("a", "c", "a")]
    row, _, values = failed(body, {"tools": tools}, data={"names": ["a"]})
    assert (row, values["tool.name in data.names"], values["tool.name"], values["data.names"]) == (3, False, "c", ["a"])


def test_a_failure_shows_no_later_expression_of_another_member() -> None:
    """The second expression was last evaluated for "xa"."""
    body = """\
        p if every r in input.rs {
            startswith(r, "x")
            r != input.not_that
        }
    """
    values = failed(body, {"rs": ["xa", "b"], "not_that": "c"})[2]
    assert values == {"input.rs": ["xa", "b"], "r": "b", 'startswith(r, "x")': False}


def test_values_are_those_under_with() -> None:
    """Looked up afterwards, they would be those of the real input and data."""
    body = """\
        p if _q with input.x as 5 with data.k as 6

        _q if {
            input.x + data.k == 11
            _r == data.k
        }

        _r := input.x
    """
    found = outcome(explained(body, {"x": 1}, {"k": 2}), "_q").failed
    assert found is not None
    assert (found.text, dict(found.values)) == ("_r == data.k", {"_r": 5, "data.k": 6})


def test_of_a_loop_the_collection_is_shown() -> None:
    assert failed("p if input.xs[_] == 3", {})[2] == {"input.xs": UNDEFINED}
    assert failed("p if input.xs[i].k == i", {"xs": []})[2] == {"input.xs": []}
    assert failed("p if {\n\tsome x in input.xs\n\tx\n}", {"xs": {}}) == (4, "some x in input.xs", {"input.xs": {}})


def test_values_of_other_rules_are_looked_up() -> None:
    body = """\
        p if {
            input.x in _allowed
            _never
        }

        _allowed contains x if some x in [1, 2]

        _never if input.x == 7
    """
    found = explained(body, {"x": 1})
    p = outcome(found, "p")
    assert p.failed is not None
    assert (p.failed.text, p.failed.values) == ("_never", (("_never", UNDEFINED),))
    never = outcome(found, "_never").failed
    assert never is not None
    assert never.values == (("input.x", 1),)
    assert failed(body, {"x": 3})[2] == {"input.x": 3, "_allowed": [1, 2]}


def test_functions_and_else_and_defaults() -> None:
    body = """\
        default p := "none"

        p := "one" if _is(input.x, 1)

        else := "two" if _is(input.x, 2)

        _is(a, b) if a == b
    """
    found = explained(body, {"x": 2})
    one, two, default = (outcome(found, "p", row) for row in (5, 7, 3))
    assert one.failed is not None
    assert one.failed.text == "_is(input.x, 1)"
    assert (two.held, two.values, two.default) == (1, ("two",), False)
    assert (default.tried, default.default) == (0, True)
    assert (outcome(found, "_is").tried, outcome(found, "_is").held) == (2, 1)
    assert outcome(explained(body, {"x": 3}), "p", 3).values == ("none",)


def test_what_is_not_needed_is_not_tried() -> None:
    found = explained("p if input.a\n\np if input.b", {"a": True, "b": True})
    assert (outcome(found, "p", 3).held, outcome(found, "p", 5).tried) == (1, 0)


def test_what_an_index_would_leave_out_is_tried() -> None:
    rules = "\n".join(f'p if {{\n\tinput.action == "a{number}"\n\tinput.x\n}}' for number in range(200))
    found = explained(rules, {"action": "a7", "x": False})
    last = outcome(found, "p", 3 + 4 * 199).failed
    seventh = outcome(found, "p", 3 + 4 * 7).failed
    assert last is not None
    assert seventh is not None
    assert (last.text, last.values) == ('input.action == "a199"', (("input.action", "a7"),))
    assert (seventh.text, seventh.values) == ("input.x", (("input.x", False),))


def test_an_error_is_part_of_the_explanation() -> None:
    policies = pe.compile({"m.rego": "package m\n\np if to_number(input.x) > 1\n\nq := 1"})
    found = policies.entrypoint("data.m", strict_builtin_errors=True).explain({"x": "no"})
    assert found.value is UNDEFINED
    assert found.error is not None
    assert (found.error.code, found.error.location and found.error.location.row) == ("eval_builtin_error", 3)


def test_clock_and_records_are_those_that_are_given() -> None:
    modules = {"m.rego": 'package m\n\np := time.now_ns()\n\nq := rand.intn("x", 1000)'}
    found = pe.compile(modules).entrypoint("data.m").explain({}, now_ns=5, replay={'rand.intn["x",1000]': 7})
    assert found.value == {"p": 5, "q": 7}


def test_the_explained_build_agrees_with_the_usual_one(read_case: Callable[[dict[str, Any]], Any]) -> None:
    """On the packages of all cases of the language: the same value or the same error, strict and not."""
    compared = 0
    for area, fields in CASES:
        case = read_case(without_remarks(fields))
        modules = {f"test-{number}.rego": source for number, source in enumerate(case.modules)}
        try:
            policies = pe.compile(modules, case.data or {})
        except pe.PolicyError:
            continue
        value = pe.parse_value(case.input_term) if case.input_term else case.input
        moment: dict[str, Any] = {"now_ns": 10**18, "seed": 3}
        for path in sorted({f"data.{'.'.join(package)}" for package in policies.packages().values()}):
            for strict in (False, True):
                found = policies.entrypoint(path, strict_builtin_errors=strict).explain(value, **moment)
                wanted, error = outcome_of(policies, path, value, strict, moment)
                where = area, fields["note"], path, strict
                assert (found.error and found.error.code) == (error and error.code), where
                assert wanted is found.value or pe.dumps(wanted) == pe.dumps(found.value), where
                compared += 1
    assert compared > 300


def outcome_of(
    policies: pe.Policies, path: str, value: Any, strict: bool, moment: dict[str, Any]
) -> tuple[Any, pe.PolicyError | None]:
    try:
        return policies.entrypoint(path, strict_builtin_errors=strict).decide(value, **moment).value, None
    except pe.PolicyError as error:
        return UNDEFINED, error
