"""Strings as bytes. OPA's strings are bytes that are mostly UTF-8; Python's are code points.

A byte that is no part of valid UTF-8, as `base64.decode` of a binary key gives, is kept as one of the code points
U+DC80 … U+DCFF (PEP 383), so that hashing or re-encoding the string sees the byte again and `count` counts it as one.
"""

from __future__ import annotations

import re
from typing import Final

_NO_BYTE: Final = re.compile("[\ud800-\udc7f\udd00-\udfff]")
SURROGATES: Final = re.compile("[\ud800-\udfff]")
"""The code points that are no characters; as text (in JSON, in a result) each of them is U+FFFD."""


def to_bytes(text: str) -> bytes:
    """The bytes of a string. Half a surrogate pair, which Python's JSON parser lets in, counts as U+FFFD."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return _NO_BYTE.sub("\ufffd", text).encode("utf-8", "surrogateescape")


def from_bytes(octets: bytes) -> str:
    """The string that has these bytes."""
    return octets.decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """The string as valid Unicode: U+FFFD for each byte that is none."""
    return text if text.isascii() else SURROGATES.sub("\ufffd", text)
