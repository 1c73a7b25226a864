"""Join indexes: the members of a collection that can satisfy the equalities after a loop, found by one look-up.

    some g in data.grants; g.user == input.user; g.action == input.action

is a search through all grants. A table from (user, action) to the grants that have them makes it a look-up. `lookahead`
finds the equalities when code is written; the functions here run.

A table leaves out only members that the equalities would refuse. The equalities are checked all the same, so a loop
over the whole collection is always right too. Nothing between the loop and an equality can fail with an error, so no
error is missed. A table over base data is made when it is first needed, and kept as long as the data
(`context.INDEXES`). One over another collection is made only where the loop may run many times, for one context.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from typing import Any, Final

from policy_engine.codegen.context import INDEXES, LEFT, NC, ROOT, Query, U, charge
from policy_engine.codegen.runtime import PLAIN, base_step, frozen, items, member, members
from policy_engine.errors import EVAL_CANCEL_ERROR, PolicyError
from policy_engine.values import CONTAINERS, Set, Value

FEWEST = 16
"""The fewest members of a collection that is worth a table."""

SEARCHED = 4096
"""A longer collection in base data is searched without a table the first time."""

MOST: Final = 4096
"""The most collections of which one loop keeps tables."""

Field = tuple[str | int, ...]
"""A path from a member to what is compared."""


Join = tuple[str, tuple[Field, ...], bool]
"""One loop's equalities: a text that stands for them, which is quickly looked up; the fields of members that are
compared; and whether the loop is over (key, member) pairs.
"""

Groups = dict[Any, Any]
"""The collections of a comprehension by the values of its outer variables, frozen."""

Table = dict[object, list[Any]]
"""The members (or pairs) in order, by the frozen values of their fields. Members that lack a field are left out."""

Cell = list[Any]
"""The place where an entry (see entry.py) finds a table, once there is one."""


def join(fields: tuple[Field, ...], pairs: bool) -> Join:
    return repr((fields, pairs)), fields, pairs


def joined(q: Query, collection: Value, equalities: Join, slot: int, keys: tuple[Value, ...]) -> Iterable[Any]:
    """The members (or pairs) in order, without those whose fields differ from `keys`.

    `slot` is the place in a context for its tables, 0 for tables over base data, which live as long as the data.
    """
    if collection.__class__ in CONTAINERS and len(collection) >= FEWEST:  # type: ignore[arg-type]
        wanted = _frozen(q, keys)
        if wanted is U:
            return ()
        if wanted is not None and (known := table(q, collection, equalities, slot)) is not None:
            found = known.get(wanted, ())
            root = q[ROOT] or q
            root[LEFT] -= 1 + len(found)
            if root[LEFT] < 0:
                charge(q, 0)
            return found
    return items(q, collection) if equalities[2] else members(q, collection)


def listed(q: Query, item: Value, collection: Value) -> bool:
    """`item in collection`, where the collection is base data."""
    if collection.__class__ is list and len(collection) >= FEWEST and item.__class__ not in CONTAINERS:
        members_ = table(q, collection, LISTED, 0)
        if members_ is not None:
            return frozen(q, item) in members_
    return member(q, item, collection)


LISTED: Final[Join] = ("listed", ((),), False)
"""The equality of a member itself."""


def kept(indexes: dict[Any, Any] | None, place: Any) -> dict[object, Value]:
    """The parts of a fixed document that lookups have found, by their keys: kept with the data if possible."""
    if indexes is None:
        return {}
    found: dict[object, Value] = indexes.setdefault(place, {})
    if len(found) > MOST:
        found.clear()
    return found


def grouped(q: Query, slot: int, fill: Callable[[], Groups]) -> Groups | None:
    """The table of a comprehension in a loop, made by `fill` (see `tables`); None if its body has to run as it is.

    `slot` is the place in a context for the table, or for the number of times that it has been asked for until then. An
    error of `fill` may come from values that nobody asks for. Then there is no table: the body raises the error if it
    comes from the values that are asked for.
    """
    state = q[slot]
    if state is None or state.__class__ is dict:
        found: Groups | None = state
        return found
    times = 1 if state is NC else state + 1
    if times < ASKED:
        q[slot] = times
        return None
    q[slot] = None
    try:
        q[slot] = fill()
    except PolicyError as error:
        if error.code == EVAL_CANCEL_ERROR:
            raise
    table: Groups | None = q[slot]
    return table


ASKED: Final = 8
"""How many times a comprehension is asked for before it gets a table."""


def _frozen(q: Query, keys: tuple[Value, ...]) -> Any:
    """The key of a table; undefined if one of `keys` is undefined, None if one is a container: no table has those."""
    for key in keys:
        if key.__class__ is not str:
            break
    else:
        return keys
    if any(key.__class__ in CONTAINERS for key in keys):
        return None
    return U if U in keys else tuple([frozen(q, key) for key in keys])


def table(q: Query, collection: Value, equalities: Join, slot: int) -> Table | None:
    """The table of a collection, made now if that is worth it; None if there is none yet."""
    kept: dict[int, tuple[Value, Table | None]]
    if not slot:
        indexes = q[INDEXES]
        if indexes is None:
            return None
        kept = indexes.get(equalities[0])
        if kept is None:
            kept = indexes.setdefault(equalities[0], {})
    else:
        kept = q[slot]
        if kept is NC:  # type: ignore[comparison-overlap]
            kept = q[slot] = {}
    known = kept.get(id(collection))
    if known is not None and known[0] is collection and known[1] is not None:
        return known[1] or None
    if len(kept) >= MOST:
        kept.clear()
    # Making a table costs more than one loop, and many collections are looped over once only. The first decision over
    # new data has to answer soon, so a long collection in it is searched once as it is, too.
    first = known is None or known[0] is not collection
    if first and (slot or len(collection) > SEARCHED):
        kept[id(collection)] = (collection, None)
        return None
    # If the decision's time ends before the table is made, the next decision must not try again.
    kept[id(collection)] = (collection, {})
    made = _make(q, collection, equalities)
    kept[id(collection)] = (collection, made)
    return made


def _make(q: Query, collection: Value, equalities: Join) -> Table:
    _, fields, pairs = equalities
    names = [field[0] for field in fields if len(field) == 1]
    if equalities is LISTED:
        return {frozen(q, item): [] for item in members(q, collection) if item.__class__ not in CONTAINERS}
    if not pairs and collection.__class__ is list and len(names) == len(fields):
        return _of_rows(q, collection, names)
    table: Table = {}
    for pair in items(q, collection):
        key = tuple([_field(q, pair[1], field) for field in fields])
        if U not in key:
            table.setdefault(key, []).append(pair if pairs else pair[1])
    return table


def _of_rows(q: Query, rows: list[Value], names: list[str | int]) -> Table:
    """The table of a list. Most are lists of objects whose members are strings."""
    charge(q, len(rows))
    table: Table = {}
    # Of one name alone `itemgetter` would give the member, not a tuple.
    members_of = itemgetter(names[0], *names)
    for row in rows:
        try:
            key = members_of(row)[1:] if row.__class__ is dict else ()
        except KeyError:
            key = ()
        for member_ in key:
            if member_.__class__ is not str:
                key = ()
                break
        if not key:
            key = tuple([_field(q, row, (name,)) for name in names])
            if U in key:
                continue
        found = table.get(key)
        if found is None:
            table[key] = [row]
        else:
            found.append(row)
    return table


def _field(q: Query, value: Value, path: Field) -> object:
    for name in path:
        value = base_step(q, value, name)  # outside of base data it may find too much, which the equality refuses
    # A key that is looked up is never a container.
    return U if value is U or value.__class__ in CONTAINERS else frozen(q, value)


# ---- cells


def texts(collection: Value) -> Cell:
    """A cell for the strings in a collection of base data. It is filled now if the members are few, and all scalars."""
    cls = collection.__class__
    if cls is dict:
        collection = list(collection.values())
    elif cls is Set:
        collection = collection.sorted() if len(collection) <= MOST_TEXTS else ()
    few = collection.__class__ is list and len(collection) <= MOST_TEXTS
    if not few or not all(item.__class__ in PLAIN for item in collection):
        return [None]
    return [frozenset([item for item in collection if item.__class__ is str])]


MOST_TEXTS: Final = 4096
"""The most members of a collection in base data that are put into a set before the first decision."""


def tabled(begun: list[Any], collection: Value, join: Join) -> Cell:
    """A cell for the table of a collection in base data. It is filled now if the collection is short."""
    short = collection.__class__ in CONTAINERS and FEWEST <= len(collection) <= SEARCHED  # type: ignore[arg-type]
    return [table([U, *begun], collection, join, 0) if short else None]


def joined_late(q: Query, collection: Value, equalities: Join, keys: tuple[Value, ...], cell: Cell) -> Iterable[Any]:
    """`joined` over base data for an entry whose cell is empty, or whose keys are not all strings."""
    found = joined(q, collection, equalities, 0, keys)
    cell[0] = made(q[INDEXES], collection, equalities)
    return found


def listed_late(q: Query, item: Value, collection: Value, cell: Cell) -> bool:
    """`listed` for an entry whose cell is empty, or whose item is no string."""
    found = listed(q, item, collection)
    cell[0] = cell[0] or made(q[INDEXES], collection, LISTED)
    return found


def made(indexes: dict[Any, Any], collection: Value, equalities: Join) -> Table | None:
    """The table of a collection in base data, if there is one."""
    known = indexes.get(equalities[0], {}).get(id(collection))
    return known[1] or None if known is not None and known[0] is collection else None
