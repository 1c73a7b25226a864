"""Semantic versions as OPA reads them, with a leading `v` and leading zeros allowed (semver.org; item 11: order)."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from policy_engine import types as t
from policy_engine.builtins.operands import INT64_MAX, all_strings, shown
from policy_engine.builtins.table import Builtin
from policy_engine.errors import BuiltinError
from policy_engine.values import Value, type_name


class Version(NamedTuple):
    """The numbers in order, and the pre-release identifiers: none for a release."""

    numbers: tuple[int, ...]
    pre_release: tuple[str, ...]


def compare(a: Value, b: Value) -> int:
    """-1, 0 or 1."""
    all_strings("semver.compare", a, b)
    versions = []
    for position, text in enumerate((a, b), 1):
        version = _parse(text, "semver.compare")
        if version is None:
            raise BuiltinError(f"semver.compare: operand {position}: string {shown(text)} is not a valid SemVer")
        versions.append(_order(version))
    x, y = versions
    return (x > y) - (x < y)


def is_valid(version: Value) -> bool:
    if version.__class__ is not str:
        type_name(version)
        return False
    return _parse(version, "semver.is_valid") is not None


_IDENTIFIERS: Final = r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*"
_LONGEST: Final = 65_536
_VERSION: Final = re.compile(
    rf"v?([0-9]+)\.([0-9]+)\.([0-9]+)(?:-({_IDENTIFIERS})?)?(?:\+(?:{_IDENTIFIERS})?)?", re.ASCII
)


def _parse(text: str, name: str) -> Version | None:
    if len(text) > _LONGEST:
        raise BuiltinError(f"{name}: a version has at most {_LONGEST} characters")
    found = _VERSION.fullmatch(text)
    if found is None:
        return None
    digits = [number.lstrip("0") or "0" for number in found.group(1, 2, 3)]
    if max(map(len, digits)) > len(str(INT64_MAX)):
        return None
    numbers = tuple(map(int, digits))
    if max(numbers) > INT64_MAX:
        return None
    return Version(numbers, tuple((found[4] or "").split(".")) if found[4] else ())


def _order(version: Version) -> tuple[object, ...]:
    """A key that sorts as semver.org has it: a pre-release before its release, numbers before names."""
    identifiers = tuple(map(_identifier_order, version.pre_release))
    return version.numbers, not identifiers, identifiers


def _identifier_order(identifier: str) -> tuple[int, int, str]:
    if not identifier.isdigit():
        return 1, 0, identifier
    digits = identifier.lstrip("0")  # as text: Python refuses to read very long numbers
    return 0, len(digits), digits


BUILTINS: Final = (
    Builtin("semver.compare", t.FunctionType((t.STRING, t.STRING), t.NUMBER), compare),
    Builtin("semver.is_valid", t.FunctionType((t.ANY,), t.BOOLEAN), is_valid),
)
