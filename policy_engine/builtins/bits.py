"""Bitwise operations on integers of any size; negative ones in two's complement."""

from __future__ import annotations

from typing import Final

from policy_engine import types as t
from policy_engine.builtins.arithmetic import MAX_BITS, too_big
from policy_engine.builtins.operands import big_integer, operand_error
from policy_engine.builtins.table import Builtin
from policy_engine.values import Value


def and_(x: Value, y: Value) -> int:
    return big_integer(x, "bits.and", 1) & big_integer(y, "bits.and", 2)


def or_(x: Value, y: Value) -> int:
    return big_integer(x, "bits.or", 1) | big_integer(y, "bits.or", 2)


def xor(x: Value, y: Value) -> int:
    return big_integer(x, "bits.xor", 1) ^ big_integer(y, "bits.xor", 2)


def negate(x: Value) -> int:
    """Every bit turned over."""
    return ~big_integer(x, "bits.negate", 1)


def lsh(x: Value, bits: Value) -> int:
    whole, shift = big_integer(x, "bits.lsh", 1), _shift(bits, "bits.lsh")
    if whole.bit_length() + shift > MAX_BITS:
        raise too_big("bits.lsh")
    return whole << shift


def rsh(x: Value, bits: Value) -> int:
    return big_integer(x, "bits.rsh", 1) >> _shift(bits, "bits.rsh")


def _shift(bits: Value, name: str) -> int:
    shift = big_integer(bits, name, 2)
    if shift < 0:
        operand_error(name, 2, "must be an unsigned integer number but got a negative integer")
    return shift


_BINARY: Final = t.FunctionType((t.NUMBER, t.NUMBER), t.NUMBER)

BUILTINS: Final = (
    Builtin("bits.and", _BINARY, and_),
    Builtin("bits.lsh", _BINARY, lsh),
    Builtin("bits.negate", t.FunctionType((t.NUMBER,), t.NUMBER), negate),
    Builtin("bits.or", _BINARY, or_),
    Builtin("bits.rsh", _BINARY, rsh),
    Builtin("bits.xor", _BINARY, xor),
)
