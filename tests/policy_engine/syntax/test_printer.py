"""`parse(print(tree)) == tree`, for whole modules and where the text has to be careful."""

from __future__ import annotations

import pytest

from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Call, Scalar, Set, Var
from policy_engine.syntax.parser import parse_module, parse_query, parse_term
from policy_engine.syntax.printer import body_text, to_text


def test_layout_of_a_module() -> None:
    source = (
        'package a["b c"].d\nimport data.x as y\nimport rego.v1\ndefault p = false\n'
        "p := 1 if { x == 1; not y } else := 2 if z else := 3\nq[x] contains `a` if x\nf(_, x) := x"
    )
    assert to_text(parse_module(source)) == (
        'package a["b c"].d\n\nimport data.x as y\nimport rego.v1\n\ndefault p = false\n\n'
        "p := 1 if {\n\tx == 1\n\tnot y\n} else := 2 if {\n\tz\n} else := 3\n\n"
        "q[x] contains `a` if {\n\tx\n}\n\nf(_, x) := x\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "1 - (2 - 3) - 4",
        "(1 + 2) * 3 % 4",
        "a == b == (c < d)",
        "(a | b) & c | d",
        "1 in (2 in xs)",
        "1 in xs in ys",
        "k, v in xs in ys",
        "[(k, v in xs)]",
        "f((k, v in xs), 1)",
        "{(k, v in xs): 1}",
        "[(a | b), c]",
        "[(1 + a | b == c)]",
        "{(a | b)}",
        '{"a": (b | c)}',
        "[(a | b) | c]",
        "[(a + 1) | b; c]",
        "{a + 1: (b + 1) | c}",
        "set()",
        "[{}, {1}, {1: 2}]",
        "0 - x",
        "x - -1",
        '$"a\\{b} {c} \\"{$`{d}`}"',
        "$`a\\n{b}`",
        'a["b c"].d[0][e].if',
        "f(x).y[0]",
        "[1, 2][0]",
        '"\\u0001\\n é"',
        "1.50",
        "-1e2",
    ],
)
def test_terms_stay_as_they_are(text: str) -> None:
    assert to_text(parse_term(text)) == text


@pytest.mark.parametrize(
    "text",
    [
        "x := 1; [a, b] = y",
        "not x == 1 with input as {} with data.a as k, v in xs",
        "some x, y",
        "some x in xs; some [k], v in xs | ys",
        "every k, v in {1} { v | k; not k }",
        "k, v in xs in ys",
    ],
)
def test_bodies_stay_as_they_are(text: str) -> None:
    assert body_text(parse_query(text)) == text


def test_a_line_does_not_continue_the_one_before() -> None:
    module = parse_module("package a\nimport future.keywords\np if { x; -1 == y; or(x, y); and(x, y) or z }")
    text = to_text(module)
    assert text.endswith("{\n\tx;\n\t-1 == y;\n\tor(x, y);\n\tand(x, y) or z\n}\n")
    assert parse_module(text) == module


@pytest.mark.parametrize(
    "body", ["x | y", "x | y == z", "x | y := z", "x | y; z", "(x | y) or z", "x | y with input as 1"]
)
def test_a_body_does_not_become_a_comprehension(body: str) -> None:
    # Behind a semicolon the text is in a body for sure; without what is before it, it must stay there.
    module = parse_module(f"package a\nimport future.keywords\np if {{ 1; {body} }}")
    rule = nodes.Rule(module.rules[0].head, module.rules[0].body[1:])
    alone = nodes.Module(module.package, module.imports, (rule,))
    assert parse_module(to_text(alone)) == alone


def test_a_raw_string_that_cannot_be_raw() -> None:
    assert to_text(Scalar("a`b", raw=True)) == '"a`b"'
    assert to_text(nodes.Template(("a\\", nodes.Expr(Var("x"))), raw=True)) == '$"a\\\\{x}"'


def test_trees_that_no_text_has_made() -> None:
    """The compiler and tools build trees, and print them in messages."""
    tree = Call(
        Var("assign"), (Var("__local0__"), Set((Call(Var("or"), (Var("a"), Var("b")), infix=True),))), infix=True
    )
    assert to_text(tree) == "__local0__ := {(a | b)}"
    assert to_text(nodes.Comment(" x")) == "# x"
