"""The declaration of a builtin, and what a builtin may ask of the evaluation it runs in."""

from __future__ import annotations

import enum
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, Protocol

from policy_engine.types import FunctionType
from policy_engine.values import Value


class Context(Protocol):
    """The part of a query's state that a builtin may use. One query, one thread."""

    allow_network: bool

    def now_ns(self) -> int:
        """The query's clock, in nanoseconds since 1970: one value for the whole query. Use inside `remember`."""

    def random_bits(self, bits: int, key: str) -> int:
        """Random bits that are the same for the same key within one query. Use inside `remember`."""

    def remember(self, name: str, args: tuple[Value, ...], compute: Callable[[], Value]) -> Value:
        """The value of a nondeterministic call: computed once a query, reported to the caller, replayed on demand."""

    def charge(self, work: int) -> None:
        """Take `work` steps from the query's budget before doing them. Raises `PolicyError` when it is used up."""

    def afford(self, work: int) -> None:
        """Raise as `charge` does if the budget has no such steps left, and take none of them.

        Use it before work in pieces, each charged for itself, that must not begin if it cannot end.
        """

    def charge_once(self, key: Hashable, work: int) -> None:
        """Take the steps for making a thing that may be kept, unless this decision has lately paid for it."""

    def seconds_left(self) -> float | None:
        """The time that is left for the decision; None if it has no deadline."""

    def look_at_clock(self) -> None:
        """Raise `PolicyError` if the deadline has passed. Use it around long work that is paid for in one piece."""

    def print(self, message: str) -> None:
        """Hand a message of `print` or `trace` to the caller's sink."""


class Cost(enum.Enum):
    """The way in which calls of a builtin are charged.

    A builtin that takes the `Context` charges for itself, before the work.
    """

    SIZES = enum.auto()
    """Generated code charges by the sizes of operands and result (measured.py)."""
    COMPARISON = enum.auto()
    """As `SIZES` for collections and long numbers only; the function takes `charge` as its last argument."""
    NOTHING = enum.auto()
    """Calls are free: they look at a few words of memory, whatever they are given."""


@dataclass(frozen=True, slots=True)
class InPlace:
    """A call as an expression of Python, for operands of the usual classes. It is not charged, so it must be cheap.

    `{0}`, `{1}` in `text` and `condition` stand for the operands. `classes` are theirs, None where any will do. For all
    other operands, and where `condition` does not hold, the builtin's function is called.
    """

    text: str
    classes: tuple[type | None, ...]
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Builtin:
    """A function of the language.

    `function` takes the operands as Rego values (and the `Context` before them if `context`), never changes them, and
    returns a value or `UNDEFINED`. It may return a part of an operand. It raises `BuiltinError` and nothing else.
    `relation`: it yields many outputs (`walk`); `function` then returns an iterable of them. `effect`: the number of
    calls can be observed. `fails`: the function may raise.
    """

    name: str
    decl: FunctionType
    function: Callable[..., Any]
    context: bool = False
    nondeterministic: bool = False
    relation: bool = False
    deprecated: bool = False
    infix: str = ""
    cost: Cost = Cost.SIZES
    effect: bool = False
    fails: bool = True
    inline: InPlace | None = None
