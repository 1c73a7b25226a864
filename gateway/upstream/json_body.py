"""Request bodies as JSON: small ones by `strict_json`, large ones as strictly, from a file and in small steps.

The interpreter lets no other thread run while it is inside of one call. So that the event loop goes on beside a body of
any size and content, no step here works on more than a window of the body, and the thread pauses in between
(`pauses.py`). Long strings (images, audio, documents) are cut out first and decoded by themselves, window by window; an
empty string stands in their place in what the decoder of the standard library is given. Everything else is small: the
number of values has a limit, and it is counted on the way, before anything is decoded.
"""

from __future__ import annotations

import codecs
import json.decoder
import json.scanner
import re
from collections.abc import Callable
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

import orjson

from gateway.body import WINDOW, Body, SpooledBody
from gateway.pauses import Pauses
from gateway.upstream import strict_json

# The function by which both scanners of the standard library read a string: its text, where it begins, whether it is
# strict.
_scan_string: Callable[[str, int, bool], tuple[str, int]] = json.decoder.scanstring  # type: ignore[attr-defined]

_LONG = 2 * WINDOW
"""A string of at least so many bytes is cut out. It is longer than a window, however it lies."""

_COLON = re.compile(r'"[ \t\n\r]*:')  # after the name of a member
_MAX_TOKEN = 4096  # the longest number; a longer token may also be no JSON
_HIGH = ("d8", "d9", "da", "db")


def parse(body: Body) -> Any:
    """Parse a body; `Denied` with `bad_request`, `duplicate_key` or `too_large`."""
    return strict_json.parse(body) if isinstance(body, bytes) else _parse(body)


def _parse(body: SpooledBody) -> Any:
    cut = _Cut()
    try:
        for window in body.windows():
            cut.feed(window)
        return _decode(cut.finish(), cut.strings)
    except UnicodeDecodeError:
        strict_json.refuse("the body is not UTF-8")
    except strict_json.DuplicateKeyError as error:
        raise error.denied() from None
    except JSONDecodeError as error:
        _not_json(error.msg)
    except ValueError as error:
        strict_json.refuse(str(error))
    except RecursionError:
        strict_json.refuse(f"the body is nested deeper than {strict_json.MAX_DEPTH} levels")


class _Cut:
    """Goes through the body and cuts the long strings out of it. `strings` has them by where they would begin."""

    def __init__(self) -> None:
        self.strings: dict[int, str] = {}
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._text = ""
        self._first = True
        # The last byte of a window, if it is a backslash whose other half is in the next one.
        self._rest = b""
        # Between two quotes, and what has come of that string; of a string inside of one window nothing is kept.
        self._inside = False
        self._string: list[bytes] = []
        self._structure = self._quotes = 0

    def feed(self, window: bytes) -> None:
        if self._first and window.startswith(strict_json.BYTE_ORDER_MARKS):
            strict_json.refuse("the body begins with a byte order mark")
        self._first = False
        window = self._rest + window
        if (len(window) - len(window.rstrip(b"\\"))) % 2:
            window, self._rest = window[:-1], b"\\"
        else:
            self._rest = b""
        self._take(window)

    def finish(self) -> str:
        """The rest of the body."""
        self._keep(self._rest)
        if self._inside:
            _not_json("Unterminated string")
        self._decoder.decode(b"", True)
        return self._text

    def _take(self, window: bytes) -> None:
        # The same bytes, in which every quote is one that begins or ends a string. Outside of strings there may be no
        # backslash, so that it does not matter what becomes of one: the decoder will refuse it.
        plain = window.replace(b"\\\\", b"__").replace(b'\\"', b"__") if b"\\" in window else window
        first, last = plain.find(b'"'), plain.rfind(b'"')
        self._count(plain)
        if first < 0:
            if self._inside:
                self._string.append(window)
            else:
                self._keep(_shortened(window))
            return
        begin = 0
        if self._inside:
            self._string.append(window[:first])
            self._end_string()
            begin = first
        self._inside ^= bool(plain.count(b'"') % 2)
        if self._inside:
            self._keep(window[begin : last + 1])
            self._string = [window[last + 1 :]]
        else:
            self._keep(window[begin:])

    def _count(self, plain: bytes) -> None:
        """Count what stands outside of strings. Every value but the first of a container stands behind a comma."""
        # A value has at most two strings, itself and its key: with more quotes there are too many values in any case.
        self._quotes += plain.count(b'"')
        if self._quotes <= 4 * strict_json.MAX_VALUES:
            outside = b"".join(plain.split(b'"')[self._inside :: 2])
            self._structure += strict_json.structure(outside)
            # Digits of other scripts are digits to the decoder, but not to JSON.
            if not outside.isascii():
                _not_json("Expecting value")
        if max(self._structure, self._quotes // 4) > strict_json.MAX_VALUES:
            raise strict_json.too_many()

    def _end_string(self) -> None:
        pieces, self._string = self._string, []
        if sum(map(len, pieces)) < _LONG:
            for piece in pieces:
                self._keep(piece)
        else:
            self.strings[len(self._text)] = _string(pieces)

    def _keep(self, data: bytes) -> None:
        # Only a local name lets the interpreter lengthen a text in place instead of copying it.
        text, self._text = self._text, ""
        text += self._decoder.decode(data)
        self._text = text


def _shortened(window: bytes) -> bytes:
    """A window without quotes, and with less white space in it."""
    if strict_json.structure(window) or b"\x0b" in window or b"\x0c" in window:
        return window
    tokens = window.split()
    if any(len(token) > _MAX_TOKEN for token in tokens):
        strict_json.refuse("the body holds a number of too many digits, or is not JSON")
    # A token may go on in the next window.
    return b" " * window[:1].isspace() + b" ".join(tokens) + b" " * window[-1:].isspace()


def _string(pieces: list[bytes]) -> str:
    """The string that is written so. No piece ends with half of an escape of two characters."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    found = text = ""
    pause = Pauses()
    for number, piece in enumerate(pieces, 1):
        pause()
        last = number == len(pieces)
        text += decoder.decode(piece, last)
        end = len(text) if last else _whole(text)
        value, stop = _scan_string(text[:end] + '"', 0, True)
        if stop != end + 1:
            _not_json("Invalid string")
        if "\\u" in text:
            strict_json.check_text(value)
        # In place, so that no step grows with the string; joined at the end it would take its memory twice.
        found += value
        text = text[end:]
    return found


def _whole(text: str) -> int:
    """The length of the part of a text that does not end in the middle of an escape or of a pair of them."""
    end = len(text)
    for _ in range(3):
        at = text.rfind("\\u", max(0, end - 6), end)
        # The backslash may itself be escaped.
        if at < 0 or (len(text[: at + 1]) - len(text[: at + 1].rstrip("\\"))) % 2 == 0:
            break
        if at + 6 < end or (at + 6 == end and text[at + 2 : at + 4].lower() not in _HIGH):
            break
        end = at
    return end


def _decode(text: str, strings: dict[int, str]) -> Any:
    if any(_COLON.match(text, begin) for begin in strings):
        strict_json.refuse(f"the name of a member has {_LONG} bytes or more")

    def parse_string(text: str, begin: int, strict: bool) -> tuple[str, int]:
        cut = strings.get(begin)
        return _scan_string(text, begin, strict) if cut is None else (cut, begin + 1)

    decoder: Any = JSONDecoder(**strict_json.HOOKS)
    decoder.parse_string = parse_string
    # The scanner in C would read everything between two objects in one step.
    decoder.scan_once = json.scanner.py_make_scanner(decoder)  # type: ignore[attr-defined]  # not in its stub
    try:
        value = decoder.decode(text)
    finally:
        strings.clear()  # the scanner refers to itself, so it stays until the next garbage collection
    strict_json.check_depth(value)
    if "\\u" in text:
        strict_json.check_texts(value)
    return value


def dump(value: Any, before: Body) -> bytes:
    """`value` as compact JSON in UTF-8, of which `parse` makes the same value; it was made of the body `before`."""
    return strict_json.dump(value if isinstance(before, bytes) else _written(value))


def _written(value: Any) -> Any:
    """The value with its long strings written already."""
    if isinstance(value, dict):
        return {name: _written(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_written(each) for each in value]
    if not isinstance(value, str) or len(value) < _LONG:
        return value
    pieces, pause = [], Pauses()
    for at in range(0, len(value), WINDOW):
        pause()
        pieces.append(strict_json.dump(value[at : at + WINDOW])[1:-1])
    return orjson.Fragment(b'"' + b"".join(pieces) + b'"')


def _not_json(message: str) -> NoReturn:
    strict_json.refuse(f"the body is not JSON: {message[:1].lower()}{message[1:]}")
