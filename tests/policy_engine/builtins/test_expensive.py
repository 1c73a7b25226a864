"""Inputs that make a builtin expensive: a deadline ends each of them soon, and a budget charges each of them alike.

An input may be hostile, and a builtin that loops in C or over its operand is one step of a policy. Without a charge
each of these could take far longer than its deadline. The bound is processor time in units of `tests/effort.py`, some
5 ms.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

import policy_engine as pe
from tests.effort import effort

M = 1_000_000
DEADLINE = pe.Limits(seconds=0.02, work=None)
"""A budget would end some calls before the deadline does."""
MOST = 100


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def every_second(first: int, number: int) -> str:
    """A set of characters that holds none of its neighbours."""
    return f"[{''.join(map(chr, range(first, first + 2 * number, 2)))}]"


def keys(number: int) -> str:
    """A set of keys of 4,096 bits."""
    key = f'{{"kty":"RSA","n":"{"v" * 683}","e":"AQAB"}}'
    return f'{{"keys":[{",".join([key] * number)}]}}'


TOKEN = "e30.e30." + "QUJD" * 171


def chain(length: int) -> dict[str, list[str]]:
    return {str(node): [str(node + 1)] for node in range(length)}


def networks(number: int) -> list[str]:
    return [f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}/32" for i in range(number)]


EXPENSIVE: dict[str, tuple[str, Callable[[], Any]]] = {
    "two classes": (
        "regex.globs_match(input.a, input.b)",
        lambda: {"a": every_second(0x4E00, 9000), "b": every_second(0x4E01, 9000)},
    ),
    "two globs": ("regex.globs_match(input.a, input.b)", lambda: {"a": "a.*" * 2000, "b": "b.*" * 2000}),
    "a large network": ('net.cidr_expand("10.0.0.0/12")', dict),
    "networks merged": ("net.cidr_merge(input)", lambda: networks(200_000)),
    "networks compared": ("net.cidr_contains_matches(input, input)", lambda: networks(5000)),
    "a network of many": (
        "net.cidr_contains_matches(input.a, input.b)",
        lambda: {"a": networks(M // 4), "b": ["::/0"]},
    ),
    "a range": ("numbers.range(1, 10000000)", dict),
    "a range in steps": ("numbers.range_step(1, 10000000, 2)", dict),
    "a text replaced": ('replace(input, "a", "bbbbbbbb")', lambda: "a" * 5 * M),
    "many replaced": (
        "strings.replace_n(input.a, input.b)",
        lambda: {"a": {str(i): "x" for i in range(3000)}, "b": "7" * M},
    ),
    "split": ('split(input, "a")', lambda: "a" * 5 * M),
    "joined": ('concat(",", input)', lambda: ["ab"] * M),
    "places": ('indexof_n(input, "a")', lambda: "a" * 5 * M),
    "prefixes": (
        "strings.any_prefix_match(input.a, input.b)",
        lambda: {"a": ["x" * 50] * 20_000, "b": ["y" * 50] * 20_000},
    ),
    "suffixes": (
        "strings.any_suffix_match(input.a, input.b)",
        lambda: {"a": ["x" * 50] * 20_000, "b": ["y" * 50] * 20_000},
    ),
    "trimmed": ("trim(input.a, input.b)", lambda: {"a": "ab" * 2 * M, "b": "ba"}),
    "turned round": ("strings.reverse(input)", lambda: "é" * 4 * M),
    "counted": ('strings.count(input, "a")', lambda: "a" * 5 * M),
    "upper case": ("upper(input)", lambda: "ß" * 4 * M),
    "formatted": ('sprintf("%v", [input])', lambda: list(range(M // 2))),
    "a wide format": ("sprintf(input, [1])", lambda: "%1000000d" * 20),
    "a template": (
        "strings.render_template(input.a, input.b)",
        lambda: {"a": "{{range .x}}{{.}}{{end}}", "b": {"x": [1] * M}},
    ),
    "a bytes of JSON": ("json.unmarshal(input)", lambda: "[" + "1," * 3 * M + "1]"),
    "deep JSON": ("json.unmarshal(input)", lambda: "[" * M),
    "JSON made": ("json.marshal(input)", lambda: [[1, "a"]] * (M // 2)),
    "JSON checked": ("json.is_valid(input)", lambda: '{"a":' * M),
    "patches": (
        "json.patch(input.a, input.b)",
        lambda: {"a": [], "b": [{"op": "add", "path": "/0", "value": 1}] * 100_000},
    ),
    "filtered": (
        "json.filter(input.a, input.b)",
        lambda: {"a": {str(i): i for i in range(M // 4)}, "b": [str(i) for i in range(M // 4)]},
    ),
    "removed": (
        "json.remove(input.a, input.b)",
        lambda: {"a": {str(i): i for i in range(M // 4)}, "b": [str(i) for i in range(M // 4)]},
    ),
    "a schema": (
        "json.match_schema(input.a, input.b)",
        lambda: {"a": [1] * (M // 4), "b": {"items": {"type": "integer", "multipleOf": 3}}},
    ),
    "unique items": (
        "json.match_schema(input.a, input.b)",
        lambda: {"a": [{"a": i} for i in range(50_000)], "b": {"uniqueItems": True}},
    ),
    "a schema's pattern": (
        "json.match_schema(input.a, input.b)",
        lambda: {"a": "a" * M, "b": {"pattern": "(a*)*(a|b)*c"}},
    ),
    "YAML read": ("yaml.unmarshal(input)", lambda: "- 1\n" * M),
    "YAML written": ("yaml.marshal(input)", lambda: [{"a": "b"}] * 100_000),
    "aliases": (
        "yaml.unmarshal(input)",
        lambda: "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
    ),
    "flow of YAML": ("yaml.unmarshal(input)", lambda: "[" * 20_000),
    "objects merged": ("object.union_n(input)", lambda: [{str(i): i} for i in range(200_000)]),
    "a key removed": (
        "object.remove(input.a, input.b)",
        lambda: {"a": {str(i): i for i in range(M // 4)}, "b": [str(i) for i in range(M // 4)]},
    ),
    "a subset": ("object.subset(input.a, input.b)", lambda: {"a": list(range(M)), "b": [M]}),
    "keys": ("object.keys(input)", lambda: {str(i): i for i in range(M // 2)}),
    "an edge's end": ('graph.reachable(input, {"0"})', lambda: chain(M // 4)),
    "paths": ('graph.reachable_paths(input, {"0"})', lambda: {str(i): [str(j) for j in range(12)] for i in range(12)}),
    "a walk": ("count([path | walk(input, [path, _])])", lambda: [[1] * 1000] * 300),
    "a deep walk": ("count([path | walk(input, [path, _])])", lambda: deep(2000)),
    "sorted": ("sort(input)", lambda: [[i * 7919 % M, "a"] for i in range(M // 4)]),
    "a set of arrays": ("{x | some x in input}", lambda: [[i, [i]] for i in range(M // 4)]),
    "a sum": ("sum(input)", lambda: list(range(3 * M))),
    "a product": ("product(input)", lambda: [2**60] * 20_000),
    "a large product": ("input.a * input.b", lambda: {"a": 7**60_000, "b": 3**100_000}),
    "shifted": ("bits.lsh(1, 100000000)", dict),
    "a long number": ("to_number(input)", lambda: "9" * M),
    "a number's text": ("format_int(input, 10)", lambda: 7**60_000),
    "bytes as units": ("units.parse_bytes(input)", lambda: "1" * M),
    "base64": ("base64.decode(input)", lambda: "QUJD" * 2 * M),
    "base64 of URLs": ("base64url.decode(input)", lambda: "QUJD" * 2 * M),
    "hex": ("hex.decode(input)", lambda: "ab" * M),
    "a query": ("urlquery.decode_object(input)", lambda: "a=b&" * M),
    "an escaped query": ("urlquery.encode(input)", lambda: "ü" * 2 * M),
    "a digest": ("crypto.sha256(input)", lambda: "a" * 20 * M),
    "an HMAC": ('crypto.hmac.sha512(input, "k")', lambda: "a" * 20 * M),
    "certificates": ("crypto.x509.parse_certificates(input)", lambda: "-----BEGIN CERTIFICATE-----\n" * 100_000),
    "a token": ("io.jwt.decode(input)", lambda: ".".join(["QUJD" * M] * 3)),
    "a token and keys": (
        "io.jwt.verify_rs256(input.a, input.b)",
        lambda: {
            "a": "e30.e30.QUJD",
            "b": '{"keys":[' + ",".join(['{"kty":"RSA","n":"AQAB","e":"AQAB"}'] * 20_000) + "]}",
        },
    ),
    "a layout": ("time.parse_ns(input, input)", lambda: "2006-" * 200_000),
    "a duration": ("time.parse_duration_ns(input)", lambda: "1h" * M),
    "versions": (
        "semver.compare(input.a, input.b)",
        lambda: {"a": "1.0.0-" + "1." * M + "1", "b": "1.0.0-" + "1." * M + "2"},
    ),
    "a large pattern": ("regex.match(input.a, input.b)", lambda: {"a": "(((a{1,50}){1,50}){1,50})", "b": "a" * M}),
    "a pattern's DFA": ("regex.match(input.a, input.b)", lambda: {"a": "(x+x+)+y|(a|b)*a(a|b){200}", "b": "ab" * M}),
    "found": ('regex.find_n("a", input, -1)', lambda: "a" * 3 * M),
    "split by a pattern": ('regex.split("a", input)', lambda: "a" * 3 * M),
    "a glob": (
        "glob.match(input.a, [], input.b)",
        lambda: {"a": "{" + ",".join(["ab" * 20] * 3000) + "}" * 1, "b": "ab" * M},
    ),
    "GraphQL": (
        "graphql.is_valid(input.a, input.b)",
        lambda: {
            "a": "{" + "a " * 100_000 + "}",
            "b": "type Query {" + "".join(f"a{i}: Int " for i in range(20_000)) + "}",
        },
    ),
}


def ask(call: str, value: Any, limits: pe.Limits) -> tuple[float, str]:
    """The effort of a call, and the code of its error, if it ends in one."""
    asked = pe.compile({"t.rego": f"package t\n\np := {call}\n"}, limits=limits).entrypoint("data.t.p")
    codes = [""]

    def decide() -> None:
        try:
            asked(value)
        except pe.PolicyError as error:
            codes.append(error.code)

    return effort(decide), codes[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPENSIVE)
def test_a_deadline_ends_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes little effort, and ends by the deadline alone if the clock is past that at its second look."""
    call, made = EXPENSIVE[name]
    value = made()
    assert ask(call, value, DEADLINE)[0] < MOST
    clock = itertools.chain([0.0], itertools.repeat(1e6))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    with pytest.raises(pe.PolicyError, match="the deadline of this decision has passed"):
        pe.compile({"t.rego": f"package t\n\np := {call}\n"}, limits=DEADLINE).entrypoint("data.t.p")(value)


MODULE = 'rego.parse_module("a.rego", input)'
MODULES = {
    "rules": "package a\n" + "p if input.x == 1\n" * 1700,
    "an array": "package a\np := [" + "1," * 16_000 + "1]",
    "a sum": "package a\np := " + "1+" * 16_000 + "1",
    "arrays in a row": "package a\np := " + "[1]+" * 8000 + "1",
    "words": "package a\n" + "x y\n" * 8000,
    "mistakes": "package a\n" + "p if input.x == \n" * 1700,
    "a mistake at the end": "package a\n" + "p if input.x == 1\n" * 1700 + "p if ==\n",
    "open brackets": "package a\n" + "p if {\n" * 4000,
    "an open body": "package a\np if {" + "x;" * 15_000 + "}",
    "no module": "package a\n" + "%" * 32_000,
}


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_read_in_pieces(name: str) -> None:
    """To find out what the author of a broken one meant took a second, and nobody is told of it."""
    effort, _ = ask(MODULE, MODULES[name], DEADLINE)
    assert effort < MOST


CHARGED: dict[str, tuple[str, Callable[[], Any], int]] = {
    "two classes": (
        "regex.globs_match(input.a, input.b)",
        lambda: {"a": every_second(0x4E00, 1000), "b": every_second(0x4E01, 1000)},
        2000,
    ),
    "a network": ('net.cidr_expand("10.0.0.0/20")', dict, 10_000),
    "a token and keys": ("io.jwt.verify_rs256(input.a, input.b)", lambda: {"a": TOKEN, "b": keys(30)}, 4000),
    "a glob": (
        "glob.match(input.a, [], input.b)",
        lambda: {"a": "{" + ",".join(["ab" * 20] * 300) + "}", "b": "ab" * 20},
        2000,
    ),
    "fields of GraphQL": (
        "graphql.is_valid(input.a, input.b)",
        lambda: {"a": "{a0}", "b": "type Query {" + "".join(f"a{i}: Int " for i in range(400)) + "}"},
        20_000,
    ),
    "interfaces of GraphQL": (
        "graphql.is_valid(input.a, input.b)",
        lambda: {
            "a": "{a}",
            "b": "type Query {a: Int} interface I {a: Int} "
            + "".join(f"type T{i} implements I {{a: Int}} " for i in range(100)),
        },
        10_000,
    ),
    "a module": (MODULE, lambda: "package a\n" + "p if input.x == 1\n" * 200, 10_000),
    "YAML written": ("yaml.marshal(input)", lambda: "a b " * 10_000, 20_000),
}
"""Calls, and steps that do not suffice for them."""


@pytest.mark.parametrize("name", CHARGED)
def test_a_budget_ends_it(name: str) -> None:
    """No deadline is needed: the work is charged, on a slow machine and a fast one, also for what is remembered."""
    call, made, steps = CHARGED[name]
    assert ask(call, made(), pe.Limits(work=100 * steps))[1] == ""
    assert ask(call, made(), pe.Limits(work=steps))[1] == "eval_cancel_error"


def test_classes_are_not_compared_character_by_character() -> None:
    """No deadline ends it: comparing every pair of characters takes three times what is allowed here."""
    classes = {"a": every_second(0x4E00, 4000), "b": every_second(0x4E01, 4000)}
    effort, code = ask("regex.globs_match(input.a, input.b)", classes, pe.Limits())
    assert code == ""
    assert effort < 60


FRESH = count()

REMEMBERED: dict[str, Callable[[str], str]] = {
    "a pattern": lambda unique: f'regex.match("[a-c]+{unique}", "abcabc")',
    "a glob": lambda unique: f'glob.match("a*{unique}", [], "abcabc")',
    "a schema": lambda unique: f'json.match_schema({{"a": 1}}, {{"title": "{unique}", "type": "object"}})[0]',
    "a template": lambda unique: f'strings.render_template("{unique}{{{{.a}}}}", {{"a": 1}})',
}


@pytest.mark.slow
@pytest.mark.parametrize("name", REMEMBERED)
def test_what_is_remembered_costs_as_much(name: str) -> None:
    """The least budget that is enough when all is remembered is the least that is enough when nothing is."""
    uniques: Iterator[str] = (f"u{number:06}" for number in FRESH)

    def is_enough(work: int, unique: str) -> bool:
        # A document that reads no input is kept with the data, and free.
        source = f"package t\n\np := x if {{ input; x := {REMEMBERED[name](unique)} }}\n"
        try:
            pe.compile({"t.rego": source}, limits=pe.Limits(work=work)).entrypoint("data.t.p")({})
        except pe.PolicyError as error:
            return error.code != "eval_cancel_error"
        return True

    known = next(uniques)
    assert is_enough(M, known)
    low, high = 0, M
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if is_enough(middle, known) else (middle, high)
    assert is_enough(high, next(uniques))
    assert not is_enough(low, next(uniques))
