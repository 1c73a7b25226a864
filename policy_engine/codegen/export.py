"""From the values of a decision to fresh JSON values, within the output budget and the deadline."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

from policy_engine.codegen.context import NC, SMALL, Query, charging, limits_of, run_of
from policy_engine.codegen.overlays import known
from policy_engine.errors import EVAL_CANCEL_ERROR, EVAL_INTERNAL_ERROR, PolicyError
from policy_engine.values import UNDEFINED, Set, Value, dumps, foreign, number_text, sorted_items

SLICE: Final = 65536
"""Bytes of a result between two looks at the clock."""


def export(value: Value, query: Query) -> Value:
    """A fresh JSON value; undefined stays as it is. Raises `PolicyError`."""
    cls = value.__class__
    if cls is bool or value is None or value is UNDEFINED:
        return value
    limits = limits_of(query)
    if limits.output_bytes is None or limits.output_bytes >= SMALL:
        copy = shallow(value)
        if copy is not None:
            return copy
    return Export(query).value(value)


def exported(q: Query, place: int, value: Value) -> Value:
    """A fresh JSON value of one of a package's rules; undefined stays as it is. Raises `PolicyError`.

    `place` is where the context keeps what copies the large values of all of them.
    """
    if value is UNDEFINED:
        return value
    copier = q[place]
    if copier is NC:
        copier = q[place] = Export(q, SMALL)  # the small values of the others are not counted
    return copier.value(value)


def failure(error: Exception) -> PolicyError:
    """The error that a caller gets for an exception in generated code. It is always a `PolicyError`."""
    if isinstance(error, RecursionError):
        return PolicyError(EVAL_CANCEL_ERROR, "rules or values are nested too deeply")
    text = f"the engine failed ({type(error).__name__}: {error}): this is a defect of the engine"
    return PolicyError(EVAL_INTERNAL_ERROR, text)


def shallow(value: Value, deeper: bool = True) -> Value:
    """A copy of a small result of at most two levels, as most are; None of any other, which `Export` copies."""
    cls = value.__class__
    pairs: Iterable[tuple[Any, Value]]
    if cls is dict and len(value) <= FEW:
        for key in value:
            if key.__class__ is not str or len(key) > SHORT or not key.isascii():
                return None
        pairs = value.items()
    elif cls is list and len(value) <= FEW:
        pairs = enumerate(value)
    elif cls is Set:
        return listing(value.members)
    elif cls is str:
        return value if len(value) <= SHORT and value.isascii() else None
    elif cls is int:
        return value if -WORD < value < WORD else None
    else:
        return value if value is True or value is False else None
    copy = value.copy()
    for key, item in pairs:
        cls = item.__class__
        if cls is str:
            if len(item) > SHORT or not item.isascii():
                return None
        elif cls is int:
            if not -WORD < item < WORD:
                return None
        elif cls is float:
            if not -_FINITE < item < _FINITE:
                return None
        elif item is not True and item is not False and item is not None:
            inner = shallow(item, False) if deeper else None
            if inner is None:
                return None
            copy[key] = inner
    return copy


def listing(members: dict[object, None]) -> list[Value] | None:
    """The members of a set as a sorted list, if they are few and short texts; None if they are not."""
    if len(members) > FEW:
        return None
    names: list[Value] = [*members]
    try:
        text = "".join(names)
    except TypeError:
        return None
    if len(text) > FEW * SHORT or not text.isascii():
        return None
    names.sort()
    return names


FEW: Final = 32
"""The most members of a small result."""

SHORT: Final = 120
"""The most characters of a text in it."""

WORD: Final = 1 << 62
"""The limit of integers in it."""

_FINITE: Final = 1e300


class Export:
    """Copies values and counts the bytes of their JSON text, more or less."""

    __slots__ = ("budget", "left", "limits", "query")

    def __init__(self, query: Query, taken: int = 0) -> None:
        """`taken` is how many bytes of the budget the rest of the result may use."""
        self.limits = limits = limits_of(query)
        self.query = query
        budget = None if limits.output_bytes is None else limits.output_bytes - taken
        self.left = SLICE if budget is None or budget > SLICE else budget
        self.budget = None if budget is None else budget - self.left
        if limits.seconds is not None:
            run_of(query).look_at_clock()

    def value(self, value: Value) -> Value:
        """A fresh JSON value. Raises `PolicyError`."""
        try:
            return self.json(value)
        except RecursionError:
            raise PolicyError(EVAL_CANCEL_ERROR, "the result is nested too deeply") from None

    def json(self, value: Value) -> Value:
        cls = value.__class__
        if cls is str:
            self.left -= len(value) + 3
            value = _text(value)
        elif cls is dict:
            value = self._object(value)
        elif cls is list or cls is Set:
            self.left -= 2 + len(value)
            value = self._array(value if cls is list else value.sorted(charging(self.query)))
        elif cls is bool or value is None:
            self.left -= 5
        elif cls is int:
            self.left -= 1 + value.bit_length() // 3
        else:
            if value is UNDEFINED:
                foreign(value)
            known(value)
            self.left -= len(number_text(value))
        if self.left < 0:
            self._go_on()
        return value

    # Short strings and singletons, of which most results consist, are copied in place: a call would cost more.

    def _object(self, value: dict[object, Value]) -> Value:
        self.left -= 2
        result = {}
        for key, item in value.items():
            if key.__class__ is not str:
                return self._object({self._key(name): item for name, item in sorted_items(value, charging(self.query))})
            self.left -= len(key) + 4
            if item.__class__ is str and item.isascii():
                self.left -= len(item) + 3
            elif item is not True and item is not False:
                item = self.json(item)
            result[_text(key)] = item
        return result

    def _array(self, values: list[Value]) -> list[Value]:
        result = []
        for item in values:
            if item.__class__ is str and item.isascii():
                self.left -= len(item) + 3
            else:
                item = self.json(item)
            result.append(item)
        return result

    def _key(self, key: Value) -> str:
        """An object's key in JSON: a text as it is, any other value as its JSON text, escaped as in Go."""
        return key if key.__class__ is str else dumps(self.json(key)).translate(_ESCAPED)

    def _go_on(self) -> None:
        """Take the next slice of the budget. Raises `PolicyError` if there is none, or the deadline has passed."""
        if self.limits.seconds is not None:
            run_of(self.query).look_at_clock()
        if self.budget is None:
            self.left = SLICE
            return
        self.budget += self.left
        if self.budget < 0:
            raise PolicyError(EVAL_CANCEL_ERROR, "the result is larger than the output budget of a decision")
        self.left = min(self.budget, SLICE)
        self.budget -= self.left


_ESCAPED: Final = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"})


def _text(text: str) -> str:
    """A string that JSON can carry: lone surrogates, which stand for bytes that are no text, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


_SURROGATE: Final = re.compile("[\ud800-\udfff]")
