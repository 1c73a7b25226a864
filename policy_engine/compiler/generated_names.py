"""Names of variables inside the compiler, and how they are written in the policy.

| name | is |
|---|---|
| `x'3` | a declared variable `x` |
| `'3` | an intermediate value |
| `'captured3` | the value of an expression in a template string, or of an operand of `print` |
| `$0` | a wildcard `_` |
| `$'3` | the key that `some x in xs` does not name |
"""

from __future__ import annotations

import itertools
from typing import Final

from policy_engine.compiler.terms import map_term
from policy_engine.syntax import nodes
from policy_engine.syntax.nodes import Term


class FreshNames:
    """Makes variables that no policy can contain: `__local0__` is legal Rego, `x'1` is not."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers = itertools.count(1)  # threads that compile queries share it

    def fresh(self, base: str, like: nodes.Node) -> nodes.Var:
        """A new variable, at the place of a node."""
        return nodes.Var(f"{base}'{next(self._numbers)}", loc=like.loc)


CAPTURE: Final = "'captured"


def is_capture(term: nodes.Node) -> bool:
    """True if a term is the set of the values of a captured expression: one, or none if it is undefined."""
    return (
        isinstance(term, nodes.SetComprehension)
        and isinstance(term.term, nodes.Var)
        and term.term.name.startswith(CAPTURE)
    )


def is_generated(name: str) -> bool:
    """True if the policy does not name a variable."""
    return name.startswith(("'", "$"))


def is_internal(name: str) -> bool:
    """True if the policy does not contain a variable, not even as a wildcard."""
    return name.startswith(("'", "$'"))


def source_name(name: str) -> str:
    """A variable as written in the policy."""
    return "_" if name.startswith("$") else name.split("'")[0]


def as_written(term: Term) -> Term:
    """A term with its declared variables as written in the policy."""
    if not isinstance(term, nodes.Var):
        return map_term(term, as_written)
    return nodes.Var(term.name.split("'")[0] or "_", loc=term.loc)
