"""The state of one decision: its budget, clock and records, and the contexts it is evaluated in.

All contexts of a decision share one `Run`. A context is a plain list, because every decision makes one and generated
code reads it everywhere. To make an object with as many attributes takes five times as long, half of a small decision.
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

UNLIMITED: Final = 1 << 62
"""The steps of a decision without a work limit."""

SMALL: Final = 1 << 19
"""The most bytes that the small results of a decision have together. They are not counted. If the output budget is less
than twice as large, every result is counted.
"""


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
    """True if limits leave room for the work and the results that an entry does not count (see entry.py)."""
    output, work = limits.output_bytes, limits.work
    return (output is None or output >= 2 * SMALL) and (work is None or work >= SLICE)


def first_slice(limits: Limits) -> int:
    """Steps that a decision may take before it first looks at the clock."""
    return SLICE if limits.work is None or limits.work > SLICE else limits.work


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a policy set, which hold for all its decisions."""

    limits: Limits = field(default_factory=Limits)
    allow_network: bool = False
    print: Callable[[str], None] | None = None


_PAID: Final = 64
"""The most things that a decision pays for once. A cache of such things has room for more."""


def _used_up() -> PolicyError:
    return PolicyError(
        EVAL_CANCEL_ERROR,
        "the work budget of this decision is used up",
        hint="look for loops over loops, or raise `work` in the limits",
    )


class Run:
    """The state shared by all contexts of one decision: clock, recorded values, budget. The `Context` of builtins.

    Many decisions need none. Attributes that few decisions use are None in the class, so that one is quickly made.
    """

    prints: list[str] | None = None
    recorded: dict[str, Value] | None = None
    fired: list[str] | None = None
    marks: bytearray | None = None
    """In the traced build: which of `Code.places` succeeded."""
    steps: Any = None
    """In the build that records: what was evaluated (steps.py)."""
    paid: dict[Hashable, None] | None = None
    """The keys that `charge_once` has charged."""

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
        self.work = UNLIMITED if limits.work is None else limits.work
        self.left = first_slice(limits)

    @property
    def allow_network(self) -> bool:
        """True if builtins may reach other hosts. A repeated decision may not: it has a record of all answers."""
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

    def afford(self, work: int) -> None:
        """Raise if the budget has fewer steps left than this."""
        if work > self.left + self.work - min(SLICE, self.work):
            raise _used_up()

    def _refill(self) -> None:
        # The slice that is used up had min(SLICE, work) steps, and `left` is minus the steps beyond it.
        self.work -= min(SLICE, self.work) - self.left
        if self.work < 0:
            raise _used_up()
        self.look_at_clock()
        self.left = min(SLICE, self.work)

    def charge_once(self, key: Hashable, work: int) -> None:
        """Take steps for a thing from a cache when this decision first asks for it, whether it is in the cache or not.

        A cache drops things again. So if there are very many, the oldest are paid for again.
        """
        if self.paid is None:
            self.paid = {}
        if key not in self.paid:
            if len(self.paid) >= _PAID:
                del self.paid[next(iter(self.paid))]
            self.paid[key] = None
            self.charge(work)

    def seconds_left(self) -> float | None:
        """The seconds until the deadline; None if there is none."""
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
and end before `LEFT`, the first slice of the budget, is used up.
"""

INPUT: Final = 0
DATA: Final = 1
ROOT: Final = 2
"""The context the decision began with, which has `LEFT` and `RUN`; None in that one."""
LEFT: Final = 3
"""The steps left before `RUN` is asked for more."""
RUN: Final = 4
START: Final = 5
"""The arguments for making a `Run`."""
FNS: Final = 6
"""The functions that some `with` replaces, by slot."""
MASKED: Final = 7
"""The paths of documents that are replaced, and the numbers of the rules that they hide."""
CODE: Final = 8
INDEXES: Final = 9
"""The tables that are kept with the base data; None where some `with` replaces a part of it."""
USED: Final = 10
"""The kept documents that `ROOT` has paid for (see `kept`); None if there are none."""
PAID: Final = 11
"""The steps that have been paid for those out of the budget beyond `LEFT`, before there is a `RUN`."""
MEMO: Final = 12
"""The first memo slot."""


Indexes = dict[Any, Any]
"""Tables that are kept as long as the base data. Any thread may add to them; no entry ever changes its meaning.

- for each join, by the identity of a collection: its table (`joins`)
- for each fixed group (`fixed`), by its number: its document; by its number and some constants: the parts of the
  document that lookups have asked for (`kept`)
"""

Masked = frozenset[int | tuple[str, ...]]

NOTHING: Final[Masked] = frozenset()
"""Nothing is replaced by a `with`."""


Start = tuple[Options, bool, Limits, float | None, int | None, int | None, Mapping[str, Value] | None]
"""The arguments for making a `Run`: options, strict builtin errors, limits, deadline, clock, seed, former records."""


def beginning(code: Code, start: Start, data: Value, indexes: Indexes) -> Query:
    """A decision's first context without the input, which has to be put in front."""
    return [
        data,
        None,
        first_slice(start[2]),
        None,
        start,
        code.fns,
        NOTHING,
        code,
        indexes,
        None,
        0,
        *[NC] * code.slots,
    ]


def limits_of(q: Query) -> Limits:
    """The budget of the decision."""
    limits: Limits = (q[ROOT] or q)[START][2]
    return limits


def run_of(q: Query) -> Run:
    """The `Run` of this decision, made now if there is none."""
    root = q[ROOT] or q
    run: Run | None = root[RUN]
    if run is None:
        whole = left_of(root)
        run = root[RUN] = Run(*root[START])
        run.left, root[LEFT] = root[LEFT], 0
        run.work = whole - run.left + SLICE
    return run


def unlimited(q: Query) -> Query:
    """A context over the same data for work that no decision is charged for, and that looks at no clock."""
    options, strict = (q[ROOT] or q)[START][:2]
    return [U, *beginning(q[CODE], (options, strict, Limits(work=None), None, None, None, None), q[DATA], q[INDEXES])]


def left_of(root: Query) -> int:
    """The steps that a decision may still take."""
    run: Run | None = root[RUN]
    left: int = root[LEFT]
    if run is not None:
        return left + run.left + run.work - min(SLICE, run.work)
    return left + _beyond(root)


def _beyond(root: Query) -> int:
    """The steps in the budget beyond the first slice, before there is a `RUN`."""
    limits: Limits = root[START][2]
    paid: int = root[PAID]
    return (UNLIMITED if limits.work is None else limits.work) - first_slice(limits) - paid


def pay(root: Query, work: int) -> None:
    """Take steps that took no time: if possible without a look at the clock."""
    if root[RUN] is None and work <= _beyond(root):
        root[PAID] += work
    else:
        charge(root, work)


def charge(q: Query, work: int) -> None:
    """Take steps from the decision's budget."""
    root = q[ROOT] or q
    root[LEFT] -= work
    if root[LEFT] < 0:
        beyond, root[LEFT] = -root[LEFT], 0
        run_of(root).charge(beyond)


class Charging(partial[None]):
    """`charge` for functions that know values but no contexts."""

    __slots__ = ()

    def charge_once(self, key: Hashable, work: int) -> None:
        run_of(self.args[0]).charge_once(key, work)


def charging(q: Query) -> Charging:
    return Charging(charge, q)


def marks(q: Query) -> bytearray:
    """In the traced build: the marks of this decision, one for each of `Code.places`."""
    run = run_of(q)
    if run.marks is None:
        run.marks = bytearray(len(q[CODE].places))
    return run.marks


def failed(q: Query, error: BuiltinError, loc: Location) -> Any:
    """The result of a call whose builtin failed: undefined, or an error under strict builtin errors."""
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
    """Another context of the same decision. Its memo slots are empty."""
    slots = len(q) - MEMO
    # Contexts in contexts can double the work with each rule.
    charge(q, 1 + slots // 256)
    indexes = q[INDEXES] if data is q[DATA] else None
    return [input, data, q[ROOT] or q, 0, None, None, fns, masked, q[CODE], indexes, None, 0, *[NC] * slots]


def with_function(q: Query, slot: int, function: Callable[..., Any]) -> Query:
    fns = q[FNS]
    return derived(q, q[INPUT], q[DATA], (*fns[:slot], function, *fns[slot + 1 :]), q[MASKED])


def unmocked(q: Query) -> Query:
    """The same context in which no function is replaced."""
    return derived(q, q[INPUT], q[DATA], q[CODE].fns, q[MASKED])


class Code:
    """The facts about code that a context needs: the number of memo slots, and the replaceable functions."""

    __slots__ = ("fns", "places", "slots")

    def __init__(self) -> None:
        self.slots = 0
        self.places: list[Location] = []
        """In the traced build: the places of the expressions that leave marks."""
        self.fns: tuple[Any, ...] = ()


class DataNode:
    """A place in `data` where rules are: `rule` gives the document of a group, `children` lie below a package."""

    __slots__ = ("children", "is_function", "number", "path", "rule")

    def __init__(self, number: int, path: tuple[str, ...]) -> None:
        self.number = number
        self.path = path
        self.rule: Callable[[Query], Value] | None = None
        self.is_function = False
        self.children: dict[object, DataNode] = {}
