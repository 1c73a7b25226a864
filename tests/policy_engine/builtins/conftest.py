"""Calling one builtin, here and in the real OPA, with outcomes that can be compared as text."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Hashable

from policy_engine.builtins import TABLE
from policy_engine.errors import EVAL_CANCEL_ERROR, BuiltinError, PolicyError
from policy_engine.values import UNDEFINED, Value, to_term
from tests.oracle import Answer

Outcome = str
"""A value as Rego text inside an array (several of a relation), `undefined`, or `code: message`."""


class Query:
    """A query's state, as far as builtins see it: a budget, a clock that stands, randomness that repeats."""

    def __init__(self, budget: int = 10_000_000) -> None:
        self.paid: set[Hashable] = set()
        self.allow_network = False
        self.budget = budget
        self.prints: list[str] = []
        self.remembered: dict[tuple[str, str], Value] = {}

    def now_ns(self) -> int:
        return 1_700_000_000_123_456_789

    def random_bits(self, bits: int, key: str) -> int:
        return random.Random(key).getrandbits(bits)

    def remember(self, name: str, args: tuple[Value, ...], compute: Callable[[], Value]) -> Value:
        key = (name, to_term(list(args)))
        if key not in self.remembered:
            self.remembered[key] = compute()
        return self.remembered[key]

    def charge(self, work: int) -> None:
        self.budget -= work
        if self.budget < 0:
            raise PolicyError(EVAL_CANCEL_ERROR, "caller cancelled query execution")

    def afford(self, work: int) -> None:
        if work > self.budget:
            raise PolicyError(EVAL_CANCEL_ERROR, "caller cancelled query execution")

    def charge_once(self, key: Hashable, work: int) -> None:
        if key not in self.paid:
            self.paid.add(key)
            self.charge(work)

    def seconds_left(self) -> float | None:
        return None

    def look_at_clock(self) -> None:
        """There is no deadline."""

    def print(self, message: str) -> None:
        self.prints.append(message)


def outcome(name: str, *args: Value, query: Query | None = None) -> Outcome:
    """The outcome of this engine's builtin for the operands."""
    builtin = TABLE[name]
    operands = (query or Query(), *args) if builtin.context else args
    try:
        value = builtin.function(*operands)
        values = list(value) if builtin.relation else [value]
    except (BuiltinError, PolicyError) as error:
        return f"{error.code}: {error.message}"
    return " ".join(to_term([value]) for value in values if value is not UNDEFINED) or "undefined"


def verdict(name: str, *args: Value, query: Query | None = None) -> Outcome:
    """The same as far as it must be OPA's: of an error the code, as its words are this engine's own."""
    return without_words(outcome(name, *args, query=query))


def without_words(text: Outcome) -> Outcome:
    found = _ERROR.match(text)
    return found[1] if found else text


_ERROR = re.compile(r"(\w+_error): ")


def opa_outcome(answer: Answer) -> Outcome:
    """The text that `verdict` would give for an answer of `Oracle.call`."""
    return answer.code or " ".join(one["text"] for one in answer.bindings) or "undefined"
