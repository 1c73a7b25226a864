"""Reports of failing tests: the expression that failed, the values it saw, and the failures in the rules it asked."""

from __future__ import annotations

import pytest

import policy_engine as pe
from policy_engine.testing.failures import failure_of
from policy_engine.testing.results import Failure, Result
from policy_engine.testing.runner import prepare, run

AUTHZ = """package authz

default allow := false

allow if {
	"admin" in input.roles
	input.level > 3
}

deny contains role if {
	some role in input.roles
	startswith(role, "x")
}

double(x) := y if {
	x > 3
	y := x * 2
}
"""


def results(tests: str, *, strict: bool = False) -> list[Result]:
    modules = {"authz.rego": AUTHZ, "t.rego": f"package t\n\nimport data.authz\n\n{tests}"}
    return list(run(prepare(modules), strict=strict))


def failure(test: str) -> Failure:
    (result,) = results(test)
    (found,) = result.failures
    return found


@pytest.mark.parametrize(
    ("body", "message", "values"),
    [
        (
            'authz.allow with input as {"roles": ["guest"]}',
            '`authz.allow with input as {"roles": ["guest"]}` does not hold',
            ("authz.allow = false", 'authz.rego:6: `"admin" in input.roles` does not hold; input.roles = ["guest"]'),
        ),
        (
            "count(authz.deny) == 2 with input.roles as {\"xa\"}",
            '`count(authz.deny) == 2 with input.roles as {"xa"}` does not hold',
            ("count(authz.deny) = 1", 'authz.deny = {"xa"}'),
        ),
        (
            "x := 3\n\tsome y in [1, x]\n\ty + x == 7",
            "`y + x == 7` does not hold",
            ("y + x = 4", "y = 1", "x = 3"),
        ),
        (
            "authz.double(1) == 2",
            "`authz.double(1)` is undefined",
            ("authz.rego:16: `x > 3` does not hold; x = 1",),
        ),
        ("input.x == 1", "`input.x` is undefined", ()),
        ("x := json.unmarshal(\"[1]\"); x[0] == 1; x[1] == 1", "`x[1]` is undefined", ("x = [1]",)),
        (
            'not authz.deny with input as {"roles": ["xa"]}',
            '`not authz.deny with input as {"roles": ["xa"]}` does not hold',
            ('authz.deny = {"xa"}',),
        ),
        (
            'every r in ["xa", "b"] {\n\t\tstartswith(r, "x")\n\t}',
            '`every r in ["xa", "b"] { startswith(r, "x") }` does not hold',
            ('r = "b"', 'startswith(r, "x") = false'),
        ),
        (
            'every r in ["a", "b"] {\n\t\tr == "a"\n\t}',
            '`every r in ["a", "b"] { r == "a" }` does not hold',
            ('r = "b"', 'r == "a" = false'),
        ),
        ("input.xs[_] == 1", "`input.xs` is undefined", ()),
        ("x := [1, 2]; x[_] == 3", "`x[_] == 3` does not hold", ("x = [1, 2]",)),
        ("z == 2; z = 3", "`z == 2` does not hold", ("z = 3",)),
        ('{"a": 1}.a == 2', '`{"a": 1}.a == 2` does not hold', ('{"a": 1}.a = 1',)),
    ],
)  # fmt: skip
def test_the_expression_that_failed_and_what_it_saw(body: str, message: str, values: tuple[str, ...]) -> None:
    found = failure(f"test_x if {{\n\t{body}\n}}\n")
    assert (found.message, found.values) == (message, values)


def test_the_place_is_that_of_the_expression() -> None:
    found = failure("test_x if {\n\tx := 1\n\tx == 2\n}\n")
    assert found.location[:3] == ("t.rego", 7, 2)


def test_of_several_solutions_the_furthest_counts() -> None:
    assert failure("test_x if {\n\tsome n in [1, 5, 2]\n\tn > 3\n\tn < 5\n}\n").text == "n < 5"


def test_rules_of_the_same_name_are_told_apart() -> None:
    one, two = results("test_x if 1 == 2\n\ntest_x if 1 == 3\n")
    assert [one.failures[0].text, two.failures[0].text] == ["1 == 2", "1 == 3"]


def test_each_failing_case_is_shown() -> None:
    (result,) = results(
        "test_x[note] if {\n\tsome note, n in {\"a\": 1, \"b\": 5, \"c\": 2}\n\tauthz.double(n) == 10\n}\n"
    )  # fmt: skip
    assert [case.passed for _, case in result.walk()] == [False, True, False]
    assert [each.values[0] for each in result.failures] == ["n = 1", "n = 2"]


def test_every_rule_of_many_is_looked_at() -> None:
    """An index would leave out the rule with the typing error that the author looks for."""
    many = "".join(f'allow if input.role == "role{number}"\n' for number in range(100))
    modules = {
        "a.rego": f"package a\n\n{many}",
        "t.rego": 'package t\n\ntest_x if data.a.allow with input.role as "x"\n',
    }
    (result,) = run(prepare(modules))
    assert 'a.rego:3: `input.role == "role0"` does not hold; input.role = "x"' in result.failures[0].values


def test_long_values_are_cut() -> None:
    found = failure('test_x if {\n\tx := numbers.range(1, 1000)\n\tcount(x) == 1\n}\n')  # fmt: skip
    assert max(map(len, found.values)) < 200


def test_a_value_that_is_not_true_has_no_failed_expression() -> None:
    (result,) = results("test_x := 1\n")
    assert result.failures == ()


def test_a_decision_can_be_explained() -> None:
    allow = pe.compile({"authz.rego": AUTHZ}).entrypoint("data.authz.allow")
    steps = allow.explain({"roles": ["admin"], "level": 2}).steps
    assert [(step.rule, step.place.location.row, step.succeeded) for step in steps if step.place.level == 1] == [
        ("data.authz.allow", 6, True),
        ("data.authz.allow", 6, True),
        ("data.authz.allow", 7, True),
        ("data.authz.allow", 7, False),
    ]


def test_one_value_without_a_member_fails_no_expression_that_holds() -> None:
    modules = {"p.rego": "package p\n\np if {\n\tinput.xs[i] == data.names[i]\n\ti == 7\n}"}
    steps = pe.compile(modules, {"names": [1]}).entrypoint("data.p").explain({"xs": [1, 2]}).steps
    assert [failure_of(step, steps, modules).text for step in steps] == ["input.xs[i] == data.names[i]", "i == 7"]
