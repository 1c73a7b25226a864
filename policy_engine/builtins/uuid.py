"""UUIDs: reading one (RFC 4122 and 9562), and a random one of version 4 per key and query."""

from __future__ import annotations

import re
from typing import Final

from policy_engine import types as t
from policy_engine.builtins.operands import string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.values import UNDEFINED, Value, to_term

_FORMS: Final = re.compile(
    r"(?:urn:uuid:)?([0-9a-f]{8})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{4})-([0-9a-f]{12})"
    r"|([0-9a-f]{32})",
    re.ASCII | re.IGNORECASE,
)

_UUID_EPOCH: Final = 122_192_928_000_000_000
"""1970-01-01 in steps of 100 ns since 1582-10-15, where the time of versions 1 and 2 begins."""

_DOMAINS: Final = ("Person", "Group", "Org")
_SENDERS: Final = ("global:unicast", "global:multicast", "local:unicast", "local:multicast")


def parse(text: Value) -> Value:
    """The fields of a UUID: version, variant; for 1 and 2 also time, node, clock. Undefined for other texts."""
    given = string(text, "uuid.parse", 1)
    if len(given.encode("utf-8", "replace")) == 38:
        # Any two characters around it count as braces.
        given = given[1:37]
    found = _FORMS.fullmatch(given)
    if found is None:
        return UNDEFINED
    octets = bytes.fromhex("".join(group for group in found.groups() if group))
    version = octets[6] >> 4
    result: dict[object, Value] = {"version": version, "variant": _variant(octets[8])}
    if version in (1, 2):
        ticks = (int.from_bytes(octets[6:8]) & 0xFFF) << 48 | int.from_bytes(octets[4:6]) << 32
        ticks |= int.from_bytes(octets[0:4])
        result["time"] = _int64((ticks - _UUID_EPOCH) * 100)
        result["nodeid"] = octets[10:].hex("-")
        result["macvariables"] = _SENDERS[octets[10] & 3]
        result["clocksequence"] = int.from_bytes(octets[8:10]) & 0x3FFF
    if version == 2:
        result["id"] = int.from_bytes(octets[0:4])
        result["domain"] = _DOMAINS[octets[9]] if octets[9] < len(_DOMAINS) else f"Domain{octets[9]}"
    return result


def _variant(octet: int) -> str:
    if octet & 0xC0 == 0x80:
        return "RFC4122"
    return {0xC0: "Microsoft", 0xE0: "Future"}.get(octet & 0xE0, "Reserved")


def _int64(number: int) -> int:
    """The number as 64 bits hold it: times before 1678 come around from the other side."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)


def rfc4122(ctx: Context, key: Value) -> str:
    """A random UUID; the same for the same key within a query."""
    name = "uuid.rfc4122"

    def compute() -> str:
        bits = ctx.random_bits(128, f"{name} {to_term(key)}")
        bits = bits & ~(0xF << 76) | 4 << 76
        bits = bits & ~(0b11 << 62) | 0b10 << 62
        digits = f"{bits:032x}"
        return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))

    return ctx.remember(name, (key,), compute)  # type: ignore[no-any-return]


BUILTINS: Final = (
    Builtin("uuid.parse", t.FunctionType((t.STRING,), t.object_(t.STRING, t.ANY)), parse),
    Builtin("uuid.rfc4122", t.FunctionType((t.STRING,), t.STRING), rfc4122, context=True, nondeterministic=True),
)
