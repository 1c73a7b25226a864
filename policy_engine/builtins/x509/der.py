"""The outermost structure of DER (X.690): tags, lengths and what they enclose, for the raw parts of certificates.

It tells values apart and does not judge them: that a certificate is well-formed is the cryptography library's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

BOOLEAN: Final = 0x01
OID: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31


class DERError(ValueError):
    """Octets that are not DER."""


class DerNode(NamedTuple):
    tag: int
    content: bytes
    raw: bytes
    """The content with tag and length before it."""


def nodes(octets: bytes) -> list[DerNode]:
    """The values that stand side by side."""
    return list(each(octets))


def each(octets: bytes) -> Iterator[DerNode]:
    """The same one by one. Tags beyond 30 do not occur in certificates."""
    at = 0
    while at < len(octets):
        length, begin = _length(octets, at + 1)
        end = begin + length
        if end > len(octets) or octets[at] & 0x1F == 0x1F:
            raise DERError("asn1: structure error")
        yield DerNode(octets[at], octets[begin:end], octets[at:end])
        at = end


def _length(octets: bytes, at: int) -> tuple[int, int]:
    """A length, and where the content begins."""
    if at >= len(octets):
        raise DERError("asn1: syntax error: truncated tag or length")
    first = octets[at]
    if first < 0x80:
        return first, at + 1
    count = first & 0x7F
    if not 1 <= count <= 4 or at + 1 + count > len(octets):
        raise DERError("asn1: syntax error: truncated tag or length")
    return int.from_bytes(octets[at + 1 : at + 1 + count], "big"), at + 1 + count


def oid_numbers(content: bytes) -> list[int]:
    """An object identifier's numbers."""
    numbers: list[int] = []
    value = 0
    for octet in content:
        value = value << 7 | octet & 0x7F
        if not octet & 0x80:
            numbers.append(value)
            value = 0
    first = min(numbers[0] // 40, 2) if numbers else 0
    return [first, numbers[0] - 40 * first, *numbers[1:]] if numbers else []
