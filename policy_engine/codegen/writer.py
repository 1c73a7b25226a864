"""Lines of Python with indentation. No text in them comes from a policy, see constants.py."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from policy_engine.errors import COMPILE_ERROR, PolicyError
from policy_engine.location import NOWHERE

MAX_INDENT: Final = 98
"""CPython reads no source that is indented more often. Loops in loops and functions come to that."""


@dataclass(slots=True, eq=False)
class Place:
    """The place before a loop."""

    line: int
    indent: int
    names: int
    """The number of names that had been made by then."""
    variables: frozenset[str]
    """The loop's own."""

    def knows(self, expression: str) -> bool:
        """True if the value of a name or constant was known there already."""
        made = _MADE.fullmatch(expression)
        return made is None or (int(made[1]) <= self.names and expression not in self.variables)


_MADE: Final = re.compile("[cfhnqrvz]([0-9]+)")
"""The names that `Writer.name` makes; `k` and a number is a constant, `a` and a number a parameter."""


class Writer:
    """Collects lines. `place` is where they come from in the policy."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.indent = 0
        self.place = NOWHERE
        self._next = 0
        self._places: list[Place] = []

    def line(self, text: str) -> None:
        if self.indent > MAX_INDENT:
            raise PolicyError(
                COMPILE_ERROR,
                "iterations are nested too deeply here",
                self.place,
                hint="move some of them into a rule or function of their own",
            )
        self.lines.append(" " * self.indent + text)

    def text(self) -> str:
        """All lines, as the source of a module."""
        return "\n".join(self.lines) + "\n"

    def name(self, prefix: str) -> str:
        """A new local variable."""
        self._next += 1
        return f"{prefix}{self._next}"

    def loop(self, header: str) -> Place:
        """Write the first line of a `for`; the result is the place before it."""
        variables = header[len("for ") : header.index(" in ")].split(", ")
        place = Place(len(self.lines), self.indent, self._next, frozenset(variables))
        self._places.append(place)
        self.line(header)
        return place

    def insert(self, place: Place, text: str) -> None:
        """Write a line at a place, before everything that was written since."""
        self.lines.insert(place.line, " " * place.indent + text)
        for known in self._places:
            if known.line >= place.line:
                known.line += 1

    @contextmanager
    def block(self, header: str) -> Iterator[None]:
        self.line(header)
        self.indent += 1
        yield
        self.indent -= 1
