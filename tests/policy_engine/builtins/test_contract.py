"""The contract of every builtin for any operands: a value or a `BuiltinError`, and the operands unchanged."""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator
from typing import Final

import pytest

from policy_engine.builtins import TABLE
from policy_engine.errors import BuiltinError, PolicyError
from policy_engine.values import UNDEFINED, Number, Set, Value, check, to_term
from tests.policy_engine.builtins.conftest import Query

ROUNDS: Final = int(os.environ.get("DIFFERENTIAL_ROUNDS", "40"))
"""Calls of each builtin."""

TEXTS: Final = (
    *("", "a", "x\x00", "é", "\udc80", "\ud83d", "{}", "[1]", "http://127.0.0.1:1/", "2024-01-01T00:00:00Z", "a.b.c"),
    *("%zz", "AA==", "10.0.0.0/8", "{ a }", "type A {a:Int}", "1" * 50, "a: &x [*x]", "**", "(", "\\", "é" * 40),
    "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
)
KEYS: Final = (*TEXTS, "method", "url", "type", "properties", "alg", "kid", "keys", "Operations", "Name", "headers")
NUMBERS: Final = (
    *(0, 1, -1, 2**63, 2**200, 1.5, 10**30),
    *map(Number, ("1e400", "-0", "1e-400", "2.0", "1.0e5", "1.50")),
)


class _Query(Query):
    def random_bits(self, bits: int, key: str) -> int:
        return super().random_bits(bits, ascii(key))


def _value(made: random.Random, depth: int = 2) -> Value:
    sort = made.random()
    if sort < 0.45:
        return made.choice(TEXTS)
    if sort < 0.65:
        return made.choice(NUMBERS)
    if sort < 0.72 or depth == 0:
        return made.choice((None, True, False, [], {}))
    size = made.randint(0, 3)
    if sort < 0.82:
        return [_value(made, depth - 1) for _ in range(size)]
    if sort < 0.9:
        return Set([_value(made, 0) for _ in range(size)])
    return {made.choice(KEYS): _value(made, depth - 1) for _ in range(size)}


def _calls(name: str) -> Iterator[list[Value]]:
    made = random.Random(name)
    for _ in range(ROUNDS):
        yield [_value(made) for _ in TABLE[name].decl.args]


@pytest.mark.parametrize("name", sorted(TABLE))
def test_a_builtin_gives_a_value_or_a_builtin_error_and_changes_nothing(name: str) -> None:
    builtin = TABLE[name]
    for args in _calls(name):
        before = copy.deepcopy(args)
        operands = (_Query(), *args) if builtin.context else args
        try:
            value = builtin.function(*operands)
            results = list(value) if builtin.relation else [value]
        except (BuiltinError, PolicyError):
            results = []
        for result in results:
            if result is not UNDEFINED:
                check(result)
        assert [to_term(arg) for arg in args] == [to_term(arg) for arg in before]
