"""Percent-encoding (RFC 3986 section 2.1) of octets. Long ones are taken in pieces, so that a deadline is noticed."""

from __future__ import annotations

import re
from binascii import unhexlify
from collections.abc import Iterator
from typing import Final

from policy_engine.values import Charge

Table = dict[int, str]
"""The text for each octet, for `str.translate`."""

_PIECE: Final = 65_536
_STEPS: Final = 16
"""Octets for each step that is charged."""

_ESCAPES: Final = re.compile(rb"(?:%[0-9a-fA-F]{2})+")
_NO_ESCAPE: Final = re.compile(rb"%(?![0-9a-fA-F]{2})")


class EscapeError(ValueError):
    """A percent sign that is not followed by two hexadecimal digits."""


def table(kept: str) -> Table:
    """The table that escapes all octets but those of the characters that are kept."""
    return {octet: f"%{octet:02X}" for octet in range(256) if chr(octet) not in kept}


def escape(octets: bytes, escapes: Table, charge: Charge | None = None) -> str:
    return "".join([piece.decode("latin-1").translate(escapes) for piece in _pieces(octets, charge)])


def unescape(octets: bytes, charge: Charge | None = None) -> bytes:
    """Raises `EscapeError`."""
    if b"%" not in octets:
        return octets
    if _NO_ESCAPE.search(octets):
        raise EscapeError("a percent sign without two hexadecimal digits")
    return b"".join([_ESCAPES.sub(_unescaped, piece) for piece in _pieces(octets, charge)])


def _unescaped(found: re.Match[bytes]) -> bytes:
    return unhexlify(found[0].replace(b"%", b""))


def _pieces(octets: bytes, charge: Charge | None) -> Iterator[bytes]:
    """Parts of the octets. None ends inside an escape."""
    at = 0
    while at < len(octets):
        end = at + _PIECE
        if charge is not None and len(octets) > _PIECE:
            charge(_PIECE // _STEPS)
        end -= 1 if octets[end - 1 : end] == b"%" else 2 if octets[end - 2 : end - 1] == b"%" else 0
        yield octets[at:end]
        at = end
