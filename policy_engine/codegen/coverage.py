"""A fourth build of a program: the traced one, whose marks say what was evaluated. For `test --coverage`.

As `opa test --coverage` has it (v1/cover), an expression is covered when it has been evaluated, whatever came of it,
and the head of a rule when the rule has given a value.
"""

from __future__ import annotations

from policy_engine.codegen.unit import Unit
from policy_engine.codegen.writer import Writer
from policy_engine.compiler.program import Program
from policy_engine.location import Location


class CoveringUnit(Unit):
    """Code whose decisions mark the places that they cover."""

    joins = False  # a join leaves out the members for which the equality behind it would only be evaluated

    def __init__(self, program: Program) -> None:
        super().__init__(program, trace=True)

    def reached(self, writer: Writer, loc: Location) -> None:
        if loc.row:
            writer.line(f"h[{self.place(loc)}] = 1")

    def gave(self, writer: Writer, loc: Location) -> None:
        self.reached(writer, loc)
