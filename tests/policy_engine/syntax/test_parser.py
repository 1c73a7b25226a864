"""Tests beyond the cases: locations, comments, queries and terms, limits, and that nothing but `PolicyError` leaves."""

from __future__ import annotations

import pytest

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Call, Expr, Ref, Rule, Scalar, Var
from policy_engine.syntax.parser import parse_module, parse_query, parse_term
from policy_engine.syntax.reading import MAX_DEPTH
from policy_engine.syntax.visitor import depth, walk
from policy_engine.values import number_text
from tests.policy_engine.syntax.tree import dump


def text_at(source: str, loc: Location) -> str:
    lines = source.split("\n")[loc.row - 1 : loc.end_row]
    lines[-1] = lines[-1][: loc.end_col - 1]
    lines[0] = lines[0][loc.col - 1 :]
    return "\n".join(lines)


class TestLocations:
    SOURCE = 'package a\n\np contains x if {\n\tsome x in [`a\nb`, input.b["c d"]]\n\tnot f(x, -1) + 2 == (x)\n}\n'

    def test_every_node_covers_its_text(self) -> None:
        texts = {text_at(self.SOURCE, node.loc) for node in walk(parse_module(self.SOURCE, "a.rego"))}
        assert texts >= {
            "package a",
            'p contains x if {\n\tsome x in [`a\nb`, input.b["c d"]]\n\tnot f(x, -1) + 2 == (x)\n}',
            "p contains x",
            'some x in [`a\nb`, input.b["c d"]]',
            "`a\nb`",
            'input.b["c d"]',
            "b",
            '"c d"',
            "not f(x, -1) + 2 == (x)",
            "f(x, -1) + 2",
            "f(x, -1)",
            "-1",
            "(x)",
        }

    def test_children_lie_within_their_parent(self) -> None:
        module = parse_module(self.SOURCE, "a.rego")
        for node in walk(module):
            assert node.loc.file == "a.rego"
            assert (node.loc.row, node.loc.col) < (node.loc.end_row, node.loc.end_col)
            for child in walk(node):
                assert node.loc[1:3] <= child.loc[1:3]
                assert child.loc[3:] <= node.loc[3:]

    def test_columns_count_characters(self) -> None:
        rule = parse_module('package a\np := "é" + x').rules[0]
        assert isinstance(rule.head.value, Call)
        assert rule.head.value.args[1].loc == Location("", 2, 12, 2, 13)

    def test_an_else_has_its_own(self) -> None:
        rule = parse_module("package a\np if x\nelse := 1 if { y }").rules[0]
        assert rule.else_ is not None
        assert rule.else_.loc == Location("", 3, 1, 3, 19)
        assert rule.loc == Location("", 2, 1, 3, 19)


class TestComments:
    def test_text_and_location_survive(self) -> None:
        source = "# METADATA\n# title: x\r\npackage a # here\n#\np := `# none` + $`# {1 # inside\n}`\n"
        found = [(comment.text, comment.loc.row, comment.loc.col) for comment in parse_module(source).comments]
        assert found == [
            (" METADATA", 1, 1), (" title: x", 2, 1), (" here", 3, 11), ("", 4, 1), (" inside", 5, 24),
        ]  # fmt: skip

    def test_they_are_no_part_of_the_tree(self) -> None:
        assert parse_module("package a # x\np := 1") == parse_module("package a\n\np := 1 # y")


class TestQueries:
    @pytest.mark.parametrize(
        ("source", "want"),
        [
            ("data.a.p = x; x > 1", '(body (eq (ref data "a" "p") x) (gt x 1))'),
            ("x\n{1} == y", "(body x (equal (set 1) y))"),
            ("every x in xs { x }", "(body (every - x xs (body x)))"),
            ("some x in xs; not x with input as 1", "(body (some-in - x xs) (with (not x) (input 1)))"),
            ("x y", "(body x y)"),  # OPA reads it so, too
            ("plus(1, 2, x)", "(body (plus 1 2 x))"),
        ],
    )
    def test_is_a_body(self, source: str, want: str) -> None:
        assert dump(parse_query(source)) == want

    @pytest.mark.parametrize("source", ["", " # x", "x;", "package a", "x := ", "p if x", "}"])
    def test_is_nothing_else(self, source: str) -> None:
        with pytest.raises(PolicyError) as raised:
            parse_query(source, "query")
        assert raised.value.code == PARSE_ERROR


class TestTerms:
    def test_ground_term(self) -> None:
        assert (
            dump(parse_term('{"a": {1, -2}, "b": [set(), null]}'))
            == '(object ("a" (set 1 -2)) ("b" (array (set) null)))'
        )

    @pytest.mark.parametrize("source", ["", "1 2", "x := 1", "1; 2", "["])
    def test_exactly_one(self, source: str) -> None:
        with pytest.raises(PolicyError) as raised:
            parse_term(source)
        assert raised.value.code == PARSE_ERROR


class TestLimits:
    @pytest.mark.parametrize(
        "text",
        [
            "[" * 600 + "]" * 600,
            "(" * 600 + "1" + ")" * 600,
            "{" * 100_000,
            "f(" * 600 + ")" * 600,
            "1" + " + 1" * 600,
            "-x" + " | {1}" * 5_000,
            '$"{' * 600,
            "[x | y := " * 100 + "1" + "]" * 100,
        ],
    )
    def test_too_deep(self, text: str) -> None:
        with pytest.raises(PolicyError) as raised:
            parse_module(f"package a\np := {text}")
        assert raised.value.code == PARSE_ERROR

    @pytest.mark.parametrize(
        "text",
        ["[" * 100 + "]" * 100, "(" * 199 + "1" + ")" * 199, "1" + " + 1" * 200, "[" + "1 + 2, " * 1_000 + "]"],
    )
    def test_deep_and_wide_enough(self, text: str) -> None:
        assert depth(parse_module(f"package a\np := {text}")) <= MAX_DEPTH + 3

    def test_many_literals_are_not_deep(self) -> None:
        body = "\n".join(f"x{n} + 1 == {n}" for n in range(2_000))
        assert len(parse_query(body)) == 2_000

    def test_long_else_chain(self) -> None:
        with pytest.raises(PolicyError, match="too many `else` branches"):
            parse_module("package a\np := 0 if x0" + "".join(f" else := {n} if x{n}" for n in range(1, 300)))

    def test_integers_of_any_length(self) -> None:
        number = parse_term("7" * 20_000)
        assert isinstance(number, Scalar)
        assert number_text(number.value) == "7" * 20_000
        with pytest.raises(PolicyError, match="too large"):
            parse_term("7" * 40_000)


class TestWildcards:
    def test_numbered_through_the_module(self) -> None:
        module = parse_module("package a\np if x[_][_]\nf(_) if _ in y")
        names = [node.name for node in walk(module) if isinstance(node, Var) and node.is_wildcard]
        assert names == ["$0", "$1", "$2", "$3"]

    def test_a_second_body_has_its_own(self) -> None:
        one, two = parse_module("package a\nf(_) if { x } { y }").rules
        assert one.head.args == (Var("$0"),)
        assert two.head.args == (Var("$1"),)


def test_metadata_takes_no_part_in_equality() -> None:
    assert parse_term("`a`") == parse_term('"a"')
    assert parse_module("package a\np = 1") == parse_module("package a\np := 1")
    assert parse_term("1") != parse_term("1.0")
    assert parse_term("plus(1, 2)") == parse_term("1 + 2")


def test_rules_of_an_else_are_not_rules_of_the_module() -> None:
    (rule,) = parse_module("package a\np := 1 if x else := 2 if y else := 3").rules
    chain = [rule]
    while chain[-1].else_ is not None:
        chain.append(chain[-1].else_)
    assert [each.head.value for each in chain] == [Scalar(1), Scalar(2), Scalar(3)]


def test_a_member_expression_is_a_call_of_a_dotted_name() -> None:
    (expr,) = parse_query("x in xs")
    assert expr == Expr(Call(Ref(Var("internal"), (Scalar("member_2"),)), (Var("x"), Var("xs"))))
    assert isinstance(expr.what, Call)
    assert expr.what.infix


def test_imports_hold_from_where_they_stand() -> None:
    source = "package a\np if { not f(x) }\nimport future.keywords.not\nq if { not f(x) }"
    p, q = parse_module(source).rules
    assert isinstance(p, Rule)
    assert p.body[0].negated
    assert isinstance(q.body[0].what, nodes.Negation)


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        ("[]", True),
        ("{}", True),
        ('{"a": [1, {"b"}, {"c": null}], [true]: -1}', True),
        ('{"a": [1, {"b": x}]}', False),
        ("{input: 1}", False),
        ("[f(1)]", False),
        ("{[1 | true]}", False),
        ('["a", $"b"]', False),
    ],
)
def test_collections_of_constants_alone_are_marked(text: str, constant: bool) -> None:
    term = parse_term(text)
    assert isinstance(term, nodes.Collection)
    assert term.constant is constant
