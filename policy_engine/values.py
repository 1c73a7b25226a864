"""Rego values as Python objects, and the laws they obey: equality, order, text.

The classes of values:

    null, boolean, string    None, bool, str
    number                   int (exact), float (its text is the shortest that reads back), Number (a float whose text
                             says more than the float: `1.50`, `1e2`, 64-bit mantissas such as 0.33333333333333333334)
    array, object            list, dict
    set                      Set

Objects are plain dicts. A key that is a string, number or null is itself; a key that is a boolean or a composite value
is wrapped in a `Key`, because Python holds `True == 1` and cannot hash lists. `freeze` and `thaw` go between the two
forms; `Set` stores its members the same way. Everything here treats containers as immutable.

`UNDEFINED` is not a value: it is what a reference or rule has when it has no value, and its truth must never be asked.
Any object of another class than those above raises `invalid_input` where it is touched: comparing it "not equal" would
let a `not` succeed (OPA's reference for order: docs/policy-reference, "Built-in comparison").
"""

from __future__ import annotations

import functools
import heapq
import json
import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from decimal import Decimal
from itertools import chain, islice, starmap
from typing import Any, Final, NoReturn

from policy_engine.errors import INVALID_INPUT, PolicyError
from policy_engine.unicode15 import is_printable

Value = Any
"""None | bool | int | float | str | list[Value] | dict[object, Value] | Set; mypy cannot say it."""


Charge = Callable[[int], None]
"""Takes steps from the budget of a decision. Raises `PolicyError` when it is used up."""


class Undefined:
    """The class of `UNDEFINED`."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise TypeError("undefined is neither true nor false; compare with `is UNDEFINED`")

    def __repr__(self) -> str:
        return "UNDEFINED"

    def __reduce__(self) -> str:
        return "UNDEFINED"


UNDEFINED: Final = Undefined()


class Number(float):
    """A JSON number whose text matters. Equal, ordered and hashed by its exact decimal value, not by its float."""

    __slots__ = ("text",)
    text: str

    def __new__(cls, text: str) -> Number:
        number = super().__new__(cls, text)
        number.text = text
        return number

    def __repr__(self) -> str:
        return self.text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, (int, float)) and not isinstance(other, bool):
            if isinstance(other, float) and not float.__eq__(self, other):
                return False  # quick: equal decimals are read as equal floats
            return exact(self) == exact(other)
        return NotImplemented

    def __ne__(self, other: object) -> bool:
        result = self.__eq__(other)
        return result if result is NotImplemented else not result

    def __lt__(self, other: float) -> bool:
        return exact(self) < exact(other)

    def __le__(self, other: float) -> bool:
        return exact(self) <= exact(other)

    def __gt__(self, other: float) -> bool:
        return exact(self) > exact(other)

    def __ge__(self, other: float) -> bool:
        return exact(self) >= exact(other)

    def __hash__(self) -> int:
        # Equal numbers must hash alike whichever class holds them: integral ones as int, the rest as float.
        value = exact(self)
        if value == value.to_integral_value():
            return hash(value)
        if value == Decimal(float.__repr__(self)):
            return float.__hash__(self)
        # Infinitely many decimals round to one float, so the decimal is hashed and not the float.
        sign, digits, power = value.as_tuple()
        text = "".join(map(str, digits))
        return hash((sign, text.rstrip("0"), int(power) + len(text) - len(text.rstrip("0"))))

    def __reduce__(self) -> tuple[type[Number], tuple[str]]:
        return Number, (self.text,)


def is_nan(value: Value) -> bool:
    """True for NaN, which is no Rego value although Python lets it into documents."""
    # Not `value != value`: a `Number` compares its decimals, and a long array its elements.
    return isinstance(value, float) and float.__ne__(value, value)


def exact(number: float) -> Decimal:
    """The decimal a number's text stands for. `number` is an int, a float or a `Number`."""
    if number.__class__ is Number:
        return Decimal(number.text)
    return Decimal(number) if number.__class__ is int else Decimal(float.__repr__(number))


def number_text(number: float) -> str:
    """A number as JSON text."""
    cls = number.__class__
    if cls is int:
        return int_text(number)  # type: ignore[arg-type]
    if cls is Number:
        return number.text  # type: ignore[attr-defined,no-any-return]
    return float.__repr__(number)


def int_text(number: int) -> str:
    """`str(number)` without CPython's limit of 4,300 digits."""
    try:
        return str(number)
    except ValueError:
        # Decimal has no such limit, and its conversion is not quadratic.
        return format(Decimal(number), "f")


def parse_number(text: str) -> int | float:
    """The value of a JSON number's text: int, float where its repr is the same text, `Number` otherwise.

    Raises `ValueError` for an exponent of 18 digits or more, which decimals do not have.
    """
    if text.lstrip("-").isdigit():
        try:
            return int(text) if text != "-0" else Number("-0")
        except ValueError:
            # Over 4,300 digits. Making an int of them is quadratic in CPython; the text says the same.
            return Number(text)
    value = float(text)
    if float.__repr__(value) == text:
        return value
    if len(text.lower().partition("e")[2].lstrip("+-0")) > 17:
        raise ValueError("number too big")
    return Number(text)


class Key:
    """An object key or set member that Python cannot hold as it is: a boolean, an array, an object or a set."""

    __slots__ = ("_hash", "value")

    def __init__(self, value: Value, charge: Charge | None = None) -> None:
        self.value = value
        walk = Walk(charge)
        self._hash = walk.hash(value)
        walk.settle()

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Key and equal(self.value, other.value)

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Key({self.value!r})"


TRUE_KEY: Final = Key.__new__(Key)
FALSE_KEY: Final = Key.__new__(Key)


def freeze(value: Value, charge: Charge | None = None) -> object:
    """`value` as an object key or set member. Hashing a large one is charged, if that is wanted."""
    cls = value.__class__
    if cls is str or cls is int or value is None:
        return value
    if value is True:
        return TRUE_KEY
    if value is False:
        return FALSE_KEY
    if cls is float:
        return _integral(value)
    if cls is Number:
        if charge is not None:
            charge(_decimal_steps(value))
        return value
    return Key(value, charge)


def _decimal_steps(number: Value) -> int:
    """Steps for reading a number's decimals, to compare or to hash them."""
    return 16 + len(number.text) // 16 if number.__class__ is Number else 0


def thaw(key: Any) -> Value:
    """The value that `freeze` made a key of."""
    return key.value if key.__class__ is Key else key


def _integral(value: float) -> float:
    # 1e23 the float is not 10**23, but 1e23 the JSON number is; beyond 2**53 only the text tells.
    if value != value:
        foreign(value)
    if -_EXACT <= value <= _EXACT or value in (float("inf"), float("-inf")):
        return value
    return Number(float.__repr__(value))


class Set:
    """A Rego set. Immutable for everybody but the code that builds it; iterates in Rego's order.

    `members` maps each member's frozen form to None: a dict, because of two equal members (`1.0` and `1`) the first
    one's text must stay, and its keys view gives the set algebra.
    """

    __slots__ = ("_price", "_sorted", "members")
    members: dict[object, None]

    def __init__(self, values: Iterable[Value] = ()) -> None:
        self.members = dict.fromkeys(map(freeze, values))
        self._sorted: list[Value] | None = None
        self._price: _Price | None = None

    @classmethod
    def of(cls, members: dict[object, None]) -> Set:
        """A set that owns `members`, which are frozen already."""
        new = cls.__new__(cls)
        new.members = members
        new._sorted = None
        new._price = None
        return new

    def sorted(self, charge: Charge | None = None) -> list[Value]:
        """The members in Rego's order. Shared: do not change it.

        A set may outlive a decision. Each decision that asks for the order pays the price of sorting once.
        """
        found = self._sorted
        if found is None:
            members = list(map(thaw, self.members))
            if len(members) <= _AT_ONCE and {*map(type, members)} in _PLAIN:
                members.sort()
            elif len(members) > 1:
                price = _Price(charge)
                members = sort(members, price)
                price.settle()
                if price.steps:
                    self._price = price
            self._sorted = found = members
        elif self._price is not None and charge is not None:
            _pay_once(charge, self._price, self._price.steps)
        return found

    def __iter__(self) -> Iterator[Value]:
        return iter(self.sorted())

    def __len__(self) -> int:
        return len(self.members)

    def __contains__(self, value: Value) -> bool:
        return freeze(value) in self.members

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Set and self.members.keys() == other.members.keys()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Set({self.sorted()!r})"


_PLAIN: Final[tuple[set[type], ...]] = (set(), {str}, {int})
"""The classes of members that Python sorts quickly, if they are not too many."""


class _Price:
    """The work of sorting a set, charged as it accrues; a nested set is charged once."""

    __slots__ = ("_charge", "_paid", "steps")

    def __init__(self, charge: Charge | None) -> None:
        self.steps = 0
        self._charge = charge
        self._paid: set[object] | None = None

    def __call__(self, steps: int) -> None:
        self.steps += steps
        if self._charge is not None:
            self._charge(steps)

    def charge_once(self, key: object, steps: int) -> None:
        if self._paid is None:
            self._paid = set()
        if key not in self._paid:
            self._paid.add(key)
            self(steps)

    def settle(self) -> None:
        """Sorting has ended, and the decision has paid for it."""
        charge, self._charge, self._paid = self._charge, None, None
        if charge is not None and self.steps:
            _pay_once(charge, self, 0)


def _pay_once(charge: Charge, price: object, steps: int) -> None:
    """Charge for a thing, once if `charge` belongs to what knows what was paid for."""
    once = getattr(getattr(charge, "__self__", charge), "charge_once", None)
    if once is None:
        charge(steps)
    else:
        once(price, steps)


TRUE_KEY.value, TRUE_KEY._hash = True, 3
FALSE_KEY.value, FALSE_KEY._hash = False, 2


RANK: Final[dict[type, int]] = {
    type(None): 0, bool: 1, int: 2, float: 2, Number: 2, str: 3, list: 4, dict: 5, Set: 6,
}  # fmt: skip
"""Rego's order of types. A class that is not here is not a Rego value."""

CONTAINERS: Final = frozenset({list, dict, Set})
"""The classes of values that hold others."""

TYPE_NAMES: Final = ("null", "boolean", "number", "string", "array", "object", "set")


def type_name(value: Value) -> str:
    """`null`, `boolean`, `number`, `string`, `array`, `object` or `set`."""
    rank = RANK.get(value.__class__)
    if rank is None or is_nan(value):
        foreign(value)
    return TYPE_NAMES[rank]


def foreign(value: object) -> NoReturn:
    """Refuse an object that is no Rego value. Never returns."""
    cls = value.__class__
    what = "NaN" if cls is float or cls is Number else f"an object of class `{cls.__module__}.{cls.__qualname__}`"
    raise PolicyError(
        INVALID_INPUT,
        f"{what} is not a JSON value",
        hint="give null, bool, int, float, str, list, dict or policy_engine.Set, and exactly those classes",
    )


def equal(a: Value, b: Value, charge: Charge | None = None) -> bool:
    """Rego's `==`: by value and type, so `1 == 1.0` but `true != 1`. See `Walk` for `charge`."""
    ca, cb = a.__class__, b.__class__
    if ca is str and cb is str:
        return a == b  # type: ignore[no-any-return]
    if ca is cb and ca in CONTAINERS:
        walk = Walk(charge)
        same = walk.equal(a, b)
        walk.settle()
        return same
    ra, rb = RANK.get(ca), RANK.get(cb)
    if ra is None:
        foreign(a)
    if rb is None:
        foreign(b)
    if ra != rb:
        if (ca is float and a != a) or (cb is float and b != b):
            foreign(a if ca is float and a != a else b)
        return False
    if ra == 2:
        if charge is not None and (ca is Number or cb is Number):
            charge(_decimal_steps(a) + _decimal_steps(b))
        return compare_numbers(a, b) == 0
    return a is b  # null or a boolean


_EXACT: Final = 9007199254740992.0
"""Integral floats below it are the integers their text says."""


def compare_numbers(a: float, b: float) -> int:
    """-1, 0 or 1. Exact: `9007199254740993` is not `9007199254740992.0`, nor a third the float next to it."""
    if (a.__class__ is float and a != a) or (b.__class__ is float and b != b):
        foreign(a if is_nan(a) else b)
    if (a.__class__ is float and abs(a) >= 9007199254740992.0) or (
        b.__class__ is float and abs(b) >= 9007199254740992.0
    ):
        x, y = exact(a), exact(b)
        return (x > y) - (x < y)
    return (a > b) - (a < b)


def compare(a: Value, b: Value, charge: Charge | None = None) -> int:
    """-1, 0 or 1 in Rego's order: null < boolean < number < string < array < object < set."""
    ca = a.__class__
    cb = b.__class__
    if ca is cb and ca in CONTAINERS:
        walk = Walk(charge)
        order = walk.compare(a, b)
        walk.settle()
        return order
    ra, rb = RANK.get(ca), RANK.get(cb)
    if ra is None:
        foreign(a)
    if rb is None:
        foreign(b)
    if ra != rb:
        return -1 if ra < rb else 1
    if ra == 2:
        if charge is not None and (ca is Number or cb is Number):
            charge(_decimal_steps(a) + _decimal_steps(b))
        return compare_numbers(a, b)
    if ra == 0:
        return 0
    return int(a > b) - int(a < b)


class Walk:
    """One pass over values that may be large: for equality, order, or a hash.

    Values share parts: `[x, x]`, where x is `[y, y]` and so on, takes little memory, but a plain walk over it would
    never end. So from the second slice of members on, results about larger containers are memoised, which makes the
    work proportional to the memory. `charge` takes a slice from the budget of a decision.
    """

    # Class-level defaults: a short walk never allocates them.
    _seen = 0
    """Members seen so far."""
    _paid = 0
    _limit = 1024
    """Members that may be seen before results are memoised."""
    _found: dict[object, int] | None = None
    """For pairs of containers their order, for single ones their hash; None up to the limit."""

    def __init__(self, charge: Charge | None = None) -> None:
        self._charge = charge

    def equal(self, a: Value, b: Value) -> bool:
        cls = a.__class__
        if cls is not b.__class__ or cls not in CONTAINERS:
            return a == b if cls is str and b.__class__ is str else equal(a, b, self._charge)
        if a is b:
            return True
        if len(a) != len(b):
            return False
        start = self._seen
        self._seen = start + len(a)
        if self._seen > self._limit and (order := self._look_up((id(a), id(b)))) is not None:
            return order == 0
        if cls is list:
            same = all(map(self.equal, a, b))
        else:
            for key in a if cls is dict else a.members:
                # Looking for a `Key` compares it, and would do so without knowing what has been found here.
                if key.__class__ is Key:
                    return self.compare(a, b) == 0
            same = self._pairs_equal(a, b) if cls is dict else a.members.keys() == b.members.keys()
        if same and self._found is not None:
            self._remember(start, (id(a), id(b)), 0)
        return same

    def _pairs_equal(self, a: dict[Any, Value], b: dict[Any, Value]) -> bool:
        for key, value in a.items():
            other = b.get(key, UNDEFINED)
            if value.__class__ is str and other.__class__ is str:
                if value != other:
                    return False
            elif other is UNDEFINED or not self.equal(value, other):
                return False
        return True

    def compare(self, a: Value, b: Value) -> int:
        cls = a.__class__
        if cls is not b.__class__ or cls not in CONTAINERS:
            return compare(a, b, self._charge)
        if a is b:
            return 0
        start = self._seen
        self._seen = start + len(a)
        if self._seen > self._limit and (found := self._look_up((id(a), id(b)))) is not None:
            return found
        if cls is dict:
            # OPA walks both sorted key lists in step: a smaller key decides before a value does.
            mine = sorted_items(a, order=self.compare)
            if self._charge is not None and len(a) > _LARGE:
                self._charge(len(a))
            yours = sorted_items(b, order=self.compare)
            parts = zip(chain.from_iterable(mine), chain.from_iterable(yours), strict=False)
        else:
            sides = (a, b) if cls is list else (a.sorted(self._charge), b.sorted(self._charge))
            parts = zip(*sides, strict=False)
        order = next(filter(None, starmap(self.compare, self._watched(parts))), 0) or (len(a) > len(b)) - (
            len(a) < len(b)
        )
        if self._found is not None:
            self._remember(start, (id(a), id(b)), order)
        return order

    def hash(self, value: Value) -> int:
        """A hash, the same for equal values. Members of a set and keys of an object have theirs already."""
        cls = value.__class__
        if cls not in CONTAINERS:
            if cls not in RANK:
                foreign(value)
            if cls is str:
                return hash(value)
            if cls is Number and self._charge is not None:
                self._charge(_decimal_steps(value))
            return hash(freeze(value)) if value is None or cls is bool else _number_hash(value)
        start = self._seen
        self._seen = start + len(value)
        if self._seen > self._limit and (found := self._look_up(id(value))) is not None:
            return found
        # Most keys and members are strings: looking at one here saves a call.
        if cls is list:
            result = hash(("array", *[item if item.__class__ is str else self.hash(item) for item in value]))
        elif cls is dict:
            pairs = [
                (key if key.__class__ is str else self._place(key), item if item.__class__ is str else self.hash(item))
                for key, item in value.items()
            ]
            result = hash(("object", frozenset(pairs)))
        else:
            result = hash(("set", frozenset(map(self._place, value.members))))
        if self._found is not None:
            self._remember(start, id(value), result)
        return result

    def _place(self, key: Any) -> object:
        """The hash of a key or member, salted so that an attacker cannot craft collisions."""
        if key.__class__ is str:
            return key
        return ("place", hash(key) if key.__class__ is Key else self.hash(key))

    def _look_up(self, what: object) -> int | None:
        """Start to memoise, charge for the members visited so far, and return a memoised result."""
        if self._found is None:
            self._found, self._limit = {}, 0
        self.settle()
        return self._found.get(what)

    def _watched(self, parts: Iterable[tuple[Value, Value]]) -> Iterable[tuple[Value, Value]]:
        """The parts to be compared, charged per slice: long equal prefixes cost time even if nothing differs."""
        if self._charge is None or self._seen <= self._limit:
            return parts
        charge = self._charge

        def slices() -> Iterator[list[tuple[Value, Value]]]:
            rest = iter(parts)
            while part := list(islice(rest, _COMPARISONS)):
                charge(len(part))
                yield part

        return chain.from_iterable(slices())

    def settle(self) -> None:
        """Pay for the members seen, unless they are few."""
        if self._charge is not None and self._seen - self._paid > _LARGE:
            self._charge(self._seen - self._paid)
            self._paid = self._seen

    def _remember(self, start: int, what: object, found: int) -> None:
        # Their ids are not reused: the walked value holds every container in it.
        if self._found is not None and self._seen - start > _LARGE:
            self._found[what] = found


def _number_hash(number: float) -> int:
    """The hash of a number in a container: its remainder modulo a secret, if it is an integer.

    Python's hashes are the same for -1 and -2, and for all multiples of 2**61 - 1. An attacker could send arrays of
    them, each of which would be compared with all others when they are put into a set.
    """
    if number.__class__ is int:
        return number % _MODULUS
    if number.__class__ is float and number.is_integer() and abs(number) < _EXACT:
        return int(number) % _MODULUS
    value = exact(number)
    if not value.is_finite() or value != value.to_integral_value():
        return hash(number)
    sign, places, power = value.as_tuple()
    digits, power = "".join(map(str, places)), int(power)
    if power < 0:
        digits, power = digits[:power], 0  # zeros
    rest = 0
    for start in range(0, len(digits), _CHUNK):
        chunk = digits[start : start + _CHUNK]
        rest = (rest * pow(10, len(chunk), _MODULUS) + int(chunk)) % _MODULUS
    rest = rest * pow(10, power, _MODULUS) % _MODULUS
    return (-rest if sign else rest) % _MODULUS


_MODULUS: Final = (1 << 60) + 2 * secrets.randbits(58) + 1
_CHUNK: Final = 4000
"""Digits that Python makes an int of."""


_LARGE: Final = 64
"""The fewest members, at any depth, for which a container is charged and its result memoised."""


order_key = functools.cmp_to_key(compare)
"""A `key=` function for Rego's order."""


def sort(values: list[Value], charge: Charge | None = None) -> list[Value]:
    """A new list in Rego's order; what Python orders alike takes the fast way (code points sort as UTF-8 does)."""
    classes = {value.__class__ for value in values}
    if classes == {list}:
        shapes = {tuple([item.__class__ for item in value]) for value in values}
        if len(shapes) == 1 and {str, int}.issuperset(shapes.pop()):
            return _in_runs(values, charge)
    if classes <= {str} or (
        classes <= {int, float} and all(-_EXACT < value < _EXACT for value in values if value.__class__ is float)
    ):
        return _in_runs(values, charge)
    return _sorted(values, Walk(charge).compare, charge)


def _sorted(items: list[Any], order: Callable[[Any, Any], int], charge: Charge | None) -> list[Any]:
    """`sorted`, charged a step for each comparison. Very many items are sorted in parts, which are merged."""
    if charge is None:
        return sorted(items, key=functools.cmp_to_key(order))
    done = 0

    def counted(a: Any, b: Any) -> int:
        nonlocal done
        done += 1
        if done % _COMPARISONS == 0:
            charge(_COMPARISONS)
        return order(a, b)

    key = functools.cmp_to_key(counted)
    if len(items) <= _AT_ONCE:
        return sorted(items, key=key)
    parts = [sorted(items[start : start + _AT_ONCE], key=key) for start in range(0, len(items), _AT_ONCE)]
    return list(heapq.merge(*parts, key=key))


def _in_runs(items: Collection[Any], charge: Charge | None, key: Callable[[Any], Any] | None = None) -> list[Any]:
    """`sorted` for what Python orders alike. Of very many items parts are sorted first, which makes the rest quick."""
    if charge is None or len(items) <= _AT_ONCE:
        return sorted(items, key=key)
    rest, runs = iter(items), []
    while part := list(islice(rest, _AT_ONCE)):
        charge(_AT_ONCE // 8)
        runs += sorted(part, key=key)
    return sorted(runs, key=key)


_AT_ONCE: Final = 1 << 15
"""Items that are sorted without a look at the clock."""
_COMPARISONS: Final = 64
"""So many are charged at once."""


def sorted_items(
    obj: dict[Any, Value], charge: Charge | None = None, *, order: Callable[[Value, Value], int] | None = None
) -> list[tuple[Value, Value]]:
    """(key, value) pairs in Rego's order, keys thawed."""
    classes = {key.__class__ for key in obj}
    if classes <= {str}:
        return _in_runs(obj.items(), charge, _first)
    if not classes <= _KEY_CLASSES:
        for key in obj:
            if key.__class__ not in _KEY_CLASSES:
                foreign(key)
    order = order or Walk(charge).compare

    def by_key(x: tuple[Value, Value], y: tuple[Value, Value]) -> int:
        return order(x[0], y[0])

    return _sorted([(thaw(key), value) for key, value in obj.items()], by_key, charge)


_KEY_CLASSES: Final = {str, int, float, Number, type(None), Key}


def _first(item: tuple[Any, Value]) -> Any:
    return item[0]


def to_term(value: Value, charge: Charge | None = None) -> str:
    """A value as Rego text on one line, as OPA prints it: `{"a": [1, 2]}`, `{1, 2}`, `set()`.

    `charge` takes the members from a budget: the text of values that share their parts can be endless.
    """
    cls = value.__class__
    if cls is str:
        return literal(value)
    if value is None or cls is bool:
        return "null" if value is None else "true" if value else "false"
    if cls in CONTAINERS:
        if cls is dict:
            items = _paid(sorted_items(value, charge), charge)
            return "{" + ", ".join([f"{to_term(key, charge)}: {to_term(item, charge)}" for key, item in items]) + "}"
        items = _paid(value if cls is list else value.sorted(charge), charge)
        texts = ", ".join([to_term(item, charge) for item in items])
        return f"[{texts}]" if cls is list else f"{{{texts}}}" if value.members else "set()"
    if RANK.get(cls) != 2 or is_nan(value):
        foreign(value)
    return number_text(value)


def _paid(items: Sequence[Any], charge: Charge | None) -> Iterable[Any]:
    """The items, a step for each. Many are paid for in pieces, between which the clock is looked at."""
    if charge is None:
        return items
    if len(items) > _PIECE:
        return _paid_in_pieces(items, charge)
    charge(len(items))
    return items


def _paid_in_pieces(items: Sequence[Any], charge: Charge) -> Iterator[Any]:
    for first in range(0, len(items), _PIECE):
        piece = items[first : first + _PIECE]
        charge(len(piece))
        yield from piece


_PIECE: Final = 4096


def literal(text: str, mark: str = '"', *, ascii_only: bool = False) -> str:
    """A string as OPA prints it, which is Go's `strconv.Quote`: `\\x00` and `\\u2028` for what is not printable.

    Not always JSON, nor Rego: those are what `quote` writes.
    """
    if text.isascii() and text.isprintable() and mark not in text and "\\" not in text:
        return f"{mark}{text}{mark}"
    return f"{mark}{text.translate(_escapes(mark, ascii_only))}{mark}"


class _Escapes(dict[int, str]):
    """The text for a character inside a literal, computed once for each of the most common characters."""

    def __init__(self, mark: str, ascii_only: bool) -> None:
        self._mark = mark
        self._ascii_only = ascii_only

    def __missing__(self, code: int) -> str:
        shown = _escaped(chr(code), self._mark, self._ascii_only)
        if len(self) < _MOST_ESCAPES:
            self[code] = shown
        return shown


_MOST_ESCAPES: Final = 1 << 14
_escapes: Final = functools.cache(_Escapes)


_ESCAPES: Final = {
    "\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
}  # fmt: skip


def _escaped(char: str, mark: str, ascii_only: bool) -> str:
    if char == mark:
        return f"\\{char}"
    if char in _ESCAPES:
        return _ESCAPES[char]
    if (char.isprintable() or is_printable(char)) and (char.isascii() or not ascii_only):
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no part of valid UTF-8 (PEP 383)
        return f"\\x{code - 0xDC00:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def quote(text: str) -> str:
    """A string as a JSON literal, non-ASCII characters kept."""
    return json.dumps(text, ensure_ascii=False)


def to_json(value: Value) -> Value:
    """A fresh JSON value: sets become sorted arrays, keys that are no strings become their JSON text."""
    cls = value.__class__
    if cls is str or cls is int or value is None or cls is bool:
        return value
    if cls is list:
        return [to_json(item) for item in value]
    if cls is dict:
        return {
            key if key.__class__ is str else dumps(to_json(thaw(key))): to_json(item)
            for key, item in (value.items() if all(key.__class__ is str for key in value) else sorted_items(value))
        }
    if cls is Set:
        return [to_json(item) for item in value]
    if cls is float or cls is Number:
        if is_nan(value):
            foreign(value)
        return value
    foreign(value)


def dumps(value: Value) -> str:
    """JSON text, keys sorted, no spaces, number text kept. `value` holds no sets (see `to_json`)."""
    cls = value.__class__
    if cls is str:
        return quote(value)
    if value is None or cls is bool:
        return "null" if value is None else "true" if value else "false"
    if cls is list:
        return "[" + ",".join(map(dumps, value)) + "]"
    if cls is dict:
        return "{" + ",".join(f"{quote(key)}:{dumps(item)}" for key, item in sorted(value.items())) + "}"
    if RANK.get(cls) != 2 or is_nan(value):
        foreign(value)
    return number_text(value)


def loads(text: str | bytes) -> Value:
    """JSON text as a value that keeps every number's text. Raises `ValueError` for text that is not JSON."""
    if isinstance(text, bytes):
        text = text.decode(json.detect_encoding(text), "surrogatepass")
    # Short texts have no number that `int` would not read as it is, but this one.
    decoder = _DECODER if len(text) > 4000 or "-0" in text else _SHORT_DECODER
    if text[:1] in ("{", "["):
        # Without the two searches for space around the document that `decode` makes.
        value, end = decoder.raw_decode(text)
        if end == len(text):
            return value
    return decoder.decode(text)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"`{name}` is not JSON")


# Made once: that takes longer than reading a short text.
_DECODER: Final = json.JSONDecoder(parse_float=parse_number, parse_int=parse_number, parse_constant=_refuse_constant)
_SHORT_DECODER: Final = json.JSONDecoder(parse_float=parse_number, parse_constant=_refuse_constant)

scan_short: Final[Callable[[str, int], tuple[Value, int]]] = _SHORT_DECODER.scan_once  # type: ignore[attr-defined]
"""Reads a value from a position in a text without `-0` or numbers of thousands of digits: the value, and where it ends.

Raises `StopIteration` or `ValueError` for what is not JSON.
"""


scan_exactly: Final[Callable[[str, int], tuple[Value, int]]] = _DECODER.scan_once  # type: ignore[attr-defined]
"""The same for any text."""


def check(value: Value) -> None:
    """Look at a whole value now. Raises `PolicyError` (`invalid_input`) for anything that is not a Rego value."""
    pending = [value]
    while pending:
        item = pending.pop()
        cls = item.__class__
        if cls is dict:
            for key in item:
                if key.__class__ not in _KEY_CLASSES:
                    foreign(key)
            pending.extend(item.values())
        elif cls is list:
            pending.extend(item)
        elif cls is Set:
            pending.extend(map(thaw, item.members))
        elif cls not in RANK or is_nan(item):
            foreign(item)
