"""json.match_schema and json.verify_schema against the real OPA: every keyword, random schemas, formats, hostile ones.

OPA walks objects in random order, so errors are compared without their order, and of a schema with several mistakes
only that it has one.
"""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from policy_engine.errors import EVAL_BUILTIN_ERROR
from policy_engine.values import Number, Set, Value
from tests.oracle import Oracle
from tests.policy_engine.builtins.conftest import Query, opa_outcome, outcome, verdict

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "400"))
MATCH, VERIFY = "json.match_schema", "json.verify_schema"

DRAFT: Final = {number: f"http://json-schema.org/draft-0{number}/schema#" for number in (4, 6, 7)}
TYPES: Final = ["array", "boolean", "integer", "null", "number", "object", "string"]
PARTS: Final = ("not", "if", "then", "else", "contains", "propertyNames", "additionalProperties", "additionalItems")
"""Keywords whose value is a schema."""


def unordered(text: str) -> object:
    """An outcome with a sorted list of errors."""
    if not text.startswith("[[false, [{"):
        return text
    valid, errors = json.loads(text)[0]
    return valid, sorted(errors, key=repr)


def check(oracle: Oracle, cases: Iterator[tuple[str, list[Value]]]) -> None:
    differ = []
    for name, args in cases:
        got, expected = verdict(name, *args), opa_outcome(oracle.call(name, *args))
        if unordered(got) != unordered(expected):
            differ.append((args, got, expected))
    assert differ == []


def _documents_and_schemas() -> Iterator[tuple[Value, Value]]:
    """At least one pair that fails for each keyword, about a property `a` where the keyword is about scalars."""
    one: dict[str, Value] = {"a": 1}
    for value, schema in (
        ("x", {"type": "integer"}),
        (1.5, {"type": "integer"}),
        (Number("1.0"), {"type": "integer"}),
        (None, {"type": "string"}),
        (True, {"type": "number"}),
        (1, {"type": ["string", "array"]}),
        (1, {"type": []}),
        (1, {"enum": ["x", 2, {"y": 1}]}),
        (7, {"enum": [Number("1e50"), Number("1e20"), 1e21, Number("0.0000001"), 2**64, Number("1.50"), "<é\u2028>"]}),
        (Number("1.0"), {"enum": [1]}),
        (1, {"enum": []}),
        (1, {"const": 2}),
        (5, {"minimum": 6, "maximum": 3, "multipleOf": 2}),
        (5, {"exclusiveMinimum": 5, "exclusiveMaximum": 5}),
        (5, {"minimum": 5, "exclusiveMinimum": True, "maximum": 5, "exclusiveMaximum": False}),
        (10**30, {"maximum": Number("1234567.5")}),
        ("é<", {"type": "string", "minLength": 3, "pattern": "x<"}),
        ("abc", {"maxLength": 2}),
        ([1, 1, Number("1.0")], {"minItems": 4, "maxItems": 1, "uniqueItems": True}),
        ([1, "x"], {"items": {"type": "string"}}),
        ([1, "x", 3], {"items": [{"type": "string"}, {"type": "integer"}], "additionalItems": False}),
        ([1, "x", 3], {"items": [{"type": "string"}], "additionalItems": {"type": "integer"}}),
        ([1], {"contains": {"type": "string"}}),
        (Set([3, 1]), {"items": {"type": "string"}}),
        (1, False),
    ):
        yield {"a": value}, {"properties": {"a": schema}}
    for document, schema in (
        ({}, {"required": ["a", "b", '<é"\n']}),
        ({"a": 1, "b": 2}, {"properties": {"a": {}}, "additionalProperties": False}),
        ({"a": 1, "xb": 2}, {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}),
        (one, {"additionalProperties": {"type": "string"}}),
        (one, {"minProperties": 2}),
        (one, {"maxProperties": 0}),
        (one, {"propertyNames": {"minLength": 2}}),
        (one, {"dependencies": {"a": ["b", "c"]}}),
        (one, {"dependencies": {"a": {"required": ["b"]}}}),
        (one, {"not": {"type": "object"}}),
        (one, {"anyOf": [{"type": "string"}, {"required": ["b"]}]}),
        (one, {"oneOf": [{"type": "object"}, {"required": ["a"]}]}),
        (one, {"oneOf": [{"type": "string"}, {"required": ["b"]}]}),
        (one, {"allOf": [{"type": "string"}, {"required": ["b"]}]}),
        (one, {"anyOf": []}),
        (one, {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
        ({"x": 1}, {"if": {"required": ["a"]}, "then": {"required": ["b"]}, "else": {"required": ["c"]}}),
        (one, {"const": 1}),
        ({1: 2}, {"required": ["1"]}),
        ('{"a":1}', {"required": ["b"]}),
        ('"x"', {"type": "string"}),
        (one, '{"required":["b"]}'),
        ([1], {"type": "object"}),
        (one, {"$schema": DRAFT[4], "required": ["b"]}),
        (one, {"$schema": "https://json-schema.org/draft/2020-12/schema", "required": ["b"]}),
        (one, {"$schema": DRAFT[4], "contains": 1, "const": 1, "propertyNames": 1}),
        (one, {"unknown": 3}),
    ):
        yield document, schema
    deep = {"properties": {"a": {"properties": {"b": {"items": {"properties": {"c": {"type": "string"}}}}}}}}
    yield {"a": {"b": [{"c": 1}]}}, deep
    for document in (1, None, "{", "x", "", True, Set([1])):
        yield document, {"type": "object"}


def _references() -> Iterator[tuple[Value, Value]]:
    text = {"type": "string"}
    for reference, more in (
        ("#/definitions/x", {"definitions": {"x": text}}),
        ("#/definitions/a%20b", {"definitions": {"a b": text}}),
        ("#/definitions/a~1b~0", {"definitions": {"a/b~": text}}),
        ("#/b/anyOf/1", {"b": {"anyOf": [{}, text]}}),
        ("#/b/anyOf/5", {"b": {"anyOf": [{}, text]}}),
        ("#/b/anyOf/x", {"b": {"anyOf": [{}, text]}}),
        ("#/b/type/x", {"b": text}),
        ("#/definitions/x/type", {"definitions": {"x": text}}),
        ("#/nothing", {}),
        ("#", {}),
        ("#word", {}),
        ("#word", {"definitions": {"x": {"$id": "#word", **text}}}),
        ("other", {"$id": "http://a.example/b", "definitions": {"x": {"$id": "other", **text}}}),
        ("http://x.example/y", {"definitions": {"x": {"$id": "http://x.example/y", **text}}}),
        ("other.json", {}),
        ("", {}),
        ("%zz", {}),
        ("#/%zz", {}),
        (1, {}),
    ):
        yield {"a": 1}, {"properties": {"a": {"$ref": reference}}, **more}


def _no_schemas() -> Iterator[Value]:
    for keyword, values in (
        ("type", ("x", 1, ["string", "string"], ["string", 1], 'x"<')),
        ("properties", (1, {"a": 1})),
        ("required", (1, [1], ["a", "a"])),
        ("enum", (1, [1, Number("1.0")])),
        ("minimum", ("x",)),
        ("exclusiveMinimum", ("x", True)),
        ("exclusiveMaximum", ("x", True)),
        ("multipleOf", (0, "x")),
        ("minLength", (-1, 1.5, Number("2.0"), 2**64)),
        ("maxItems", ("1",)),
        ("pattern", ("[", 1)),
        ("patternProperties", (1, {"[": {}})),
        ("items", (1, [1])),
        ("definitions", (1, {"a": 1}, {"x": {"type": "zz"}})),
        ("dependencies", (1, {"a": 1}, {"a": [1]})),
        ("allOf", ([1],)),
        ("$id", (1,)),
        ("$schema", (1,)),
    ):
        for value in values:
            yield {keyword: value}
    for keyword in [
        "anyOf",
        "not",
        "if",
        "then",
        "else",
        "propertyNames",
        "contains",
        "additionalProperties",
        "additionalItems",
    ]:
        yield {keyword: 1}
    for keyword in ("uniqueItems", "format", "title", "description", "$ref"):
        yield {keyword: 1}
    yield {"minLength": 2, "maxLength": 1}
    yield {"minProperties": 2, "maxProperties": 1}
    yield {"id": 1, "$id": 2}
    yield {"$schema": DRAFT[4], "properties": {"a": True}}
    yield {"$schema": DRAFT[4], "exclusiveMinimum": 1}
    yield {"$schema": DRAFT[6], "if": True, "exclusiveMinimum": True}
    yield {"$schema": DRAFT[7], "if": 1}
    yield from ("{", " ", "x", [], 1, None, True, Set([1]), {}, "{}")


def test_every_keyword_finds_what_opa_finds(oracle: Oracle) -> None:
    check(oracle, ((MATCH, [*pair]) for pair in _documents_and_schemas()))


def test_references_lead_where_they_lead_in_opa(oracle: Oracle) -> None:
    check(oracle, ((MATCH, [*pair]) for pair in _references()))


def test_values_that_are_no_schemas_are_refused_in_opas_words(oracle: Oracle) -> None:
    check(oracle, ((VERIFY, [schema]) for schema in _no_schemas()))
    check(oracle, ((MATCH, [{"a": True}, schema]) for schema in _no_schemas()))


@pytest.mark.parametrize("schema", [{"$id": "%zz"}, {"$schema": ":"}])
def test_identifiers_are_urls(schema: Value, oracle: Oracle) -> None:
    assert outcome(VERIFY, schema).startswith("[[false, ")
    assert opa_outcome(oracle.call(VERIFY, schema)).startswith("[[false, ")


class Generator:
    """Documents and schemas, small so that they meet often."""

    STRINGS: Final = ("a", "b", "", "x", "é", "ab", "abc")
    NUMBERS: Final = (0, 1, 2, -1, 5, Number("1.0"), 1.5, 10**20, Number("1e3"), 0.25, Number("2.50"))

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        pick, count = self.random.choice, self.random.randint
        schema, schemas = self.schema, self.schemas
        self.keywords: dict[str, Callable[[int], Value]] = {
            "type": lambda _: pick([*TYPES, self.random.sample(TYPES, count(1, 3))]),
            "properties": lambda depth: {pick("abcx"): schema(depth) for _ in range(count(0, 3))},
            "patternProperties": lambda depth: {pick(["^a", "b|c", "."]): schema(depth)},
            "dependencies": lambda depth: {pick("abc"): pick([["b"], ["x", "a"], schema(depth)])},
            "items": lambda depth: pick([schema(depth), schemas(depth)]),
            "multipleOf": lambda _: pick([1, 2, 0.5, Number("1.0"), 0.25, 3, Number("1e2")]),
            "pattern": lambda _: pick(["a", "^b$", "[", "."]),
            "format": lambda _: pick(["email", "uri", "date"]),
            "required": lambda _: self.random.sample("abcx", count(0, 3)),
            "uniqueItems": lambda _: pick([True, True, False]),
            "const": lambda _: self.document(2),
            "enum": lambda _: [self.document(1) for _ in range(count(0, 3))],
        }
        for keyword in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            self.keywords[keyword] = lambda _: pick(self.NUMBERS)
        for keyword in ("minLength", "minItems", "minProperties"):
            self.keywords[keyword] = lambda _: count(0, 2)
        for keyword in ("maxLength", "maxItems", "maxProperties"):
            self.keywords[keyword] = lambda _: count(1, 3)
        for keyword in [
            "not",
            "if",
            "then",
            "else",
            "contains",
            "propertyNames",
            "additionalProperties",
            "additionalItems",
        ]:
            self.keywords[keyword] = schema
        for keyword in ("oneOf", "anyOf", "allOf"):
            self.keywords[keyword] = schemas

    def scalar(self) -> Value:
        return self.random.choice([None, True, False, *self.STRINGS, *self.NUMBERS])

    def document(self, depth: int) -> Value:
        if depth == 0 or self.random.random() < 0.3:
            return self.scalar()
        size = self.random.randint(0, 4)
        if self.random.random() < 0.5:
            return [self.document(depth - 1) for _ in range(size)]
        return {self.random.choice("abcx"): self.document(depth - 1) for _ in range(size)}

    def schemas(self, depth: int) -> list[Value]:
        return [self.schema(depth) for _ in range(self.random.randint(1, 3))]

    def schema(self, depth: int) -> Value:
        if depth <= 0 or self.random.random() < 0.12:
            leaf: tuple[Value, ...] = ({}, True, False, {"type": "string"}, {"const": 1}, {"$ref": "#/definitions/q"})
            return self.random.choice(leaf)
        keywords = self.random.choices([*self.keywords], k=self.random.randint(1, 3))
        made = {keyword: self.keywords[keyword](depth - 1) for keyword in keywords}
        if self.random.random() < 0.02:
            made[self.random.choice([*self.keywords])] = self.scalar()
        return made

    def pair(self) -> tuple[Value, Value]:
        schema: Value = None
        while schema.__class__ is not dict:
            schema = self.schema(3)
        recursive = {"type": "object", "additionalProperties": {"$ref": "#/definitions/q"}}
        schema["definitions"] = {"q": self.random.choice([{"type": "string"}, recursive, {"minimum": 2}])}
        if self.random.random() < 0.2:
            schema["$schema"] = self.random.choice([*DRAFT.values()])
        document: Value = None
        while document.__class__ is not dict and document.__class__ is not list:
            document = self.document(3)
        return document, schema


def test_a_boolean_is_a_schema_if_it_is_a_text(oracle: Oracle) -> None:
    texts: list[Value] = ["true", " false", "true\n", "true false", "null", "1", True, False]
    check(oracle, ((VERIFY, [text]) for text in texts))
    check(oracle, ((MATCH, ["[1]", text]) for text in texts))


def test_random_schemas(oracle: Oracle) -> None:
    generator = Generator(seed=20)
    verdicts: set[str] = set()
    for _ in range(ROUNDS):
        document, schema = generator.pair()
        got, expected = verdict(MATCH, document, schema), opa_outcome(oracle.call(MATCH, document, schema))
        assert unordered(got) == unordered(expected), (document, schema)
        if got != EVAL_BUILTIN_ERROR:
            verdicts.add(got[:7])
    assert verdicts == {"[[true,", "[[false"}


FORMATS: Final[dict[str, tuple[list[str], str]]] = {
    "email": (
        ["a@b", "a.b@c.d", '"x y"@b', "a@[1.2.3.4]", "a@[::1]", "a@[x]", "a..b@c", ".a@b", "é@ü", '"\\"q"@b', '""@b'],
        'a@.[]"\\é=',
    ),
    "date": (["2024-02-29", "2023-02-29", "2024-1-1", "0000-01-01"], "0123456789-:TZ "),
    "time": (["12:34:56", "12:34:56Z", "12:34:56.789+01:00", "24:00:00", "1:02:03"], "0123456789-:TZ.+ "),
    "date-time": (["12:34:56", "2024-02-29T12:34:56.7Z", "2024-02-29T12:34:56+01:00"], "0123456789-:TtZz.+ "),
    "hostname": (["a.b", "a-b.c", "-a.b", "a" * 63 + ".b", "a" * 64, ".".join(["a" * 60] * 5), ""], "a.-_1é\n"),
    "ipv4": (["1.2.3.4", "256.1.1.1", "01.2.3.4", "::1.2.3.4", "1.2.3"], "0123456789.:a"),
    "ipv6": (["::1", "1:2:3:4:5:6:7:8", "::1.2.3.4", "1::2::3", "fe80::1%eth0"], "0123456789.:afg%"),
    "uri": (["http://a/b", "a", "//a", "http://[::1]/", "mailto:a", "http://a\\b", "é"], "a:/{}%\\[]#?é "),
    "uri-reference": (["http://a/b", "a", "//a", "#x", "a\\b"], "a:/{}%\\[]#?é "),
    "uri-template": (["http://a/{b}", "{a", "a}", "{a}{b}", "{a{b}", "{}{", "%7B", "http://a/%7Bx"], "a:/{}%\\[]#?é "),
    "uuid": (["01234567-89ab-cdef-0123-456789abcdef", "01234567-89AB-CDEF-0123-456789ABCDEF"], "0aAgG-\n"),
    "regex": (["", "a", "[", "(a|b)*", "(?=a)", "\\d"], "ab[](){}*+?\\|"),
    "json-pointer": (["", "/", "/a/b", "/~0~1", "a", "/~", "/a~2"], "/~01a\n"),
    "relative-json-pointer": (["0", "1/a", "0#", "01", "10/~0", "-1", "0/"], "/~01a#\n"),
    "unknown": (["x"], "x"),
}


@pytest.mark.parametrize("name", FORMATS)
def test_formats(oracle: Oracle, name: str) -> None:
    examples, alphabet = FORMATS[name]
    made = random.Random(name)
    texts: list[Value] = [*examples, 1, None, []]
    for _ in range(ROUNDS // 6):
        chars = [*made.choice(examples)]
        at = made.randint(0, len(chars))
        chars[at : at + made.randint(0, 1)] = made.choice([[], [made.choice(alphabet)]])
        texts.append("".join(chars))
    schema = {"properties": {"a": {"format": name}}}
    check(oracle, ((MATCH, [{"a": text}, schema]) for text in texts))


@pytest.mark.parametrize("text", ["A B <a@b>", "a@b (c)", "g: a@b;", "<a@b>", " a@b", "a@b\t", "a@b, c@d"])
def test_an_email_address_is_a_mailbox_without_a_name(text: str) -> None:
    assert outcome(MATCH, {"a": text}, {"properties": {"a": {"format": "email"}}}).startswith("[[false, ")


def test_limits_are_compared_and_printed_exactly(oracle: Oracle) -> None:
    numbers = "0 1 -1 1.5 0.1 1e3 123456 999999.5 1e6 0.00012 0.00009 -0 -0.0 1e300 1e-300 2.50 12345678901234567890.5"
    cases: list[tuple[str, list[Value]]] = []
    for limit in numbers.split():
        for number in numbers.split():
            for keyword in ("multipleOf", "minimum", "exclusiveMaximum"):
                schema = f'{{"properties": {{"a": {{"{keyword}": {limit}}}}}}}'
                cases.append((MATCH, [f'{{"a": {number}}}', schema]))
    check(oracle, iter(cases))


def _nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels):
        schema = {"not": schema}
    return schema


@pytest.mark.parametrize(
    ("document", "schema", "expected"),
    [
        pytest.param({}, {"$ref": "#"}, "leads to itself", id="a reference to itself, where OPA crashes"),
        pytest.param({}, {"allOf": [{"$ref": "#"}]}, "more than 64 levels", id="a schema that contains itself"),
        pytest.param({}, _nested(5_000), "more than 64 levels deep", id="a deep schema"),
        pytest.param("[" * 9_000 + "]" * 9_000, {"items": {"$ref": "#"}}, "more than 64 levels", id="a deep document"),
        pytest.param({}, {"$ref": "http://127.0.0.1:1/x"}, "nothing is fetched", id="another host"),
        pytest.param({}, {"$ref": "file:///etc/passwd"}, "nothing is fetched", id="a file"),
        pytest.param({"a": Number("1e400")}, {"properties": {"a": {"enum": [1]}}}, "1e400", id="more than a float"),
    ],
)
def test_hostile_schemas_end_in_an_error(document: Value, schema: Value, expected: str) -> None:
    got = outcome(MATCH, document, schema)
    assert got.startswith("eval_builtin_error: json.match_schema: ")
    assert expected in got


def test_alternatives_that_multiply_use_up_the_budget() -> None:
    schema: dict[str, Any] = {"$ref": "#/definitions/0", "definitions": {"20": {}}}
    for number in range(20):
        schema["definitions"][str(number)] = {"allOf": [{"$ref": f"#/definitions/{number + 1}"}] * 3}
    assert outcome(MATCH, {}, schema, query=Query(budget=100_000)).startswith("eval_cancel_error: ")


def test_huge_exponents_cost_nothing() -> None:
    number = Number("1e100000000000")
    assert "Must be a multiple of 7" in outcome(MATCH, [number], {"items": {"multipleOf": 7}})
    assert outcome(MATCH, [3], {"items": {"multipleOf": Number("1e-100000000000")}}) == "[[true, []]]"
