"""Join indexes: the members of a collection that can satisfy the equalities after a loop, found by one look-up.

    some g in data.grants; g.user == input.user; g.action == input.action

is a search through all grants. A table from (user, action) to the grants that have them makes it a look-up. `lookahead`
finds the equalities when code is written; the functions here run.

A table leaves out only members that the equalities would refuse. The equalities are checked all the same, so a loop
over the whole collection is always right too. Nothing between the loop and an equality can fail with an error, so no
error is missed. A table over base data is made when it is first needed, and kept as long as the data
(`context.INDEXES`). No decision is charged for it: making it takes a time that the length of the data bounds, like
loading the data, and a decision must not be charged for what the next one finds. If the decision's time ends before the
table is made, the next one goes on with it. A table over another collection is made only where the loop may run many
times, for one context, and is charged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any, Final

from policy_engine.codegen.context import INDEXES, LEFT, NC, ROOT, Query, Run, U, charge, run_of, unlimited
from policy_engine.codegen.runtime import PLAIN, base_step, frozen, items, member, members
from policy_engine.errors import EVAL_CANCEL_ERROR, PolicyError
from policy_engine.values import CONTAINERS, Set, Value, sorted_items

FEWEST = 16
"""The fewest members of a collection that is worth a table."""

SHORT = 4096
"""The most members of a collection in base data whose table is made at once, and not at the second search."""

MOST: Final = 4096
"""The most collections of which one loop keeps tables for one context."""

CHUNK: Final = 4096
"""Members that are put into a table between two looks at the clock."""

MOST_UNCHARGED: Final = 16
"""The most members of a collection that a loop in an entry visits without a charge (see entry.py)."""

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
        found = None if wanted is None else matching(q, collection, equalities, slot, wanted)
        if found is not None:
            root = q[ROOT] or q
            root[LEFT] -= 1 + len(found)
            if root[LEFT] < 0:
                charge(q, 0)
            return found
    return items(q, collection) if equalities[2] else members(q, collection)


def listed(q: Query, item: Value, collection: Value) -> bool:
    """`item in collection`, where the collection is base data."""
    if collection.__class__ is list and len(collection) >= FEWEST and item.__class__ not in CONTAINERS:
        if (members_ := table(q, collection, LISTED)) is not None:
            return frozen(q, item) in members_
        if q[INDEXES] is not None:
            return member(unlimited(q), item, collection)
    return member(q, item, collection)


LISTED: Final[Join] = ("listed", ((),), False)
"""The equality of a member itself."""


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
"""The number of evaluations of a comprehension before it gets a table."""


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


def local_table(q: Query, collection: Value, equalities: Join, slot: int) -> Table | None:
    """The table of a collection that is no base data, made at the second loop over it; None at the first."""
    kept: dict[int, tuple[Value, Table | None]] = q[slot]
    if kept is NC:  # type: ignore[comparison-overlap]
        kept = q[slot] = {}
    known = kept.get(id(collection))
    if known is None or known[0] is not collection:
        # Making a table costs more than one loop, and many collections are looped over once only.
        if len(kept) >= MOST:
            kept.clear()
        kept[id(collection)] = (collection, None)
        return None
    made = known[1]
    if made is None:
        made = {}
        _fill(q, made, items(q, collection) if equalities[2] else members(q, collection), equalities)
        kept[id(collection)] = (collection, made)
    return made


def matching(
    q: Query, collection: Value, equalities: Join, slot: int, wanted: tuple[object, ...]
) -> Sequence[Any] | None:
    """The members, or pairs, of a collection whose fields are `wanted`; None if a loop has to look at all of them."""
    known = local_table(q, collection, equalities, slot) if slot else table(q, collection, equalities)
    if known is not None:
        return known.get(wanted, ())
    return None if slot or q[INDEXES] is None else _searched(q, collection, equalities, wanted)


def _searched(q: Query, collection: Value, equalities: Join, wanted: tuple[object, ...]) -> list[Any]:
    """The members, or pairs, of a collection in base data whose fields are `wanted`."""
    _, fields, pairs = equalities
    run, free, found = run_of(q), unlimited(q), []
    name, text = fields[0][0] if len(fields[0]) == 1 else None, wanted[0]
    simple = name.__class__ is str and text.__class__ is str
    rows = iter(_rows(run, collection, equalities))
    while chunk := list(islice(rows, CHUNK)):
        if simple and pairs:
            chunk = [pair for pair in chunk if pair[1].__class__ is not dict or pair[1].get(name) == text]
        elif simple:
            chunk = [row for row in chunk if row.__class__ is not dict or row.get(name) == text]
        for row in chunk:
            value = row[1] if pairs else row
            if tuple([_field(free, value, field) for field in fields]) == wanted:
                found.append(row)
        run.look_at_clock()
    return found


def table(q: Query, collection: Value, equalities: Join) -> Table | None:
    """The table of a collection in base data, made now if there is none.

    None where some `with` replaces data, and if the collection is long and asked for for the first time: making a table
    takes longer than a search, and the first decision over new data has to answer soon.
    """
    indexes = q[INDEXES]
    if indexes is None:
        return None
    tables = indexes.get(equalities[0])
    if tables is None:
        tables = indexes.setdefault(equalities[0], {})
    known = tables.get(id(collection))
    if known is None and len(collection) > SHORT:
        tables[id(collection)] = collection, None
        return None
    if known is None or known[1] is None:
        known = tables[id(collection)] = collection, _made(q, collection, equalities, tables)
    found: Table = known[1]
    return found


def _made(q: Query, collection: Value, equalities: Join, tables: dict[Any, Any]) -> Table:
    """A new table, or the rest of one whose making has been interrupted."""
    run, place = run_of(q), ("begun", id(collection))
    begun = tables.pop(place, None)
    if begun is None:
        begun = iter(_rows(run, collection, equalities)), {}, collection
    rows, made, _ = begun
    free = unlimited(q)
    while chunk := list(islice(rows, CHUNK)):
        _fill(free, made, chunk, equalities)
        try:
            run.look_at_clock()
        except PolicyError:
            tables[place] = begun
            raise
    return made  # type: ignore[no-any-return]


def _rows(run: Run, collection: Value, equalities: Join) -> Iterable[Any]:
    """The members of a collection, or pairs, in Rego's order. Sorting them takes nothing but time."""

    def look(_: int) -> None:
        run.look_at_clock()

    cls = collection.__class__
    pairs = equalities[2]
    if cls is list:
        return enumerate(collection) if pairs else collection
    if cls is dict:
        found = sorted_items(collection, look)
        return found if pairs else [value for _, value in found]
    ordered: list[Value] = collection.sorted(look)
    return [(member_, member_) for member_ in ordered] if pairs else ordered


def _fill(q: Query, table: Table, rows: Iterable[Any], equalities: Join) -> None:
    """Add members, or pairs, to a table."""
    _, fields, pairs = equalities
    names = [field[0] for field in fields if len(field) == 1]
    if equalities is LISTED:
        table.update({frozen(q, item): [] for item in rows if item.__class__ not in CONTAINERS})
    elif not pairs and len(names) == len(fields):
        _of_rows(q, table, rows, names)
    else:
        for row in rows:
            value = row[1] if pairs else row
            key = tuple([_field(q, value, field) for field in fields])
            if U not in key:
                table.setdefault(key, []).append(row)


def _of_rows(q: Query, table: Table, rows: Iterable[Value], names: list[str | int]) -> None:
    """Add members whose fields have one name each. Most are objects whose members are strings."""
    # With one name alone, `itemgetter` would give the member, not a tuple.
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
    short = collection.__class__ in CONTAINERS and FEWEST <= len(collection) <= SHORT  # type: ignore[arg-type]
    return [table([U, *begun], collection, join) if short else None]


def joined_late(q: Query, collection: Value, equalities: Join, keys: tuple[Value, ...], cell: Cell) -> Iterable[Any]:
    """`joined` over base data for an entry whose cell is empty, or whose keys are not all strings."""
    if collection.__class__ not in CONTAINERS or len(collection) < FEWEST or (wanted := _frozen(q, keys)) is None:  # type: ignore[arg-type]
        return items(q, collection) if equalities[2] else members(q, collection)
    if wanted is U:
        return ()
    found = matching(q, collection, equalities, 0, wanted)
    assert found is not None
    cell[0] = _known(q, collection, equalities)
    return found if len(found) <= MOST_UNCHARGED else members(q, found)


def listed_late(q: Query, item: Value, collection: Value, cell: Cell) -> bool:
    """`listed` for an entry whose cell is empty, or whose item is no string."""
    found = listed(q, item, collection)
    cell[0] = cell[0] or _known(q, collection, LISTED)
    return found


def _known(q: Query, collection: Value, equalities: Join) -> Table | None:
    """The table of a collection in base data, if there is one."""
    known = q[INDEXES].get(equalities[0], {}).get(id(collection))
    return None if known is None else known[1]
