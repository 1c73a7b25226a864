"""A provider's error without the key that it quotes: some say which key they were sent, or a part of it.

The key, and parts of it of `PART` characters, are taken out where they stand as they are, where single characters are
escaped as in JSON, URLs and HTML, and beside asterisks or dots. So is a shorter part that stands by itself, if the key
begins or ends with it. If the key is still there in another form (base64, digits, escapes of escapes, with signs in
between), nothing of the error is passed on: an agent needs its status only.
"""

from __future__ import annotations

import base64
import functools
import html
import re
from collections.abc import Iterator, Sequence
from typing import Final
from urllib.parse import unquote_to_bytes

PART: Final = 8
"""Characters of a key that tell something of it; what is shorter stands in other words, too."""
MAX_BYTES: Final = 64 * 1024
"""A larger error is not passed on: it could not be looked through while others wait."""
HIDDEN: Final = b"[key]"

# The beginning of every key of a maker tells nothing: `sk-proj-`, `sk-ant-api03-`.
_PUBLIC: Final = re.compile(
    rb"(?:(?:sk|pk|rk|proj|ant|api\d\d|oat\d\d|or|v\d|svcacct|admin|gsk|xai|csk|fw|hf|tgp|nvapi|r8|pplx|key)[-_])+|AIza",
    re.IGNORECASE,
)
_SHORTEST: Final = 4  # characters of a part that stands by itself
_LONGEST: Final = 512  # characters beside a mask that are looked at
_TOKEN: Final = re.compile(rb"[A-Za-z0-9_+/=-]+")
_LAST_TOKEN: Final = re.compile(rb"[A-Za-z0-9_+/=-]+\Z")
_MASK: Final = re.compile(
    rb"\*{2,}|\.{2,}|(?:\xe2\x80\xa6|\xe2\x80\xa2|\\u2026|\\u2022|&hellip;|&bull;)+|[xX]{3,}|#{3,}", re.IGNORECASE
)
# Repeated signs are bounded: a long run of them must not be gone through again from each of its own.
_ESCAPED: Final = re.compile(
    rb"\\{1,8}(?:[uU]([0-9A-Fa-f]{4})|[uU]\{([0-9A-Fa-f]{1,6})\}|x([0-9A-Fa-f]{2})|([0-7]{3})|([^0-9A-Za-z\\]))"
)
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]{8,}")
_HEX: Final = re.compile(rb"(?:[0-9A-Fa-f]{2}[ :,-]?(?:0x|\\x)?){8,}")
_CODES: Final = re.compile(rb"\d{2,3}(?:[ ,;]{1,3}\d{2,3}){7,}")
_QUOTED: Final = re.compile(rb"=([0-9A-F]{2})")
_NOT_HEX: Final = re.compile(rb"0x|\\x|[^0-9A-Fa-f]")
_SIGNS: Final = re.compile(rb"[^A-Za-z0-9]+")
_NOT_BASE64: Final = re.compile(rb"[^A-Za-z0-9+/=_-]+")


def without(body: bytes, keys: Sequence[bytes], names: Sequence[bytes] = ()) -> bytes | None:
    """The body without these keys and names; None if one of them may be in it all the same, in some other form.

    Parts of a name, such as an account's, may stay: they may be words.
    """
    if len(body) > MAX_BYTES:
        return None
    for each in (*keys, *names):
        body = _pattern(each).sub(HIDDEN, body)
    for key in keys:
        body = _without_parts(body, key)
    return None if holds(body, keys, names) else body


def holds(text: bytes, keys: Sequence[bytes], names: Sequence[bytes] = ()) -> bool:
    """True if one of the keys, or a part of it, or one of the names is in a text, in any form."""
    if not keys and not names:
        return False
    views = {each.lower() for each in _views(text)}
    sought = [*(part for key in keys for part in _parts(key)), *(name.lower() for name in names)]
    return any(part in view for part in sought for view in views)


@functools.lru_cache(maxsize=256)
def _parts(key: bytes) -> tuple[bytes, ...]:
    """All that is told of a key if it is told: each `PART` characters in a row, in either direction, without signs."""
    own = key[_public(key) :].lower()
    if len(own) < PART:
        own = key.lower()
    found: list[bytes] = []
    for text in (own, _SIGNS.sub(b"", own)):
        parts = [text[at : at + PART] for at in range(len(text) - PART + 1)]
        found += [*parts, *(each[::-1] for each in parts)]
    return tuple(dict.fromkeys(found or [own]))


def _public(key: bytes) -> int:
    begins = _PUBLIC.match(key)
    return 0 if begins is None else begins.end()


@functools.lru_cache(maxsize=256)
def _pattern(secret: bytes) -> re.Pattern[bytes]:
    """The secret with any of its characters escaped."""
    return re.compile(b"".join(map(_character, secret)), re.IGNORECASE)


def _character(code: int) -> bytes:
    two = b"%02x" % code
    forms = (re.escape(bytes([code])), rb"\\{1,8}(?:u00|x)" + two, b"%(?:25){0,4}" + two)
    escaped = [rb"\\{1,8}/"] if code == ord("/") else []
    return b"(?:" + b"|".join([*forms, *escaped, b"&#(?:0{0,8}%d|x0{0,8}%s);" % (code, two)]) + b")"


def _without_parts(body: bytes, key: bytes) -> bytes:
    """The body without long parts of the key, and short ones that stand by themselves or beside a mask."""
    lower, known, public = body.lower(), key.lower(), _public(key)
    hidden = bytearray(len(body))

    def hide(begin: int, end: int) -> None:
        hidden[begin:end] = b"\1" * (end - begin)

    for part in _parts(key):
        at = lower.find(part)
        while at >= 0:
            hide(at, at + len(part))
            at = lower.find(part, at + len(part))
    for mask in _MASK.finditer(lower):
        before = _LAST_TOKEN.search(lower[max(0, mask.start() - _LONGEST) : mask.start()])
        after = _TOKEN.match(lower, mask.end(), mask.end() + _LONGEST)
        # Another escape that some write before it is no part of it.
        begins = before is not None and len(before[0]) > public and known.startswith(before[0])
        ends = after is not None and len(after[0]) > 1 and known.endswith(after[0])
        if begins or ends:
            hide(mask.start() - len(before[0]) if before and begins else mask.start(), mask.end())
            hide(mask.end(), after.end() if after and ends else mask.end())
    for token in _TOKEN.finditer(body):
        # A word is one in other letters, too.
        text, whole = (token[0], key) if token[0].isalpha() else (token[0].lower(), known)
        begins = len(text) >= public + _SHORTEST and whole.startswith(text)
        if begins or (len(text) >= _SHORTEST and whole.endswith(text)):
            hide(token.start(), token.end())
    pieces, at = [], 0
    for run in re.finditer(b"\1+", hidden):
        pieces += [body[at : run.start()], HIDDEN]
        at = run.end()
    return b"".join([*pieces, body[at:]]) if pieces else body


def _views(text: bytes) -> Iterator[bytes]:
    """A text as it reads once its escapes are taken back, without its signs, and what is encoded in it."""
    plain = text
    for _ in range(3):  # escapes of escapes
        before = plain
        if b"&" in plain:
            plain = html.unescape(plain.decode("latin-1")).encode("utf-8", "replace")
        if b"\\" in plain:
            plain = _ESCAPED.sub(_unescaped, plain)
        if b"%" in plain:
            plain = unquote_to_bytes(plain)
        if plain == before:
            break
    quoted = _QUOTED.sub(lambda found: bytes([int(found[1], 16)]), plain)
    for each in dict.fromkeys((text, plain, quoted, _NOT_BASE64.sub(b"", plain))):
        yield each
        yield _SIGNS.sub(b"", each)
        for inner in _decoded(each):
            yield inner
            yield from _decoded(inner)


def _unescaped(found: re.Match[bytes]) -> bytes:
    code = found[1] or found[2] or found[3]
    if code is not None:
        number = int(code, 16)
    elif found[4] is not None:
        number = int(found[4], 8)
    else:
        return found[5]
    return chr(number).encode("utf-8", "replace") if 255 < number < 0x110000 else bytes([number & 255])


def _decoded(text: bytes) -> Iterator[bytes]:
    """The texts behind base64, base32, hexadecimal digits and codes. Characters of base64 may begin at any place."""
    for run in _BASE64.finditer(text):
        digits = run[0].replace(b"-", b"+").replace(b"_", b"/")
        for at in range(4):
            whole = digits[at:]
            whole = whole[: len(whole) - (len(whole) % 4 == 1)]
            yield base64.b64decode(whole + b"=" * (-len(whole) % 4))
    for run in re.finditer(rb"[A-Za-z2-7]{16,}", text):
        for at in range(8):
            whole = run[0][at:]
            yield base64.b32decode(whole[: len(whole) // 8 * 8], casefold=True)
    for run in _HEX.finditer(text):
        digits = _NOT_HEX.sub(b"", run[0])
        for at in (0, 1):
            yield bytes.fromhex(digits[at : at + (len(digits) - at) // 2 * 2].decode())
    for run in _CODES.finditer(text):
        yield bytes(int(each) & 255 for each in re.findall(rb"\d+", run[0]))
