"""The size of an image, from the first bytes of its file: enough to say how many tokens a model makes of it at most.

PNG (W3C PNG, 11.2.1), JPEG (ITU T.81, B.2.2) and WebP (RFC 9649). A file that is none of these, or is cut off, has no
size here;
nor has an animation, of which some makers see several frames, nor a GIF: its frames may be larger than the size
in its header, and decoders then make the image larger.
"""

from __future__ import annotations

import base64
import binascii
from typing import Final, NamedTuple

_LOOKED_AT: Final = 256 * 1024  # bytes: the size of a JPEG stands behind its thumbnail and its profile
_PNG: Final = b"\x89PNG\r\n\x1a\n"
_SIZES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})


class Size(NamedTuple):
    """Pixels."""

    width: int
    height: int


def of_base64(text: str) -> Size | None:
    """The size of an image in base64."""
    part = text[: _LOOKED_AT // 3 * 4]
    try:
        data = base64.b64decode(part[: len(part) // 4 * 4] or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    found = _of(data)
    return found if found is not None and found.width > 0 and found.height > 0 else None


def _of(data: bytes) -> Size | None:
    if data.startswith(_PNG):
        is_plain = data[12:16] == b"IHDR" and len(data) >= 24 and b"acTL" not in data
        return Size(_number(data, 16, 4), _number(data, 20, 4)) if is_plain else None
    if data[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _of_webp(data)
    return None


def _number(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _of_jpeg(data: bytes) -> Size | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _WITHOUT_LENGTH:
            at += 2
        elif marker in _SIZES:
            return Size(_number(data, at + 7, 2), _number(data, at + 5, 2))
        elif (length := _number(data, at + 2, 2)) < 2 or marker in (0xD9, 0xDA):
            return None
        else:
            at += 2 + length
    return None


def _of_webp(data: bytes) -> Size | None:
    kind = data[12:16]
    if kind == b"VP8X":
        if data[20] & 2:
            return None  # it moves
        return Size(1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little"))
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
        return Size(width & 0x3FFF, height & 0x3FFF)
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = int.from_bytes(data[21:25], "little")
        return Size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    return None
