"""Semantic versions as OPA reads them, with a leading `v` and leading zeros allowed (semver.org; item 11: order)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from policy_engine import types as t
from policy_engine.builtins.operands import INT64_MAX, all_strings
from policy_engine.builtins.table import Builtin
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, literal, type_name


class Version(NamedTuple):
    """The numbers in order, and the pre-release identifiers: none for a release."""

    numbers: tuple[int, ...]
    pre_release: tuple[str, ...]


def compare(a: Value, b: Value) -> int:
    """-1, 0 or 1."""
    all_strings("semver.compare", a, b)
    first, second = _parse(a), _parse(b)
    if first is None:
        raise BuiltinError(f"semver.compare: operand 1: string {literal(a)} is not a valid SemVer")
    if second is None:
        raise BuiltinError(f"semver.compare: operand 2: string {literal(b)} is not a valid SemVer")
    x, y = _order(first), _order(second)
    return (x > y) - (x < y)


def is_valid(version: Value) -> bool:
    if version.__class__ is not str:
        type_name(version)
        return False
    return _parse(version) is not None


_IDENTIFIERS: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_VERSION: Final = re.compile(
    rf"v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:-({_IDENTIFIERS})?)?(?:\+(?:{_IDENTIFIERS})?)?", re.ASCII
)


def _parse(text: str) -> Version | None:
    found = _VERSION.fullmatch(text)
    if found is None or any(len(number.lstrip("0")) > 19 for number in found.group(1, 2, 3)):
        return None
    numbers = tuple(map(int, found.group(1, 2, 3)))
    if max(numbers) > INT64_MAX:
        return None
    return Version(numbers, tuple((found[4] or "").split(".")) if found[4] else ())


def _order(version: Version) -> tuple[object, ...]:
    """A key that sorts as semver.org has it: a pre-release before its release, numbers before names."""
    identifiers = tuple((0, int(one), "") if one.isdigit() else (1, 0, one) for one in version.pre_release)
    return version.numbers, not identifiers, identifiers


BUILTINS: Final = (
    Builtin("semver.compare", t.Function((t.STRING, t.STRING), t.NUMBER), compare),
    Builtin("semver.is_valid", t.Function((t.ANY,), t.BOOLEAN), is_valid),
)
