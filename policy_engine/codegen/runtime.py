"""The functions that generated code uses for documents, references, conditions and collections.

Values follow `policy_engine.values`; `U` is `UNDEFINED`, `NC` marks a memo slot that is not computed yet. The
state of a decision is in `context`; all names that generated code may use are in `namespace`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final

from policy_engine.codegen.context import (
    DATA,
    LEFT,
    MASKED,
    NC,
    ROOT,
    DataNode,
    Query,
    U,
    charge,
    charging,
    unmocked,
)
from policy_engine.codegen.overlays import (
    LONG,
    base_at,
    copied,
    known,
    with_stored,
)
from policy_engine.errors import EVAL_CONFLICT_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.values import (
    Number,
    Set,
    Value,
    compare,
    equal,
    freeze,
    number_text,
    sort,
    sorted_items,
    thaw,
)

PLAIN: Final = frozenset({str, int, bool, type(None)})
"""Classes whose values compare with each other in Python as they do in Rego."""

STRINGS: Final = frozenset({str})


class Cursor:
    """A document of rules and base data that has not been put together yet."""

    __slots__ = ("base", "node")

    def __init__(self, node: DataNode, base: Value) -> None:
        self.node = node
        self.base = base


def by_beginning(table: dict[str, Any], text: str, lengths: tuple[int, ...], rest: Any) -> Any:
    """The entry of a table for the longest string that a text begins with. `lengths` are those of its strings."""
    for length in lengths:
        found = table.get(text[:length])
        if found is not None:
            return found
    return rest


# ---- documents


def extent(q: Query, node: DataNode) -> Value:
    """The whole document at a place where rules are."""
    return together(q, node, base_at(q[DATA], node.path))


def full(q: Query, value: Any) -> Value:
    """The whole document of what may be a `Cursor`."""
    return together(q, value.node, value.base) if value.__class__ is Cursor else value


def together(q: Query, node: DataNode, base: Value) -> Value:
    """The documents of rules at a place and below it, put over the base document there."""
    return base if node.number in q[MASKED] else _overlaid(q, node, with_stored(q, base, node.path))


def _overlaid(q: Query, node: DataNode, base: Value) -> Value:
    """The same for a part of a larger document.

    Rules that a `with` hides leave their packages behind, as in OPA: objects, empty if there is nothing else in them.
    """
    if node.rule is not None:
        return base if node.number in q[MASKED] else node.rule(q)
    if base is U:
        base = {}
    elif base.__class__ is not dict:
        return base
    result = copied(q, base)
    if len(node.children) > LONG:
        charge(q, len(node.children))
    for name, child in node.children.items():
        if child.is_function:
            continue
        document = _overlaid(q, child, base.get(name, U))
        if document is not U:
            result[name] = document
    return result


def cursor(q: Query, node: DataNode) -> Cursor:
    return Cursor(node, base_at(q[DATA], node.path))


def cursor_step(q: Query, value: Any, key: Value) -> Any:
    """One member of what may be a `Cursor`."""
    if value.__class__ is not Cursor:
        return step(q, value, key)
    node, base = value.node, value.base
    if node.number in q[MASKED]:
        return step(q, base, key)
    below = step(q, base, key)
    child = node.children.get(frozen(q, key))
    if child is None or child.is_function:
        return below
    if child.number in q[MASKED]:
        return below
    if child.rule is not None:
        return child.rule(q)
    return Cursor(child, below)


def cursor_items(q: Query, value: Any) -> Iterable[tuple[Value, Any]]:
    """The members of what may be a `Cursor`: those of base data first, then those of rules, each in order."""
    if value.__class__ is not Cursor or value.node.number in q[MASKED]:
        return items(q, value if value.__class__ is not Cursor else value.base)
    node, base = value.node, value.base
    known(base)
    names: list[Value] = [key for key, _ in sorted_items(base)] if base.__class__ is dict else []
    rules = [key for key, child in node.children.items() if not child.is_function and step(q, base, thaw(key)) is U]
    names += sort(list(map(thaw, rules)))
    charge(q, len(names))
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
            if key.__class__ is str:
                return U
            known(key)
            if key.__class__ is not float and (key.__class__ is not Number or not _IS_POSITION(key.text)):
                return U  # in OPA `1.0` is a position, but `1e0` is not, nor is one with more than 18 digits
            key = int(key) if 0 <= key < len(value) and key == int(key) else -1
        return value[key] if 0 <= key < len(value) else U
    if cls is str or value is U:
        return U
    if cls is Set:
        return key if frozen(q, key) in value.members else U
    known(value)
    return U


_IS_POSITION: Final = re.compile(r"-?[0-9.]{1,19}").fullmatch


def base_step(q: Query, value: Value, key: Value) -> Value:
    """`value[key]` in base data. As in OPA's store `data.o[2]` finds the key "2", and `data.xs["2"]` the position 2."""
    found = step(q, value, key)
    if found is U:
        if value.__class__ is dict and key.__class__ in _NUMBERS:
            return value.get(number_text(key), U)
        if value.__class__ is list and key.__class__ is str and (position := _POSITION.fullmatch(key)):
            return step(q, value, int(position[1]))
    return found


_NUMBERS: Final = (int, float, Number)
_POSITION: Final = re.compile(r"(?=[+-]?[0-9.]{1,19}$)([+-]?[0-9]{1,18})(?:\.0*)?")


def _loop(q: Query, values: list[Any]) -> Iterable[Any]:
    """A list to loop over. Work is charged here, by length: a counter in each iteration would double its cost.

    A long list is charged in slices while the loop runs: the work at each member may be slow.
    """
    if len(values) > LONG:
        return chain.from_iterable(_slices(q, values))
    charge(q, len(values))
    return values


def _slices(q: Query, values: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(values), LONG):
        charge(q, LONG)
        yield values[start : start + LONG]


def items(q: Query, value: Value) -> Iterable[tuple[Value, Value]]:
    """(key, member) of a collection in Rego's order; nothing of anything else."""
    cls = value.__class__
    if cls is list:
        return enumerate(_loop(q, value))
    if cls is dict:
        return _loop(q, sorted_items(value, charging(q)))
    if cls is Set:
        return _loop(q, [(member, member) for member in value.sorted(charging(q))])
    known(value)
    return ()


def members(q: Query, value: Value) -> Iterable[Value]:
    """The members of a collection in Rego's order; nothing of anything else."""
    cls = value.__class__
    if cls is list and len(value) <= LONG:
        # `_loop` and `charge` in place, because most loops are over a short list.
        root = q[ROOT] or q
        left = root[LEFT] - len(value)
        if left >= 0:
            root[LEFT] = left
            return value  # type: ignore[no-any-return]
    if cls is list:
        return _loop(q, value)
    if cls is dict:
        return _loop(q, [item for _, item in sorted_items(value, charging(q))])
    if cls is Set:
        return _loop(q, value.sorted(charging(q)))
    known(value)
    return ()


def member(q: Query, item: Value, collection: Value) -> bool:
    """`item in collection`."""
    cls = collection.__class__
    if cls is Set:
        return frozen(q, item) in collection.members
    if cls is list:
        values = collection
    elif cls is dict:
        values = list(collection.values())
    else:
        known(collection)
        return False
    charge(q, len(values))
    if item.__class__ is str and {*map(type, values)} <= STRINGS:
        return item in values
    pay = charging(q)
    return any(equal(item, value, pay) for value in values)


def is_collection(value: Value) -> bool:
    """True if `every` can range over a value."""
    cls = value.__class__
    if cls is list or cls is dict or cls is Set:
        return True
    known(value)
    return False


# ---- conditions


def falsy(value: Any) -> bool:
    """True if a condition fails: only undefined and false do."""
    if value is U or value is False:
        return True
    known(value)
    return False


def differs(q: Query, a: Any, b: Any) -> bool:
    """True if the two sides of `=` differ; undefined equals nothing."""
    cls = a.__class__
    if cls is b.__class__ and cls in PLAIN:
        return bool(a != b)
    if a is U or b is U:
        known(a)
        known(b)
        return True
    return not equal(a, b, charging(q))


def order(q: Query, a: Value, b: Value) -> int:
    """-1, 0 or 1 in Rego's order."""
    return compare(a, b, charging(q))


def frozen(q: Query, value: Value) -> object:
    """A value as an object's key or a set's member."""
    return value if value.__class__ is str else freeze(value, charging(q))


# ---- collections


def new_set(q: Query, *values: Value) -> Set:
    return Set.of(dict.fromkeys([frozen(q, value) for value in values]))


def put_pair(q: Query, target: dict[Any, Value], key: Value, value: Value, loc: Location) -> None:
    """Add a pair to the object of a comprehension. A second value for a key is a conflict."""
    place = frozen(q, key)
    old = target.get(place, U)
    if old is not U and differs(q, old, value):
        raise PolicyError(EVAL_CONFLICT_ERROR, "object keys must be unique", loc)
    target[place] = value


class Partial(dict[Any, Any]):
    """An object that rules are building. A plain dict in it is a value, which cannot grow."""

    __slots__ = ()


class PartialSet(dict[Any, None]):
    """The members of a set that rules are building."""

    __slots__ = ()


def put_path(q: Query, root: Partial, keys: tuple[Value, ...], value: Value, loc: Location) -> None:
    """Define the value at a path of a partial object."""
    target = _descend(q, root, keys[:-1], loc)
    key = frozen(q, keys[-1])
    old = target.get(key, U)
    if old is not U and (old.__class__ is Partial or old.__class__ is PartialSet or differs(q, old, value)):
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
    if old is not NC and differs(q, old, new):
        raise PolicyError(EVAL_CONFLICT_ERROR, text, loc)
    return new if old is NC else old


# ---- `with` on functions


def constant(value: Value) -> Callable[..., Value]:
    """The function in whose place `with f as value` puts a value."""
    return lambda q, *args: value


def document(node: DataNode) -> Callable[..., Value]:
    """The function in whose place `with f as data.document` puts a document, evaluated where the function is called."""
    return lambda q, *args: extent(q, node)


def redirect(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function in whose place `with f as g` puts another one, inside of which no function is replaced."""

    def call(q: Query, *args: Value) -> Any:
        return function(unmocked(q), *args)

    return call
