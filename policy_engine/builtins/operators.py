"""The functions of operators (arithmetic, set algebra, comparison, membership) and of template strings.

Generated code specialises the common cases (integers, strings) and calls these for the rest, so each is also the
function of its prefix form (`plus(1, 2)`). The number kernel is `arithmetic`; order and equality are those of `values`.
"""

from __future__ import annotations

from typing import Final

from policy_engine import types as t
from policy_engine.builtins import arithmetic
from policy_engine.builtins.operands import NUMBERS, array, charge_made, charged, int64, number, set_, wrong
from policy_engine.builtins.table import Builtin, Context, Cost, InPlace
from policy_engine.errors import EVAL_CONFLICT_ERROR, EVAL_INTERNAL_ERROR, BuiltinError, PolicyError
from policy_engine.values import UNDEFINED, Charge, Set, Value, compare, equal, freeze, to_term, type_name


def plus(ctx: Context, x: Value, y: Value) -> int | float:
    if x.__class__ is int and y.__class__ is int:
        _charge_digits(ctx, x, y)
        return x + y
    number(x, "plus", 1)
    number(y, "plus", 2)
    _charge_digits(ctx, x, y)
    return _sum(x, y, "plus")


def _sum(x: float, y: float, name: str) -> int | float:
    if (a := arithmetic.as_integer(x, name)) is not None and (b := arithmetic.as_integer(y, name)) is not None:
        return a + b
    return arithmetic.to_number(arithmetic.add(arithmetic.to_dyadic(x, name), arithmetic.to_dyadic(y, name)))


MEMBER: Final = 4
"""Steps for a member of a new set: kept values must be paid for, and a member takes about forty bytes."""


def minus(ctx: Context, x: Value, y: Value) -> Value:
    """The difference of two numbers or of two sets."""
    if x.__class__ is int and y.__class__ is int:
        _charge_digits(ctx, x, y)
        return x - y
    if x.__class__ is Set and y.__class__ is Set:
        ctx.charge(MEMBER * len(x))
        return Set.of({member: None for member in x.members if member not in y.members})
    if x.__class__ not in NUMBERS:
        if x.__class__ is not Set:
            wrong("minus", 1, x, "number", "set")
        wrong("minus", 2, y, "set" if y.__class__ in NUMBERS else "number")
    number(x, "minus", 1)
    number(y, "minus", 2)
    _charge_digits(ctx, x, y)
    if (a := arithmetic.as_integer(x, "minus")) is not None and (b := arithmetic.as_integer(y, "minus")) is not None:
        return a - b
    return arithmetic.to_number(arithmetic.subtract(arithmetic.to_dyadic(x, "minus"), arithmetic.to_dyadic(y, "minus")))


def mul(ctx: Context, x: Value, y: Value) -> int | float:
    number(x, "mul", 1)
    number(y, "mul", 2)
    _charge_digits(ctx, x, y)
    if (a := arithmetic.as_integer(x, "mul")) is not None and (b := arithmetic.as_integer(y, "mul")) is not None:
        return arithmetic.integer_product(a, b, "mul")
    return arithmetic.to_number(arithmetic.multiply(arithmetic.to_dyadic(x, "mul"), arithmetic.to_dyadic(y, "mul")))


def div(ctx: Context, x: Value, y: Value) -> int | float:
    number(x, "div", 1)
    number(y, "div", 2)
    _charge_digits(ctx, x, y)
    divisor = arithmetic.to_dyadic(y, "div")
    if not divisor.mantissa:
        raise BuiltinError("div: divide by zero")
    if (
        x
        and x.__class__ is int
        and y.__class__ is int
        and -_INT32 <= x < _INT32
        and -_INT32 <= y < _INT32
        and not x % y
    ):
        return x // y
    return arithmetic.to_number(arithmetic.divide(arithmetic.to_dyadic(x, "div"), divisor))


def rem(ctx: Context, x: Value, y: Value) -> int:
    """The remainder, with the sign of the dividend."""
    number(x, "rem", 1)
    number(y, "rem", 2)
    _charge_digits(ctx, x, y)
    a, b = arithmetic.as_integer(x, "rem"), arithmetic.as_integer(y, "rem")
    if a is None or b is None:
        raise BuiltinError("rem: modulo on floating-point number")
    if not b:
        raise BuiltinError("rem: modulo by zero")
    size = abs(a) % abs(b)
    return size if a >= 0 else -size


def _charge_digits(ctx: Context, *numbers: float) -> None:
    """Long integers take long to compute with, and their results are long, too."""
    for value in numbers:
        if value.__class__ is not float and (steps := arithmetic.effort(value)):
            ctx.charge(steps)


_INT32: Final = 1 << 31
"""OPA divides in integers only inside this window; beyond it, quotients are rounded to 64 bits."""


def and_(ctx: Context, x: Value, y: Value) -> Set:
    """The intersection of two sets."""
    members, others = set_(x, "and", 1).members, set_(y, "and", 2).members
    ctx.charge(MEMBER * min(len(members), len(others)))
    return Set.of(common(members, others))


def common(members: dict[object, None], others: dict[object, None]) -> dict[object, None]:
    """The members of both; of equal ones (`1`, `1.0`) the smaller set's, the first one's if none is smaller."""
    if len(others) < len(members):
        members, others = others, members
    return {member: None for member in members if member in others}


def or_(ctx: Context, x: Value, y: Value) -> Set:
    """The union of two sets; of equal members, the first set's text stays."""
    members, others = set_(x, "or", 1).members, set_(y, "or", 2).members
    ctx.charge(MEMBER * (len(members) + len(others)))
    return Set.of(members | others)


def neq(x: Value, y: Value, charge: Charge | None = None) -> bool:
    return not equal(x, y, charge)


def lt(x: Value, y: Value, charge: Charge | None = None) -> bool:
    return compare(x, y, charge) < 0


def lte(x: Value, y: Value, charge: Charge | None = None) -> bool:
    return compare(x, y, charge) <= 0


def gt(x: Value, y: Value, charge: Charge | None = None) -> bool:
    return compare(x, y, charge) > 0


def gte(x: Value, y: Value, charge: Charge | None = None) -> bool:
    return compare(x, y, charge) >= 0


def member_2(ctx: Context, item: Value, collection: Value) -> bool:
    """`item in collection`: among an array's elements, an object's values, a set's members."""
    cls = collection.__class__
    if cls is Set:
        return freeze(item, ctx.charge) in collection.members
    if cls is list:
        return any(equal(item, element, ctx.charge) for element in charged(ctx, collection))
    if cls is dict:
        return any(equal(item, value, ctx.charge) for value in charged(ctx, collection.values()))
    type_name(collection)
    return False


def member_3(ctx: Context, key: Value, item: Value, collection: Value) -> bool:
    """`key, item in collection`: index and element, key and value; in a set a member is its own key."""
    cls = collection.__class__
    if cls is dict:
        value = collection.get(freeze(key, ctx.charge), UNDEFINED)
        return value is not UNDEFINED and equal(item, value, ctx.charge)
    if cls is list:
        if key.__class__ not in NUMBERS:
            type_name(key)
            return False
        index = int64(number(key, "internal.member_3", 1))
        return index is not None and 0 <= index < len(collection) and equal(item, collection[index], ctx.charge)
    if cls is Set:
        return freeze(key, ctx.charge) in collection.members and equal(key, item, ctx.charge)
    type_name(collection)
    return False


def text_of(ctx: Context, value: Value) -> str:
    """A value as template strings and `print` write it: strings bare, the rest as Rego text."""
    return value if value.__class__ is str else to_term(value, ctx.charge)


def template_string(ctx: Context, parts: Value) -> str:
    """Scalars as they are; every other part is a set that holds an expression's value, or is empty: undefined."""
    rows = cross_product(ctx, parts, "internal.template_string")
    if len(rows) > 1:
        raise PolicyError(EVAL_CONFLICT_ERROR, "template-strings must not produce multiple outputs")
    parts_of_text = rows[0] if rows else []
    charge_made(ctx, sum(map(len, parts_of_text)), ascii_only=all(map(str.isascii, parts_of_text)))
    return "".join(parts_of_text)


def cross_product(ctx: Context, parts: Value, name: str) -> list[list[str]]:
    """The texts of every combination of the parts' values."""
    rows: list[list[str]] = [[]]
    for part in array(parts, name, 1):
        if part.__class__ is Set:
            texts = [text_of(ctx, value) for value in part.sorted(ctx.charge)] or ["<undefined>"]
        elif part.__class__ in (list, dict):
            raise PolicyError(EVAL_INTERNAL_ERROR, f"illegal argument type: {type_name(part)}")
        else:
            texts = [text_of(ctx, part)]
        ctx.charge(len(rows) * len(texts))
        rows = [[*row, text] for row in rows for text in texts]
    return rows


_ANY_SET: Final = t.set_(t.ANY)
_NUMBER_OR_SET: Final = t.union(t.NUMBER, _ANY_SET)
_ARITHMETIC: Final = t.FunctionType((t.NUMBER, t.NUMBER), t.NUMBER)
_COMPARISON: Final = t.FunctionType((t.ANY, t.ANY), t.BOOLEAN)
_SETS: Final = t.FunctionType((_ANY_SET, _ANY_SET), _ANY_SET)
_WORD: Final = 1 << 62
_WORDS: Final = f"-{_WORD} < {{0}} < {_WORD} and -{_WORD} < {{1}} < {_WORD}"
"""Sums of longer integers are charged, because a policy may keep every one of them."""

BUILTINS: Final = (
    Builtin("plus", _ARITHMETIC, plus, context=True, infix="+", inline=InPlace("{0} + {1}", (int, int), _WORDS)),
    Builtin(
        "minus",
        t.FunctionType((_NUMBER_OR_SET, _NUMBER_OR_SET), _NUMBER_OR_SET),
        minus,
        context=True,
        infix="-",
        inline=InPlace("{0} - {1}", (int, int), _WORDS),
    ),
    Builtin("mul", _ARITHMETIC, mul, context=True, infix="*"),
    Builtin("div", _ARITHMETIC, div, context=True, infix="/"),
    Builtin("rem", _ARITHMETIC, rem, context=True, infix="%"),
    Builtin("and", _SETS, and_, context=True, infix="&"),
    Builtin("or", _SETS, or_, context=True, infix="|"),
    # The compiler turns assignment and unification into bindings; what is left of them is a comparison.
    Builtin("assign", _COMPARISON, equal, infix=":=", cost=Cost.COMPARISON),
    Builtin("eq", _COMPARISON, equal, infix="=", cost=Cost.COMPARISON),
    Builtin("equal", _COMPARISON, equal, infix="==", cost=Cost.COMPARISON),
    Builtin("neq", _COMPARISON, neq, infix="!=", cost=Cost.COMPARISON, fails=False),
    Builtin("lt", _COMPARISON, lt, infix="<", cost=Cost.COMPARISON, fails=False),
    Builtin("lte", _COMPARISON, lte, infix="<=", cost=Cost.COMPARISON, fails=False),
    Builtin("gt", _COMPARISON, gt, infix=">", cost=Cost.COMPARISON, fails=False),
    Builtin("gte", _COMPARISON, gte, infix=">=", cost=Cost.COMPARISON, fails=False),
    Builtin(
        "internal.member_2", t.FunctionType((t.ANY, t.ANY), t.BOOLEAN), member_2, context=True, infix="in", fails=False
    ),
    Builtin("internal.member_3", t.FunctionType((t.ANY, t.ANY, t.ANY), t.BOOLEAN), member_3, context=True, infix="in"),
    Builtin("internal.template_string", t.FunctionType((t.array(t.ANY),), t.STRING), template_string, context=True),
)
