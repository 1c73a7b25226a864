"""Work accounting for builtins that do not charge for themselves: their operands are read, and their results are kept.

A loop is charged by its length when it is entered, so what a call inside of it does must not be free however long its
operands are; and as every result may be kept, steps are also what bounds a decision's memory. A builtin that takes the
context charges for itself, since it can do so before the work. For all others generated code does it
(`codegen.metering`), as their `Cost` says.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from policy_engine.builtins.table import Builtin, Cost
from policy_engine.values import Number, Set, Value


def is_measured(builtin: Builtin) -> bool:
    """True if calls are charged by the sizes of operands and result."""
    return builtin.cost is Cost.SIZES and not builtin.context and not builtin.relation


def reading(value: Value) -> int:
    """Steps for looking through an operand."""
    measure = _READING.get(value.__class__)
    return 0 if measure is None else measure(value)


def making(value: Value) -> int:
    """Steps for a value that was made: about one for every eight bytes of it, without what is in its members."""
    measure = MAKING.get(value.__class__)
    return 0 if measure is None else measure(value)


def text_size(text: str) -> int:
    """Steps for making a text. Beyond ASCII a character has up to four bytes."""
    return len(text) // 4 if text.isascii() else len(text)


_Measure = Callable[[Any], int]
_READING: Final[dict[type, _Measure]] = {
    str: lambda text: len(text) // READ_AT_ONCE,
    int: lambda number: number.bit_length() // 64 if number > _WORD or number < -_WORD else 0,
    Number: lambda number: len(number.text) // READ_AT_ONCE,
    list: lambda items: len(items) // 4,
    dict: lambda items: len(items) // 4,
    Set: lambda items: len(items) // 4,
}
MAKING: Final[dict[type, _Measure]] = {
    str: lambda text: text_size(text) if len(text) > MADE_FREELY else 0,
    int: _READING[int],
    list: len,
    dict: lambda items: 4 * len(items),
    Set: lambda items: 4 * len(items),
}

_WORD: Final = 1 << 64
READ_AT_ONCE: Final = 16
"""Characters of a text that are read in one step."""
MADE_FREELY: Final = 64
"""Characters of a text that may be made for nothing."""
