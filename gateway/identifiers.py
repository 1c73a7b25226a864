"""Identifiers: a prefix that says what it names, and a UUIDv7 (docs/architecture.md, section 14; RFC 9562 section 5.7).

Ids made by one process are strictly increasing, so that they sort in the order of what they name and index locality is
kept. They are names, not secrets: 62 bits are random, the rest is the clock.
"""

from __future__ import annotations

import os
import re
import threading
import time

PREFIXES = ("org_", "agt_", "key_", "bnd_", "ups_", "dec_", "chg_", "act_", "boot_")

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_lock = threading.Lock()
_last = 0  # the last clock value handed out, in units of 2**-12 ms; owned by `_lock`


def uuid7() -> str:
    """A UUIDv7 in its text form; 12 bits after the milliseconds are their fraction (RFC 9562 section 6.2, method 3)."""
    global _last
    ticks = (time.time_ns() << 12) // 1_000_000
    with _lock:
        # A clock that stands still or jumps back must not break the order: count on from the last value.
        _last = ticks = ticks if ticks > _last else _last + 1
    number = int.from_bytes(os.urandom(8), "big") & 0x3FFF_FFFF_FFFF_FFFF
    number |= (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id(prefix: str) -> str:
    """A new id such as `agt_01938c5e-…`; `prefix` is one of `PREFIXES`, with or without its underscore."""
    prefix = prefix if prefix.endswith("_") else prefix + "_"
    if prefix not in PREFIXES:
        raise ValueError(f"unknown id prefix `{prefix}`")
    return prefix + uuid7()


def is_id(prefix: str, text: str) -> bool:
    """Whether `text` is an id with this prefix in the one spelling that `new_id` makes."""
    prefix = prefix if prefix.endswith("_") else prefix + "_"
    return text.startswith(prefix) and _UUID7.fullmatch(text, len(prefix)) is not None
