"""Identifiers: a prefix that says what it names, and a UUIDv7 (architecture.md, section 14; RFC 9562 section 5.7).

Ids made by one process are strictly increasing, so that they sort in the order of what they name and index locality is
kept. They are names, not secrets: 62 bits are random, the rest is the clock. Random bytes are drawn in bulk, because
the system call costs more than everything else about an id.
"""

from __future__ import annotations

import os
import re
import threading
import time

PREFIXES = (
    *("org_", "agt_", "key_", "bnd_", "lim_", "ups_", "rte_", "tem_", "stp_", "iss_", "rul_", "tok_", "opr_", "otk_"),
    *("idp_", "lgr_", "lgn_", "brw_", "giv_", "apr_", "tol_", "per_", "mnd_"),
    *("lgk_", "dec_", "chg_", "act_", "whk_", "evt_", "boot_"),
)

_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")

_PREFIXES = frozenset(PREFIXES)
_lock = threading.Lock()
_last = 0  # the last clock value handed out, in units of 2**-12 ms; owned by `_lock`

_DRAW = 4096
_drawn = b""  # random bytes, used from `_used` on; both owned by `_lock`
_used = 0


def random_bytes(size: int) -> bytes:
    """Bytes from the system's random source, each given out once: for ids and salts, at most `_DRAW` at a time."""
    with _lock:
        return _random_bytes(size)


def _random_bytes(size: int) -> bytes:
    global _drawn, _used
    if _used + size > len(_drawn):
        _drawn, _used = os.urandom(_DRAW), 0
    _used += size
    return _drawn[_used - size : _used]


def _after_fork() -> None:
    """A child must not give out the bytes that its parent has in store, nor wait for a lock that a thread held."""
    global _lock, _drawn, _used
    _lock, _drawn, _used = threading.Lock(), b"", 0


os.register_at_fork(after_in_child=_after_fork)


def uuid7() -> str:
    """A UUIDv7 in its text form; 12 bits after the milliseconds are their fraction (RFC 9562 section 6.2, method 3)."""
    global _last
    ticks = (time.time_ns() << 12) // 1_000_000
    with _lock:
        # A clock that stands still or jumps back must not break the order: count on from the last value.
        _last = ticks = ticks if ticks > _last else _last + 1
        drawn = _random_bytes(8)
    number = int.from_bytes(drawn, "big") & 0x3FFF_FFFF_FFFF_FFFF
    number |= (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64 | 0x2 << 62
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_id(prefix: str) -> str:
    """A new id such as `agt_01938c5e-…`; `prefix` is one of `PREFIXES`, with or without its underscore."""
    if prefix not in _PREFIXES and (prefix := prefix + "_") not in _PREFIXES:
        raise ValueError(f"unknown id prefix `{prefix}`")
    return prefix + uuid7()


def time_ns_of(identifier: str) -> int:
    """When an id was made, to the millisecond; it must be one that `new_id` made."""
    text = identifier.partition("_")[2]
    return int(text[:8] + text[9:13], 16) * 1_000_000


def is_id(prefix: str, text: str) -> bool:
    """True if `text` is an id with this prefix in the one spelling that `new_id` makes."""
    prefix = prefix if prefix.endswith("_") else prefix + "_"
    return text.startswith(prefix) and _UUID7.fullmatch(text, len(prefix)) is not None
