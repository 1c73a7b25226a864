"""Builtins with a shorter way for usual operands give on it what they give on the long one."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest

from policy_engine.builtins import TABLE, formatting, gojson, graph, net, objects, times
from policy_engine.builtins.measured import is_measured, making, reading
from policy_engine.codegen import metering
from policy_engine.codegen.context import LEFT
from policy_engine.errors import BuiltinError
from policy_engine.values import UNDEFINED, Number, Set, Value, equal, to_term
from tests.policy_engine.builtins.conftest import Query, outcome

ODD: list[Value] = [
    None, True, 0, -7, 2**63, -(2**63), 1.0, 1.5, Number("2.0"), "", "a", "É", "\ud800", "x" * 5000, "%d", [], [1], {},
    {"a": 1}, Set(), Set([1]),
]  # fmt: skip


@pytest.mark.parametrize("template", ["", "%s", "%d", "%v", "a %s b", "%%", "%s%%", "%5d", "%x", "%", "%[1]d", "é%v"])
def test_sprintf(template: str) -> None:
    for values in ([], *([value] for value in ODD), *map(list, itertools.product(ODD, repeat=2))):
        for text in (template, template * 2):
            slow = formatting.format_text(Query(), text, [formatting._argument(Query(), item) for item in values])
            assert formatting.sprintf(Query(), text, values) == slow, (text, values)


TEXTS = [
    "{}", "[]", ' {"a": 1}', '{"a": 1} ', '{"a":1}x', "[1,]", '{"a":NaN}', "[-0]", "[1e3, 1.50]", '["\\ud800"]',
    '["\\u0041"]', '["\\n"]', '["é"]', '{"a":1,"a":2}', "", " ", "1", "null", "{", "[" * 300 + "]" * 300,
    "[" * 3000 + "]" * 3000, "[" * 10_001 + "]" * 10_001, "[1] null", '["\x01"]', "[" + "1" * 4500 + "]",
]  # fmt: skip


def _shown(read: Any) -> str:
    try:
        return repr(read())
    except gojson.JSONError as error:
        return f"JSONError: {error}"
    except RecursionError:
        return "too deep to be shown"


@pytest.mark.parametrize(
    "text",
    [pytest.param(text, id=str(n), marks=pytest.mark.slow if n in (20, 21) else ()) for n, text in enumerate(TEXTS)],
)
def test_json(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick, valid = _shown(lambda: gojson.read(text)), gojson.is_valid(text)
    monkeypatch.setattr(gojson, "quick", lambda text: UNDEFINED)
    assert (quick, valid) == (_shown(lambda: gojson.read(text)), gojson.is_valid(text))


ADDRESSES: list[Value] = [
    "10.0.0.0/8", "10.1.2.3", "10.1.0.0/16", "11.0.0.1", "::ffff:10.0.0.1", "::/0", "::1", "fe80::1%eth0",
    "10.0.0.0/33", "10.0.0.01", "", "/", "x" * 80, 1, None, ["10.0.0.0/8"],
]  # fmt: skip


def test_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = list(itertools.product(ADDRESSES, repeat=2))
    twice = [[outcome("net.cidr_contains", *pair) for pair in pairs] for _ in range(2)]
    monkeypatch.setattr(net, "_verdict", lambda cidr, operand: None)
    assert twice == [[outcome("net.cidr_contains", *pair) for pair in pairs]] * 2


def _object(made: random.Random, depth: int) -> dict[Any, Value]:
    keys: list[Any] = ["a", "b", "c", 1, 1.0]
    return {
        key: _object(made, depth - 1) if depth and made.random() < 0.6 else made.choice([None, 1, [1], "x"])
        for key in made.sample(keys, made.randint(0, 4))
    }


def test_a_union_of_many_objects_is_their_union_two_by_two() -> None:
    made = random.Random(1)
    for _ in range(500):
        given = [_object(made, 2) for _ in range(made.randint(0, 4))]
        before = to_term(given)
        folded: Value = {}
        for item in given:
            folded = objects._merge(Query(), folded, item)
        assert equal(objects.union_n(Query(), given), folded), before
        assert to_term(given) == before


def test_nodes_that_are_reached() -> None:
    made = random.Random(2)
    names: list[Any] = ["a", "b", "c", "d", "e", 1, None]
    for _ in range(300):
        edges: dict[Any, Value] = {}
        for name in made.sample(names, 5):
            onward = made.sample(names, made.randint(0, 3))
            edges[name] = made.choice([onward, Set(onward), None, "a"])
        start = made.sample(names, 2)
        expected: set[Any] = set()
        pending = list(start)
        while pending:
            node = pending.pop()
            if node in edges and node not in expected:
                expected.add(node)
                found = edges[node]
                pending += list(found) if isinstance(found, (list, Set)) else []
        assert set(graph.reachable(Query(), edges, start).members) == expected


def test_values_of_a_walk() -> None:
    document = {"b": [1, {"z": None, "a": [True, "x"]}], "a": Set([2, "s"]), 1: {1: 2, "k": []}, "e": {}}
    walked = [to_term(value) for _, value in graph.walk(Query(), document)]
    assert [to_term(value) for value in graph.walk_values(Query(), document)] == walked


@pytest.mark.parametrize(
    "text",
    [
        "2026-03-04T09:30:00Z", "2026-03-04T09:30:00.5Z", "2026-03-04T09:30:00.123456789+02:00", "1969-12-31T23:59:59Z",
        "2026-03-04T09:30:00-23:59", "0001-01-01T00:00:00Z", "2262-04-11T23:47:16.854775807Z", "9999-12-31T23:59:59Z",
        "2026-02-30T00:00:00Z", "2026-03-04 09:30:00Z", "2026-03-04T24:00:00Z", "2026-03-04T09:30:60Z", "x",
    ],
)  # fmt: skip
def test_a_time_of_rfc_3339(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = outcome("time.parse_rfc3339_ns", text)
    monkeypatch.setattr(times, "_usual_rfc3339", lambda text: None)
    assert quick == outcome("time.parse_rfc3339_ns", text)


@pytest.mark.parametrize("name", ["hex.encode", "net.cidr_contains", "array.slice", "time.add_date"])
def test_calls_are_charged_by_the_sizes_of_operands_and_result(name: str) -> None:
    """The charge is the same in each function: for one operand, for two, for more."""
    builtin = TABLE[name]
    assert is_measured(builtin)
    function, first = metering.callee(builtin)
    assert first is metering.First.QUERY
    long: list[Value] = [
        "x" * 100,
        "É" * 90,
        "x" * 15,
        "x" * 16,
        2**900,
        5,
        list(range(50)),
        dict.fromkeys("abcdefgh", 1),
    ]
    for operands in itertools.product(long, repeat=len(builtin.decl.args)):
        query: list[Any] = [None, None, None, 1_000_000, None]
        work = sum(map(reading, operands))
        try:
            work += making(function(query, *operands))
        except BuiltinError:
            pass
        assert query[LEFT] == 1_000_000 - work, operands
