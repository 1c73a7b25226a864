"""graphql.* against the real OPA: syntax trees, parse errors, schemas that are none, and what schemas allow."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Final

import pytest

from policy_engine.builtins import TABLE
from policy_engine.builtins.graphql.printer import query_text, schema_text
from policy_engine.builtins.graphql.text import QUERY as QUERIES_ONLY
from policy_engine.builtins.graphql.text import SCHEMA as SCHEMAS_ONLY
from policy_engine.builtins.graphql.text import GraphQLError, parse_text
from policy_engine.builtins.graphql.trees import query_tree, schema_tree
from policy_engine.values import Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "300"))

QUERY, SCHEMA, PARSE = "graphql.parse_query", "graphql.parse_schema", "graphql.parse"
VALID, SCHEMA_VALID, VERIFY = "graphql.is_valid", "graphql.schema_is_valid", "graphql.parse_and_verify"


def tree(name: str, text: str) -> Value:
    value: Value = TABLE[name].function(Query(), text)
    return value


def check(oracle: Oracle, cases: Iterable[tuple[str, list[Value]]]) -> None:
    differ = []
    for name, args in cases:
        got, expected = verdict(name, *args), opa_outcome(oracle.call(name, *args))
        if got != expected and not expected.startswith("panic: "):
            differ.append((name, args, got, expected))
    assert differ == []


QUERIES: Final = (
    "query($a:[Int!]!=[1] @x){a:b(c:1)@d(e:2){...f ...on X @y{z} ...@k{l}}} fragment f($x:Int) on X @d {y}",
    '{a(x:"""\n   b\n     c\n\n""" y:"\\u00e9\\n\\"" z:[1 2.5e-3 true null E $v {a:-1 b:""}])}',
    "# c\r\nmutation M { a }\n\tsubscription { b, }",
    '{a(x:"é" y:{})}',
    "query q($a: A = on, $b: [[B]!]) @a(b:$c) {a}",
)
SCHEMAS: Final = (
    '"d" type A implements & B & C @x { "f" a("g" b: Int = 1 @d): [Int!]! @e }',
    'enum E @x { "d" A @y B } input I { "x" a: Int = {a:[1]} @q }',
    ' union U @x = | A | B "dd" directive @d("x" a: Int = 1 @z) repeatable on | FIELD | QUERY',
    " schema @x { query: A mutation: B } extend schema @y {query:B} extend union U = C extend enum E { B }",
    " scalar S @x interface F implements G { a: Int } extend interface X {a:Int} extend input I @x(a:1)",
    '"""\n b\n  c\n""" type X extend type T implements X',
)
PIECES: Final = (
    *("{", "}", "(", ")", "[", "]", '"', "\\", "\n", "\r\n", "\r", " ", "on", "...", "@x", "$", "$a", ":", "="),
    *(
        "!",
        "&",
        "|",
        "1",
        "-",
        "0",
        ".",
        "e",
        "é",
        "#",
        "implements",
        "extend",
        "query",
        "type",
    ),
    *("\\u12ab", "a", "fragment", "schema", "repeatable", "{a}", "=1", ",", "#c\n"),
)

DIFFERENT: Final = re.compile(r"^\s*#|schema\s*(@\w+)?\s*$|\b1[a-df-z]")
"""Texts that graphql-core reads otherwise: comments in a document of nothing else, `schema` without a block, `1a`."""


def _commented(text: str) -> str:
    return "".join(f"#{number}\n{token} " for number, token in enumerate(text.split())) + "#end\n#end"


def _mutated(text: str, made: random.Random) -> str:
    for _ in range(made.randint(1, 4)):
        at, choice = made.randint(0, len(text)), made.random()
        if choice < 0.5:
            text = text[:at] + made.choice(PIECES) + text[at:]
        else:
            text = text[:at] + ("" if choice > 0.8 else text[at + made.randint(1, 4) :])
    return text


def test_syntax_trees_are_those_of_opa(oracle: Oracle) -> None:
    check(oracle, ((QUERY, [text]) for text in (*QUERIES, "", *map(_commented, QUERIES[::4]))))
    check(oracle, ((SCHEMA, [text]) for text in (*SCHEMAS, "", *map(_commented, SCHEMAS[:5]))))


def test_comments_stay_with_what_they_stand_before(oracle: Oracle) -> None:
    for name, text in (
        (QUERY, "{ a : b ( c : 1 d : [ 2 { e : $f } ] ) @ g ( h : true ) { ... i @ j ... on K { m } ... { n } } }"),
        (QUERY, "query q ( $ v : [ Int ! ] ! = 1 @ d ) @ e { a } fragment f ( $ x : Int ) on T @ g { h }"),
        (SCHEMA, '"d" type A implements B & C @ d ( x : 1 ) { "e" f ( "g" h : Int = 1 @ i ) : [ Int ] @ j }'),
        (SCHEMA, '"d" schema @ a { query : Q } extend schema { query : Q } "q" directive @ d ( "x" a : Int ) on FIELD'),
        (SCHEMA, '"d" enum E { "a" A @ b B } "c" input I { "d" e : Int = 1 } "u" union U = | A extend enum E { D }'),
    ):
        check(oracle, [(name, [_commented(text)])])


@pytest.mark.parametrize(
    "text",
    [
        *(
            "query() {a}",
            "{a(x:[] y:{})}",
            '{a(x:"""""")}',
            '{a(x:""""a""")}',
            "{...on}",
            '{..."on"}',
        ),
        *('fragment "on" on X {a}', 'query "a" {b}', '{a(x:"\\u00")}', '{a(x:"\\u0041', '{a(x:"\\'),
        *("{a(x:1.)}", "{a(x:01)}", "{a(x:-)}", "{a(x:1e)}", "'", "..", "\r\n\r\n  ?", "é", '"a\x01"'),
    ],
)
def test_queries_at_the_edge_of_the_grammar(oracle: Oracle, text: str) -> None:
    check(oracle, [(QUERY, [text])])


@pytest.mark.parametrize(
    "text",
    [
        *("schema {", "schema { -", "schema { 01", "schema { 1. }", 'schema { "a\\q'),
        *('schema { "a\\u12', 'schema { "\\', "schema { '", "schema { \x01", 'schema { """a\x02', 'schema { "a\x02'),
        *('schema { "a\n', "schema { x", "schema { é", '""type A', '#c\n"" type A{a:Int}'),
        *('"""d""" extend type A @x', "directive @a on X", "directive @a() on FIELD"),
        *("type A {a():Int}", "type A {}", "union A", "union A =", "enum A", "scalar", "extend foo", 'extend "a"'),
        *("extend", '"a"', '"a" #c\n extend type A @x', '"a" "b" type A', '"""a\n b\n\n""" extend type Q {a:Int}'),
    ],
)
def test_schemas_at_the_edge_of_the_grammar(oracle: Oracle, text: str) -> None:
    check(oracle, [(SCHEMA, [text])])


def test_mutated_documents(oracle: Oracle) -> None:
    made = random.Random(21)
    queries, schemas = ([text for text in texts if '"""' not in text] for texts in (QUERIES, SCHEMAS))
    texts = [(QUERY, _mutated(made.choice(queries), made)) for _ in range(ROUNDS)]
    texts += [(SCHEMA, _mutated(made.choice(schemas) + made.choice(schemas), made)) for _ in range(ROUNDS)]
    check(oracle, ((name, [text]) for name, text in texts if not DIFFERENT.search(text)))


@pytest.mark.parametrize(
    "text",
    [
        "type Query { a: Foo }",
        "type Query { a: Int } type Query { b: Int }",
        "enum E {A A}",
        "enum E {A @skip(if:true)}",
        "union U = A | A type A @d {a: Int}",
        "union U = I interface I {a: Int}",
        "type A {a: Int a: Int}",
        "type A {a(x: Query): Int} type Query {a: Int}",
        "type A {a: N} input N {a: Int}",
        "type A",
        "input N {a: A} type A {a: Int}",
        "type __A {a: Int}",
        "type A {__a: Int}",
        "type A {a(__x: Int): Int}",
        "extend type __Type {a: Int}",
        "extend type I {a: Int} interface I {b: Int}",
        "extend type A {a: Int}",
        "schema {query: A} schema {query: A} type A {a: Int}",
        "schema {query: B} type A {a: Int}",
        "schema @x {query: A} type A {a: Int}",
        "directive @d on SCHEMA schema @d @d {query: A} type A {a: Int}",
        "directive @d on FIELD directive @d on FIELD",
        "directive @include on FIELD",
        "directive @d(a: Query) on FIELD type Query {a: Int}",
        "type A {a: Int @deprecated @deprecated}",
        "type A {a: Int @deprecated(foo: 1)}",
        "scalar S @specifiedBy",
        "type A implements Z {a: Int}",
        "type A implements A {a: Int}",
        "type A implements I {b: Int} interface I {a: Int}",
        "interface I {a: Int} type A implements I {a: Int!}",
        "interface I {a: Int!} type A implements I {a: Int}",
        "interface I {a: [Int]} type A implements I {a: Int}",
        "interface I {a: I} type A implements I {a: A}",
        "union U = B type B {a: Int} interface I {a: U} type A implements I {a: B}",
        "interface I {a(x: Int): Int} type A implements I {a(x: Int!): Int}",
        "interface I {a(x: Int): Int} type A implements I {a: Int}",
        "interface I {a: Int} type A implements I {a(x: Int!): Int}",
        "interface I implements J {a: Int} interface J implements I {a: Int}",
        "type A implements I {a: Int} interface I implements J {a: Int} interface J {a: Int}",
    ],
)
def test_schemas_are_checked_as_opa_checks_them(oracle: Oracle, text: str) -> None:
    check(oracle, [(SCHEMA_VALID, [text]), (SCHEMA_VALID, [tree(SCHEMA, text)]), (PARSE, ["{ __typename }", text])])


RICH: Final = """
type A implements I { a: Int b: A id(x: Int): ID } type B { a: String c: B id: ID }
type C implements I & J { id(x: Int): ID a: Int j(e: E!): [B!] } interface I { id(x: Int): ID } interface J { a: Int }
union U = A | B enum E { X Y } input N { x: Int y: Int! = 3 n: N l: [Int!] z: ID f: Float }
input O @oneOf { a: Int b: String } scalar S directive @d(r: Int!) on FIELD | QUERY | FRAGMENT_SPREAD
directive @rep(x: Int) repeatable on FIELD type Mutation { m(n: N!): A } type Subscription { s: A t: B }
type Query {
  a(x: Int!): A b(n: N, e: E, o: O): B u: U i: I s: S l: [A!]! e: E j: J c: C
  w(x: [Int!], y: Boolean, z: ID, f: Float, s: String, c: S): Int
}
"""
ALLOWED: Final = (
    "{ a(x: 1) { a b { id } } }",
    "{ b(n: {x: 1, l: [1,2]}) { a c { id } } }",
    "{ u { ... on A { a } ... on B { c { a } } } }",
    "query q($v: Int!) { a(x: $v) { a } }",
    "query q($v: N) { b(n: $v) { a } }",
    '{ w(x: [1], y: true, z: 1, f: 1, s: "x") }',
    "mutation { m(n: {}) { a } }",
    "subscription { s { a } }",
    "{ ...F } fragment F on Query { s }",
    "{ b(o: {a: 1}) { a } }",
    "query($v: [Int!] = [1]) { w(x: $v) }",
    "{ __schema { types { name fields { name } } } }",
)


class Queries:
    """Random queries of the schema, few of them valid, and valid ones with a word changed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def one(self, *texts: str) -> str:
        return self.random.choice(texts)

    def some(self, part: Callable[[], str], most: int) -> str:
        return " ".join(part() for _ in range(self.random.randint(1, most)))

    def value(self, depth: int = 2) -> str:
        sort = self.random.random()
        if depth and sort < 0.15:
            return f"{{{self.some(lambda: self.argument('xynlzab', depth - 1), 2)}}}"
        if depth and sort < 0.3:
            return f"[{self.some(lambda: self.value(depth - 1), 2)}]"
        return self.one("1", "-5", "2147483648", "1.5", '"x"', '"1"', "true", "null", "X", "Z", "$v", "$w", "$q")

    def argument(self, names: str, depth: int) -> str:
        return f"{self.one(*names)}: {self.value(depth)}"

    def arguments(self) -> str:
        if self.random.random() < 0.55:
            return ""
        return f"({self.some(lambda: self.argument('xneyzfsoc', 2), 2)})"

    def directives(self) -> str:
        if self.random.random() < 0.6:
            return ""
        return self.one("@d(r:1)", "@d", "@skip(if:$v)", "@rep @rep(x:1)", "@d(r:1) @d(r:2)", "@zz", "@defer")

    def selection(self, depth: int) -> str:
        sort = self.random.random()
        if sort < 0.15:
            condition = self.one("A", "B", "C", "I", "U", "E", "Zz")
            return f"... on {condition} {self.directives()} {self.selections(depth - 1)}"
        if sort < 0.25:
            return f"...{self.one('F', 'G')} {self.directives()}"
        name = self.one(*"abuisejlctmw", "id", "__typename", "zz")
        inner = self.selections(depth - 1) if depth > 0 and self.random.random() < 0.6 else ""
        return f"{self.one('', '', 'a: ')}{name}{self.arguments()} {self.directives()} {inner}"

    def selections(self, depth: int) -> str:
        return f"{{ {self.some(lambda: self.selection(depth), 3)} }}"

    def query(self) -> str:
        if self.random.random() < 0.6:
            return self.changed(self.one(*ALLOWED))
        types = ("Int", "Int!", "[Int!]", "Boolean!", "N", "E", "A", "Zz")
        variables = self.some(lambda: f"${self.one('v', 'w')}: {self.one(*types)}{self.one('', ' = 1', ' = null')}", 2)
        text = self.one("", "query", f"query q({variables})", "mutation", "subscription") + self.selections(2)
        for name in "FG":
            if self.random.random() < 0.35:
                text += f" fragment {name} on {self.one('A', 'I', 'Query', 'E')} {self.selections(2)}"
        return text

    def changed(self, text: str) -> str:
        words = text.split(" ")
        at, sort = self.random.randrange(len(words)), self.random.random()
        if sort < 0.5:
            words[at] = self.one("a", "b", "x:", "1", '"x"', "$v", "null", "Int", "A", "{", "}", "s", "[1]", "X")
        elif sort < 0.7:
            words.insert(at, self.one("a", "s", "...F", "@d(r:1)", "x: a"))
        return " ".join(words)


@pytest.mark.slow
def test_schemas_allow_what_they_allow_in_opa(oracle: Oracle) -> None:
    queries = Queries(seed=22)
    made = [queries.query() for _ in range(ROUNDS)]
    check(oracle, ((VALID, [query, RICH]) for query in (*ALLOWED, *made)))
    verdicts = {outcome(VALID, query, RICH) for query in made}
    assert verdicts == {"[true]", "[false]"}


def test_integers_have_64_bits(oracle: Oracle) -> None:
    integers = ("2147483648", "-9223372036854775808", "9223372036854775808", "-99999999999999999999", "1e99")
    places = ("a(x: {}) {{ a }}", "w(x: [{}])", "b(n: {{y: {}}}) {{ a }}", "e(x: {})")
    check(oracle, ((VALID, [f"{{ {place.format(text)} }}", RICH]) for place in places for text in integers))
    assert outcome(VALID, "{ a(x: 99999999999) { a } }", RICH) == "[true]"


def test_syntax_trees_are_taken_where_text_is(oracle: Oracle) -> None:
    rich = tree(SCHEMA, RICH)
    for query in ALLOWED:
        parsed = tree(QUERY, query)
        assert outcome(VERIFY, parsed, rich) == outcome(VERIFY, query, RICH)
        # OPA takes every selection of a tree for a field.
        if "..." not in query:
            check(oracle, [(VERIFY, [parsed, rich]), (PARSE, [parsed, RICH])])


def test_of_two_mistakes_the_querys_comes_first(oracle: Oracle) -> None:
    check(oracle, [(PARSE, [query, schema]) for query in ("{", "}", 0, {}) for schema in (0, None, "{", RICH)])


@pytest.mark.parametrize("query", ["{ zz }", "{ zz yy }", "{ a }", "{ ...F }", "mutation { m }", "{ s(x: 1) }"])
def test_what_is_wrong_with_a_query_is_said(query: str) -> None:
    assert outcome(PARSE, query, RICH).startswith("eval_builtin_error: graphql.parse: line 1, column ")
    assert outcome(VERIFY, query, RICH) == "[[false, {}, {}]]"


def test_an_error_in_a_schema_takes_one_line() -> None:
    found = outcome(PARSE, "{ a }", "type Query {\n  a: Foo\n}")
    assert found == "eval_builtin_error: graphql.parse: not a schema: line 2, column 6: Unknown type 'Foo'"


def test_operands_of_every_type(oracle: Oracle) -> None:
    check(oracle, ((name, [operand, RICH]) for name in (PARSE, VALID, VERIFY) for operand in (1, "{", None, {}, [])))
    check(oracle, ((name, ["{ s }", operand]) for name in (PARSE, VALID, VERIFY) for operand in (1, "{", "", {})))
    check(oracle, ((name, [operand]) for name in (QUERY, SCHEMA, SCHEMA_VALID) for operand in (1, None, {}, [])))


@pytest.mark.parametrize(
    "tree",
    [
        {"Operations": 1},
        {"Operations": [{"Operation": "query", "SelectionSet": [{"Name": "s } query x { zz", "Alias": "s"}]}]},
        {"Operations": [{"Operation": "nonsense", "SelectionSet": [{"Name": "s", "Alias": "s"}]}]},
        {"Operations": [{"Operation": "query", "SelectionSet": [{"Name": "s", "Alias": "s", "Arguments": [1]}]}]},
    ],
)
def test_trees_that_no_parser_made_are_not_valid(tree: Value) -> None:
    assert outcome(VALID, tree, RICH) == "[false]"
    assert outcome(PARSE, tree, RICH).startswith("eval_builtin_error: graphql.parse: ")


@pytest.mark.parametrize("text", [*QUERIES, *ALLOWED])
def test_a_query_survives_as_a_tree(text: str) -> None:
    parsed = tree(QUERY, text.removeprefix("# c\r\n"))  # comments do not
    assert query_tree(parse_text(query_text(parsed, _free), QUERIES_ONLY, _free, is_printed=True)) == parsed


@pytest.mark.parametrize("text", [*SCHEMAS, RICH])
def test_a_schema_survives_as_a_tree(text: str) -> None:
    parsed = tree(SCHEMA, text)
    assert schema_tree(parse_text(schema_text(parsed, _free), SCHEMAS_ONLY, _free, is_printed=True)) == parsed


@pytest.mark.parametrize("kind", range(-1, 11))
@pytest.mark.parametrize("raw", ["1) { a } b(x: 1", "a) { a } b(x: 1", '"', "\n", "\ud800", "1 2", "", "-", None, 1])
def test_a_raw_value_stays_one_value_of_the_query(kind: int, raw: Value) -> None:
    value = {"Kind": kind, "Raw": raw}
    field = {"Alias": "a", "Name": "a", "Arguments": [{"Name": "x", "Value": value}]}
    try:
        text = query_text({"Operations": [{"Operation": "query", "SelectionSet": [field]}]}, _free)
        parsed = query_tree(parse_text(text, QUERIES_ONLY, _free, is_printed=True))
    except GraphQLError:
        return
    (operation,) = parsed["Operations"]
    (selection,) = operation["SelectionSet"]
    assert selection.keys() == {"Alias", "Name", "Arguments"}
    (argument,) = selection["Arguments"]
    assert argument["Value"]["Raw"] == ("" if kind in (8, 9) else raw or "")


def _free(_: int) -> None:
    """Nobody pays."""


def test_depth_and_quadratic_comparisons_are_bounded() -> None:
    deep = "{a" * 5_000 + "}" * 5_000
    assert "nested more than 64 levels deep" in outcome(QUERY, deep)
    assert "nested more than 64 levels deep" in outcome(QUERY, "{a(x:" + "[" * 5_000)
    assert "nested more than 64 levels deep" in outcome(SCHEMA, "type A {a:" + "[" * 5_000)
    wide = "{" + "s " * 5_000 + "}"
    assert outcome(VALID, wide, RICH, query=Query(budget=1_000_000)).startswith("eval_cancel_error: ")


def test_trees_and_chains_that_exhaust_the_stack_are_errors() -> None:
    field: Value = {"Alias": "s", "Name": "s"}
    for _ in range(5_000):
        field = {"Alias": "a", "Name": "a", "SelectionSet": [field]}
    query = {"Operations": [{"Operation": "query", "SelectionSet": [field]}]}
    assert outcome(PARSE, query, RICH) == "eval_builtin_error: graphql.parse: nested too deeply"
    chain = "".join(f"input I{i} {{ a: I{i + 1} = {{}} }} " for i in range(3_000)) + "input I3000 { a: Int }"
    assert outcome(SCHEMA_VALID, chain) == "eval_builtin_error: graphql.schema_is_valid: nested too deeply"


def test_interfaces_of_interfaces_are_paid_for() -> None:
    names = [f"I{number}" for number in range(100)]
    schema = "".join(
        f"interface {name} {'implements ' * bool(at)}{' & '.join(names[:at])} {{ a: Int }} "
        for at, name in enumerate(names)
    )
    assert outcome(SCHEMA_VALID, schema, query=Query(budget=5_000_000)).startswith("eval_cancel_error: ")


def test_a_document_has_a_largest_length() -> None:
    assert "more than 2,000,000 characters" in outcome(QUERY, "{a}" + " " * 2_000_000)
    assert outcome(QUERY, "{a}" + " " * 1_000_000).startswith("[{")


def test_an_engine_that_uses_no_graphql_does_not_import_it() -> None:
    code = "import sys, policy_engine as pe; pe.compile({'a.rego': 'package a'}); print('graphql' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
