"""The state of one decision: its budget, clock and records, and the contexts it is evaluated in.

`Run` is what all contexts of a decision share. A context is a plain list, because one is made for every decision and
read all over generated code: making an object with as many attributes costs five times as much, which would be half
of a small decision.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

from policy_engine.errors import EVAL_CANCEL_ERROR, BuiltinError, PolicyError
from policy_engine.location import Location
from policy_engine.values import UNDEFINED, Value, dumps, to_json

U: Final = UNDEFINED


class NotComputed:
    """The class of `NC`."""

    __slots__ = ()


NC: Final = NotComputed()


SLICE: Final = 4096
"""Steps between two looks at the clock."""


SMALL: Final = 1 << 19
"""Bytes that small results may have together without being counted. Where less than twice as much is allowed, every
result is counted."""


class Limits:
    """The budget of one decision: `seconds` of time, `work` steps (roughly: loop iterations), `output_bytes`.

    A decision that exceeds one ends in `eval_cancel_error`. None means no limit.
    """

    __slots__ = ("output_bytes", "seconds", "work")

    def __init__(
        self, seconds: float | None = None, work: int | None = 20_000_000, output_bytes: int | None = 16_777_216
    ) -> None:
        self.seconds = seconds
        self.work = work
        self.output_bytes = output_bytes


def are_wide(limits: Limits) -> bool:
    """Whether limits leave room for what an entry does not count (see entry.py)."""
    output, work = limits.output_bytes, limits.work
    return (output is None or output >= 2 * SMALL) and (work is None or work >= SLICE)


def first_slice(limits: Limits) -> int:
    """Steps that a decision may take before it first looks at the clock."""
    return SLICE if limits.work is None or limits.work > SLICE else limits.work


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every decision of a policy set."""

    limits: Limits = field(default_factory=Limits)
    allow_network: bool = False
    print: Callable[[str], None] | None = None


_PAID: Final = 64
"""Things that a decision pays for once. Whoever keeps such things keeps more of them."""


class Run:
    """What all contexts of one decision share: clock, recorded values, budget. The `Context` of builtins.

    One is made for every decision that needs one, so what most of them never use is the class's and None.
    """

    prints: list[str] | None = None
    recorded: dict[str, Value] | None = None
    fired: list[str] | None = None
    marks: bytearray | None = None
    """In the traced build: which of `Code.places` succeeded."""
    paid: dict[Hashable, None] | None = None
    """What was charged by `charge_once`."""

    def __init__(
        self,
        options: Options,
        strict: bool,
        limits: Limits,
        deadline: float | None,
        now: int | None,
        seed: int | None,
        replay: Mapping[str, Value] | None,
    ) -> None:
        self.options = options
        self.strict = strict
        self.deadline = deadline
        self.now = now
        self.seed = seed
        self.replay = replay
        self.work = limits.work
        self.left = first_slice(limits)

    @property
    def allow_network(self) -> bool:
        """A decision that is repeated asks nobody: what it was told is recorded, and what failed is to fail again."""
        return self.options.allow_network and self.replay is None

    def fire(self, rule: str) -> None:
        """In the traced build: a rule has given a value."""
        if self.fired is None:
            self.fired = []
        self.fired.append(rule)

    def now_ns(self) -> int:
        if self.now is None:
            self.now = time.time_ns()
        return self.now

    def random_bits(self, bits: int, key: str) -> int:
        if self.seed is None:
            self.seed = secrets.randbits(64)
        stream = hashlib.shake_256(f"{self.seed}/{key}".encode("utf-8", "surrogatepass")).digest((bits + 7) // 8)
        return int.from_bytes(stream, "big") >> (-bits % 8)

    def remember(self, name: str, args: tuple[Value, ...], compute: Callable[[], Value]) -> Value:
        if self.recorded is None:
            self.recorded = {}
        key = name + dumps(to_json(list(args)))
        value = self.recorded.get(key, U)
        if value is U:
            value = U if self.replay is None else self.replay.get(key, U)
            if value is U:
                value = compute()
            self.recorded[key] = value
        return value

    def charge(self, work: int) -> None:
        """Take steps from the budget; every few thousand steps look at the clock."""
        self.left -= work
        if self.left < 0:
            self._refill()

    def _refill(self) -> None:
        if self.work is not None:
            # The slice that is used up was min(SLICE, work) long, and `left` is below zero by what went beyond it.
            self.work -= min(SLICE, self.work) - self.left
            if self.work < 0:
                raise PolicyError(
                    EVAL_CANCEL_ERROR,
                    "the work budget of this decision is used up",
                    hint="look for loops over loops, or raise `work` in the limits",
                )
        self.look_at_clock()
        self.left = SLICE if self.work is None or self.work > SLICE else self.work

    def charge_once(self, key: Hashable, work: int) -> None:
        """Take steps for a thing that is kept, as if no decision had made it before: the first time that this one asks.

        What is kept is not kept for ever, so of very many things those that were paid for long ago are paid for again.
        """
        if self.paid is None:
            self.paid = {}
        if key not in self.paid:
            if len(self.paid) >= _PAID:
                del self.paid[next(iter(self.paid))]
            self.paid[key] = None
            self.charge(work)

    def seconds_left(self) -> float | None:
        """How long the decision may take from now on; None for ever."""
        return None if self.deadline is None else self.deadline - time.monotonic()

    def look_at_clock(self) -> None:
        """Raises `PolicyError` if the deadline has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise deadline_error()

    def print(self, message: str) -> None:
        if self.prints is None:
            self.prints = []
        self.prints.append(message)
        if self.options.print is not None:
            self.options.print(message)


def deadline_error() -> PolicyError:
    return PolicyError(EVAL_CANCEL_ERROR, "the deadline of this decision has passed")


Query = list[Any]
"""One context of evaluation: documents, what `with` has replaced, and memo slots. A `with` makes a new one.

Its places are the numbers below. `RUN` is empty until something needs it: many decisions need no clock and no record,
and are over before `LEFT`, the first slice of the budget, is used up.
"""

INPUT: Final = 0
DATA: Final = 1
ROOT: Final = 2
"""The context the decision began with, which has `LEFT` and `RUN`; None in that one."""
LEFT: Final = 3
"""Steps that may be taken before `RUN` is asked."""
RUN: Final = 4
START: Final = 5
"""What the `Run` is made with."""
FNS: Final = 6
"""The functions that some `with` replaces, by slot."""
MASKED: Final = 7
"""The paths of documents that are replaced, and the numbers of the rules that they hide."""
CODE: Final = 8
INDEXES: Final = 9
"""What is kept with the base data; None where some `with` replaces a part of it."""
MEMO: Final = 10
"""The first memo slot."""


Indexes = dict[Any, Any]
"""What is kept as long as the base data is. Any thread may add to it; what is there does not change its meaning.

- for each join, by the identity of a collection: the collection itself, and its table (`joins`)
- by the number of a group its document, by a number and constants parts of it (`fixed`)
"""

Masked = frozenset[int | tuple[str, ...]]

NOTHING: Final[Masked] = frozenset()
"""Nothing is replaced by a `with`."""


Start = tuple[Options, bool, Limits, float | None, int | None, int | None, Mapping[str, Value] | None]
"""What a `Run` is made with: options, strict builtin errors, limits, deadline, clock, seed, former records."""


def beginning(code: Code, start: Start, data: Value, indexes: Indexes) -> Query:
    """All of a decision's first context but its input, which comes before it."""
    return [data, None, first_slice(start[2]), None, start, code.fns, NOTHING, code, indexes, *[NC] * code.slots]


def limits_of(q: Query) -> Limits:
    """The budget of the decision."""
    limits: Limits = (q[ROOT] or q)[START][2]
    return limits


def run_of(q: Query) -> Run:
    """What the contexts of this decision share."""
    root = q[ROOT] or q
    run: Run | None = root[RUN]
    if run is None:
        run = root[RUN] = Run(*root[START])
        run.left, root[LEFT] = root[LEFT], 0
    return run


def charge(q: Query, work: int) -> None:
    """Take steps from the decision's budget."""
    root = q[ROOT] or q
    root[LEFT] -= work
    if root[LEFT] < 0:
        beyond, root[LEFT] = -root[LEFT], 0
        run_of(root).charge(beyond)


def charging(q: Query) -> Callable[[int], None]:
    """`charge` for functions of values, which know no contexts."""
    return partial(charge, q)


def marks(q: Query) -> bytearray:
    """In the traced build: where expressions leave a mark when they succeed."""
    run = run_of(q)
    if run.marks is None:
        run.marks = bytearray(len(q[CODE].places))
    return run.marks


def failed(q: Query, error: BuiltinError, loc: Location) -> Any:
    """What a call whose builtin failed gives: undefined, or the end of the decision under strict errors."""
    if run_of(q).strict:
        raise PolicyError(error.code, error.message, loc) from None
    return U


def derived(
    q: Query,
    input: Value,  # noqa: A002
    data: Value,
    fns: tuple[Any, ...],
    masked: Masked,
) -> Query:
    """A context of the same decision. What is remembered is not taken along."""
    code = q[CODE]
    # Contexts in contexts can double the work with each rule.
    charge(q, 1 + code.slots // 256)
    indexes = q[INDEXES] if data is q[DATA] else None
    return [input, data, q[ROOT] or q, 0, None, None, fns, masked, code, indexes, *[NC] * code.slots]


def with_function(q: Query, slot: int, function: Callable[..., Any]) -> Query:
    fns = q[FNS]
    return derived(q, q[INPUT], q[DATA], (*fns[:slot], function, *fns[slot + 1 :]), q[MASKED])


def unmocked(q: Query) -> Query:
    """The same context with every function as it is defined."""
    return derived(q, q[INPUT], q[DATA], q[CODE].fns, q[MASKED])


class Code:
    """The result of code generation that a query needs: how many memo slots there are, and the virtual documents."""

    __slots__ = ("fns", "namespace", "places", "slots", "tree")

    def __init__(self, namespace: dict[str, Any], tree: Node) -> None:
        self.namespace = namespace
        self.tree = tree
        self.slots = 0
        self.places: list[Location] = []
        """In the traced build: where the expressions are that leave marks."""
        self.fns: tuple[Any, ...] = ()


class Node:
    """A place in `data` where rules are: `rule` gives the document of a group, `children` lie below a package."""

    __slots__ = ("children", "is_function", "number", "path", "rule")

    def __init__(self, number: int, path: tuple[str, ...]) -> None:
        self.number = number
        self.path = path
        self.rule: Callable[[Query], Value] | None = None
        self.is_function = False
        self.children: dict[object, Node] = {}
