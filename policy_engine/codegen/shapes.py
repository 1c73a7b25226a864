"""Functions that differ only in names: Python's compiler compiles one of them.

Large policies consist of few kinds of rules, and the functions for rules of one kind differ only in constants,
functions and memo slots. If a function of the same kind has been compiled before, its code with other names is used:
that takes a fiftieth of the time, where compiling takes half of the time of loading.

The text alone shows what is a name, see `constants.GLOBALS`. The code is what Python's compiler would have made, except
for columns in tracebacks where names differ in length.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import CodeType
from typing import Final

from policy_engine.codegen.constants import GLOBALS

Key = tuple[object, ...]

_NAME: Final = re.compile(rf"([{GLOBALS}[]\d(?:(?<!\[.)|(?=\d))\w*)")
"""A name in the namespace of generated code, or `[` and the number of a memo slot, which has two digits or more
(`context.MEMO`). Both begin with one set of characters, which makes the search three times as fast.
"""
_NUMBER: Final = re.compile(r"(?<!\w)\d\d+")


@dataclass(frozen=True, slots=True)
class Shape:
    """A text without its names, which `names` has in order. Texts with equal keys differ only in their names."""

    key: Key
    names: tuple[str, ...]


def shape_of(text: str) -> Shape:
    """The shape of a function's text."""
    parts = _NAME.split(text)
    numbers: dict[str, int] = {}
    pattern = tuple([numbers.setdefault(name, len(numbers)) for name in parts[1::2]])
    return Shape((pattern, *parts[::2]), tuple(numbers))


class FunctionPattern:
    """The code of one function, for others of its shape, and the names in it."""

    def __init__(self, code: CodeType, names: tuple[str, ...]) -> None:
        self.origin = code
        self.names = names

    def code(self, own: tuple[str, ...], file: str, line: int) -> CodeType:
        """The code of another function with names of its own, which stands in a source at a line."""
        names: dict[object, str] = {}
        slots: dict[object, int] = {}
        for old, new in zip(self.names, own, strict=True):
            if old[0] == "[":
                slots[int(old[1:])] = int(new[1:])
            else:
                names[old] = new
        return _renamed(self.origin, names, slots, file, line - self.origin.co_firstlineno)


def pattern(code: CodeType, shape: Shape) -> FunctionPattern | None:
    """The code of a function as a pattern; None if no other code can be made of it.

    Slots must be among the constants of the code, where some versions of Python have no small numbers, and no other
    number in the text may be equal to a slot.
    """
    slots = {int(name[1:]) for name in shape.names if name[0] == "["}
    if slots:
        literals = {int(number) for part in shape.key[1:] for number in _NUMBER.findall(str(part))}
        if slots & literals or not slots <= _integers(code):
            return None
    return FunctionPattern(code, shape.names)


def _integers(code: CodeType) -> set[int]:
    found = {item for item in code.co_consts if item.__class__ is int}
    return found.union(*[_integers(item) for item in code.co_consts if isinstance(item, CodeType)])


def _renamed(code: CodeType, names: dict[object, str], slots: dict[object, int], file: str, lines: int) -> CodeType:
    constants = [
        _renamed(item, names, slots, file, lines)
        if item.__class__ is CodeType
        else slots.get(item, item)
        if item.__class__ is int
        else item
        for item in code.co_consts
    ]
    outermost, dot, rest = code.co_qualname.partition(".")
    return code.replace(
        co_names=tuple([names.get(item, item) for item in code.co_names]),
        co_consts=tuple(constants),
        co_name=names.get(code.co_name, code.co_name),
        co_qualname=names.get(outermost, outermost) + dot + rest,
        co_filename=file,
        co_firstlineno=code.co_firstlineno + lines,
    )
