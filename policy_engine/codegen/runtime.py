"""Every name that generated code may use, and the state of one query.

Generated code sees nothing but the names in `EXPORTED`, its constants and its own functions. Values follow
`policy_engine.values`; `U` is `UNDEFINED`, `NC` marks a memo slot that is not computed yet.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final, NoReturn

from policy_engine.errors import EVAL_CANCEL_ERROR, EVAL_CONFLICT_ERROR, BuiltinError, PolicyError
from policy_engine.location import Location
from policy_engine.values import (
    RANK,
    UNDEFINED,
    Number,
    Set,
    Value,
    compare,
    dumps,
    equal,
    foreign,
    freeze,
    sort,
    sorted_items,
    thaw,
    to_json,
)

U: Final = UNDEFINED


class NotComputed:
    """The class of `NC`."""

    __slots__ = ()


NC: Final = NotComputed()


SLICE: Final = 4096
"""Steps between two looks at the clock."""


LONG: Final = 512
"""Members of a collection that are looped over between two charges."""


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


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for every decision of a policy set."""

    limits: Limits = field(default_factory=Limits)
    allow_network: bool = False
    print: Callable[[str], None] | None = None


class Run:
    """What all contexts of one decision share: clock, recorded values, budget. The `Context` of builtins.

    One is made for every decision, so it holds little and makes containers when they are first used.
    """

    __slots__ = (
        "_cache",
        "_hits",
        "_left",
        "_prints",
        "_recorded",
        "deadline",
        "fired",
        "now",
        "options",
        "replay",
        "seed",
        "strict",
        "work",
    )

    def __init__(self, options: Options, strict: bool, limits: Limits) -> None:
        self.options = options
        self.strict = strict
        self.now: int | None = None
        self.seed: int | None = None
        self.replay: Mapping[str, Value] | None = None
        self._cache: dict[Any, Any] | None = None
        self._recorded: dict[str, Value] | None = None
        self._prints: list[str] | None = None
        self._hits: set[Location] | None = None
        self.fired: list[str] | None = None
        self.deadline = None if limits.seconds is None else time.monotonic() + limits.seconds
        self.work = limits.work
        self._left = SLICE if limits.work is None or limits.work > SLICE else limits.work

    @property
    def allow_network(self) -> bool:
        """A decision that is repeated asks nobody: what it was told is recorded, and what failed is to fail again."""
        return self.options.allow_network and self.replay is None

    @property
    def cache(self) -> dict[Any, Any]:
        if self._cache is None:
            self._cache = {}
        return self._cache

    @property
    def recorded(self) -> dict[str, Value]:
        if self._recorded is None:
            self._recorded = {}
        return self._recorded

    @property
    def prints(self) -> list[str]:
        if self._prints is None:
            self._prints = []
        return self._prints

    @property
    def hits(self) -> set[Location]:
        if self._hits is None:
            self._hits = set()
        return self._hits

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
        self._left -= work
        if self._left < 0:
            self._refill()

    def _refill(self) -> None:
        if self.work is not None:
            # The slice that is used up was min(SLICE, work) long, and `_left` is below zero by what went beyond it.
            self.work -= min(SLICE, self.work) - self._left
            if self.work < 0:
                raise PolicyError(
                    EVAL_CANCEL_ERROR,
                    "the work budget of this decision is used up",
                    hint="look for loops over loops, or raise `work` in the limits",
                )
        self.look_at_clock()
        self._left = SLICE if self.work is None or self.work > SLICE else self.work

    def look_at_clock(self) -> None:
        """Raises `PolicyError` if the deadline has passed."""
        if self.deadline is not None and time.monotonic() > self.deadline:
            raise PolicyError(EVAL_CANCEL_ERROR, "the deadline of this decision has passed")

    def print(self, message: str) -> None:
        self.prints.append(message)
        if self.options.print is not None:
            self.options.print(message)


class Query:
    """One context of evaluation: documents, memo slots, and what `with` has replaced. A `with` makes a new one.

    `run` is made when it is first asked for, by `start`: many decisions need no budget, no clock, no context.
    """

    __slots__ = ("code", "data", "fns", "input", "masked", "memo", "run", "start")
    run: Run

    def __init__(
        self,
        code: Code,
        start: Callable[[], Run],
        input: Value,  # noqa: A002  the word of the language
        data: Value,
        fns: tuple[Any, ...],
        masked: frozenset[int],
    ) -> None:
        self.code = code
        self.start = start
        self.input = input
        self.data = data
        self.fns = fns
        self.masked = masked
        self.memo: list[Any] = [NC] * code.slots

    def __getattr__(self, name: str) -> Any:
        # Only reached while the slot `run` is empty.
        if name != "run":
            raise AttributeError(name)
        self.run = self.start()
        return self.run

    def charge(self, work: int) -> None:
        """Take steps from the decision's budget."""
        self.run.charge(work)

    def _derived(self, input: Value, data: Value, fns: tuple[Any, ...], masked: frozenset[int]) -> Query:  # noqa: A002
        # What is remembered is not taken along, so contexts in contexts can double the work with each rule.
        run = self.run
        run.charge(1 + self.code.slots // 256)
        return Query(self.code, lambda: run, input, data, fns, masked)

    def failed(self, error: BuiltinError, loc: Location) -> Any:
        """What a call whose builtin failed gives: undefined, or the end of the decision under strict errors."""
        if self.run.strict:
            raise PolicyError(error.code, error.message, loc) from None
        return U

    def with_input(self, path: tuple[str, ...], value: Value) -> Query:
        return self._derived(patched(self, self.input, path, value), self.data, self.fns, self.masked)

    def with_data(self, path: tuple[str, ...], value: Value, hidden: frozenset[int]) -> Query:
        data = patched(self, self.data, path, value)
        return self._derived(self.input, data, self.fns, self.masked | hidden)

    def with_function(self, slot: int, function: Callable[..., Any]) -> Query:
        fns = (*self.fns[:slot], function, *self.fns[slot + 1 :])
        return self._derived(self.input, self.data, fns, self.masked)

    def unmocked(self) -> Query:
        """The same context with every function as it is defined."""
        return self._derived(self.input, self.data, self.code.fns, self.masked)


class Code:
    """The result of code generation that a query needs: how many memo slots there are, and the virtual documents."""

    __slots__ = ("fns", "namespace", "slots", "tree")

    def __init__(self, namespace: dict[str, Any], tree: Node) -> None:
        self.namespace = namespace
        self.tree = tree
        self.slots = 0
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


class Cursor:
    """A document that rules are a part of, not put together yet."""

    __slots__ = ("base", "node")

    def __init__(self, node: Node, base: Value) -> None:
        self.node = node
        self.base = base


# ---- documents


def patched(q: Query, document: Value, path: tuple[str, ...], value: Value) -> Value:
    """A copy of a document with another value at a path. What is no object on the way becomes one."""
    if not path:
        return value
    known(document)
    base = _copied(q, document) if document.__class__ is dict else {}
    base[path[0]] = patched(q, base.get(path[0], U), path[1:], value)
    return base


def _copied(q: Query, obj: dict[Any, Value]) -> dict[Any, Value]:
    if len(obj) > LONG:
        q.charge(len(obj) // 16)
    return dict(obj)


def bad_path(loc: Location) -> NoReturn:
    """Refuse a `with` whose target is no place in a document: a path of other things than strings."""
    raise PolicyError(EVAL_CONFLICT_ERROR, "with keyword cannot replace a value: bad document path", loc)


def base_at(document: Value, path: tuple[str, ...]) -> Value:
    """The base document at a path of names."""
    for step in path:
        if document.__class__ is not dict:
            known(document)
            return U
        document = document.get(step, U)
    return document


def extent(q: Query, node: Node) -> Value:
    """The whole document at a place where rules are."""
    return together(q, node, base_at(q.data, node.path))


def full(q: Query, value: Any) -> Value:
    """A document that may be a `Cursor`, put together."""
    return together(q, value.node, value.base) if value.__class__ is Cursor else value


def together(q: Query, node: Node, base: Value) -> Value:
    """What rules say at a place and below it, over the base document there."""
    masked = q.masked
    if node.number in masked:
        return base
    if node.rule is not None:
        return node.rule(q)
    if base is U:
        base = {}
    elif base.__class__ is not dict:
        return base
    result = _copied(q, base)
    if len(node.children) > LONG:
        q.charge(len(node.children))
    for name, child in node.children.items():
        if child.is_function:
            continue
        document = together(q, child, base.get(name, U))
        if document is not U:
            result[name] = document
    return result


def cursor(q: Query, node: Node) -> Cursor:
    return Cursor(node, base_at(q.data, node.path))


def cursor_step(q: Query, value: Any, key: Value) -> Any:
    """One member of what may be a `Cursor`."""
    if value.__class__ is not Cursor:
        return step(q, value, key)
    node, base = value.node, value.base
    if node.number in q.masked:
        return step(q, base, key)
    below = step(q, base, key)
    child = node.children.get(frozen(q, key))
    if child is None or child.is_function:
        return below
    if child.number in q.masked:
        return below
    if child.rule is not None:
        return child.rule(q)
    return Cursor(child, below)


def cursor_items(q: Query, value: Any) -> Iterable[tuple[Value, Any]]:
    """The members of what may be a `Cursor`: those of base data first, then those of rules, each in order."""
    if value.__class__ is not Cursor or value.node.number in q.masked:
        return items(q, value if value.__class__ is not Cursor else value.base)
    node, base = value.node, value.base
    known(base)
    names: list[Value] = [key for key, _ in sorted_items(base)] if base.__class__ is dict else []
    rules = [key for key, child in node.children.items() if not child.is_function and step(q, base, thaw(key)) is U]
    names += sort(list(map(thaw, rules)))
    q.run.charge(len(names))
    found = ((name, cursor_step(q, value, name)) for name in names)
    return [(name, item) for name, item in found if item is not U]


# ---- references


def step(q: Query, value: Value, key: Value) -> Value:
    """`value[key]`, or undefined."""
    cls = value.__class__
    if cls is dict:
        return value.get(key if key.__class__ is str else frozen(q, key), U)
    if cls is list:
        if key.__class__ is not int:
            known(key)
            if key.__class__ is not float and key.__class__ is not Number:
                return U
            key = int(key) if 0 <= key < len(value) and key == int(key) else -1
        return value[key] if 0 <= key < len(value) else U
    if cls is Set:
        return key if frozen(q, key) in value.members else U
    known(value)
    return U


def base_step(q: Query, value: Value, key: Value) -> Value:
    """`value[key]` in base data. OPA's store turns a number in a path into text: `data.x[2]` finds the key "2"."""
    found = step(q, value, key)
    if found is U and value.__class__ is dict and key.__class__ is int:
        return value.get(str(key), U)
    return found


def _in_slices(run: Run, values: list[Any]) -> Iterable[Any]:
    """A long list to loop over, charged as the loop goes: what it does at each member may be slow."""
    return chain.from_iterable(_slices(run, values))


def _slices(run: Run, values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), LONG):
        run.charge(LONG)
        yield values[start : start + LONG]


def _loop(run: Run, values: list[Any]) -> Iterable[Any]:
    """A list to loop over. Work is charged here, by length: a counter in each iteration would double its cost."""
    if len(values) > LONG:
        return _in_slices(run, values)
    run.charge(len(values))
    return values


def items(q: Query, value: Value) -> Iterable[tuple[Value, Value]]:
    """(key, member) of a collection in Rego's order; nothing of anything else."""
    cls = value.__class__
    if cls is list:
        return enumerate(_loop(q.run, value))
    if cls is dict:
        return _loop(q.run, sorted_items(value, q.charge))
    if cls is Set:
        return _loop(q.run, [(member, member) for member in value.sorted(q.charge)])
    known(value)
    return ()


def members(q: Query, value: Value) -> Iterable[Value]:
    """The members of a collection in Rego's order; nothing of anything else."""
    cls = value.__class__
    if cls is list:
        return _loop(q.run, value)
    if cls is dict:
        return _loop(q.run, [item for _, item in sorted_items(value, q.charge)])
    if cls is Set:
        return _loop(q.run, value.sorted(q.charge))
    known(value)
    return ()


def domain(q: Query, value: Value) -> Iterable[tuple[Value, Value]] | None:
    """What `every` ranges over; None for what is no collection."""
    cls = value.__class__
    if cls is list or cls is dict or cls is Set:
        return items(q, value)
    known(value)
    return None


# ---- conditions


def falsy(value: Any) -> bool:
    """Whether a condition fails: on undefined and false, and on nothing else."""
    if value is U or value is False:
        return True
    known(value)
    return False


def known(value: Any) -> None:
    """Refuse what is no Rego value. Undefined passes."""
    cls = value.__class__
    if (cls not in RANK and value is not U) or (cls is float and value != value):
        foreign(value)


def differs(q: Query, a: Any, b: Any) -> bool:
    """Whether two sides of `=` are not equal; undefined equals nothing."""
    if a is U or b is U:
        known(a)
        known(b)
        return True
    return not equal(a, b, q.charge)


def order(q: Query, a: Value, b: Value) -> int:
    """-1, 0 or 1 in Rego's order."""
    return compare(a, b, q.charge)


def frozen(q: Query, value: Value) -> object:
    """A value as an object's key or a set's member."""
    return value if value.__class__ is str else freeze(value, q.charge)


# ---- collections


def new_set(q: Query, *values: Value) -> Set:
    return Set.of(dict.fromkeys([frozen(q, value) for value in values]))


def put_pair(q: Query, target: dict[Any, Value], key: Value, value: Value, loc: Location) -> None:
    """Add to an object comprehension; another value for a key is a conflict."""
    place = frozen(q, key)
    old = target.get(place, U)
    if old is not U and not equal(old, value, q.charge):
        raise PolicyError(EVAL_CONFLICT_ERROR, "object keys must be unique", loc)
    target[place] = value


class Partial(dict[Any, Any]):
    """An object that rules are building; unlike a plain dict it may still grow."""

    __slots__ = ()


class PartialSet(dict[Any, None]):
    """The members of a set that rules are building."""

    __slots__ = ()


def put_path(q: Query, root: Partial, keys: tuple[Value, ...], value: Value, loc: Location) -> None:
    """Define what is at a path of a partial object."""
    target = _descend(q, root, keys[:-1], loc)
    key = frozen(q, keys[-1])
    old = target.get(key, U)
    if old is not U and (old.__class__ is Partial or old.__class__ is PartialSet or not equal(old, value, q.charge)):
        raise PolicyError(EVAL_CONFLICT_ERROR, "object keys must be unique", loc)
    target.setdefault(key, value)  # of two equal numbers the first one's text stays


def put_member(q: Query, root: Partial, keys: tuple[Value, ...], value: Value, loc: Location) -> None:
    """Add a member to the set at a path of a partial object."""
    target = _descend(q, root, keys[:-1], loc)
    members_ = target.setdefault(frozen(q, keys[-1]), PartialSet())
    if members_.__class__ is not PartialSet:
        raise PolicyError(EVAL_CONFLICT_ERROR, "object keys must be unique", loc)
    members_.setdefault(frozen(q, value))


def _descend(q: Query, target: Any, keys: Iterable[Value], loc: Location) -> Any:
    for key in keys:
        target = target.setdefault(frozen(q, key), Partial())
        if target.__class__ is not Partial:
            raise PolicyError(EVAL_CONFLICT_ERROR, "object keys must be unique", loc)
    return target


def finish(value: Any) -> Value:
    """A partial object as a value."""
    if value.__class__ is Partial:
        return {key: finish(item) for key, item in value.items()}
    if value.__class__ is PartialSet:
        return Set.of(dict(value))
    return value


def agree(q: Query, old: Any, new: Value, loc: Location, text: str) -> Value:
    """The one value of a complete rule or function; two different ones are a conflict."""
    if old is not NC and not equal(old, new, q.charge):
        raise PolicyError(EVAL_CONFLICT_ERROR, text, loc)
    return new if old is NC else old


# ---- `with` on functions


def constant(value: Value) -> Callable[..., Value]:
    """A function that a plain value stands for."""
    return lambda q, *args: value


def redirect(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that another one stands for; inside of that one no function is replaced."""

    def call(q: Query, *args: Value) -> Any:
        return function(q.unmocked(), *args)

    return call


def adapt(function: Callable[..., Any], context: bool) -> Callable[..., Any]:
    """A builtin with the calling convention of a rule's function."""
    if context:
        return lambda q, *args: function(q.run, *args)
    return lambda q, *args: function(*args)


EXPORTED: Final[dict[str, Any]] = {
    "BuiltinError": BuiltinError,
    "NC": NC,
    "Partial": Partial,
    "Set": Set,
    "U": U,
    "agree": agree,
    "bad_path": bad_path,
    "base_at": base_at,
    "base_step": base_step,
    "constant": constant,
    "cursor": cursor,
    "cursor_items": cursor_items,
    "cursor_step": cursor_step,
    "dict": dict,
    "differs": differs,
    "domain": domain,
    "extent": extent,
    "falsy": falsy,
    "finish": finish,
    "frozen": frozen,
    "full": full,
    "items": items,
    "known": known,
    "len": len,
    "list": list,
    "members": members,
    "new_set": new_set,
    "order": order,
    "put_member": put_member,
    "put_pair": put_pair,
    "put_path": put_path,
    "redirect": redirect,
    "step": step,
    "int": int,
    "str": str,
}
