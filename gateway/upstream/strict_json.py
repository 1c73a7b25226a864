"""Request bodies as JSON, parsed so strictly that no other parser can read the same bytes differently.

Most parsers take the last of two equal keys, some take the first; some accept NaN, a byte order mark or half of a
surrogate pair. A policy must judge what the upstream will see, so everything on which parsers are known to differ is
refused here: duplicate keys (also when one is written with escapes), NaN and the infinities, numbers beyond 64 bits or
the range of a double, lone surrogates, a byte order mark, other encodings than UTF-8, and nesting or size beyond the
limits. The providers (`gateway/upstream/providers/`) know what a body means.
Specification: architecture.md, section 7, step 4.
"""

from __future__ import annotations

import json
import re
from json import JSONDecodeError, JSONDecoder
from typing import Any, NoReturn

import orjson

from gateway.errors import Denied

MAX_DEPTH = 64
MAX_VALUES = 100_000

BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD][89a-fA-F]")
_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_INFINITY = float("inf")


class DuplicateKeyError(Exception):
    """Carries the key out of the decoder, and does not leave the two modules that use it."""

    def denied(self) -> Denied:
        return Denied("duplicate_key", reasons=[f"the key {shown(self.args[0])} appears twice in one object"])


def parse(raw: bytes, most_values: int = MAX_VALUES) -> Any:
    """Parse a body; `Denied` with `bad_request`, `duplicate_key` or `too_large`."""
    if raw.startswith(BYTE_ORDER_MARKS):
        refuse("the body begins with a byte order mark")
    _check_count(raw, most_values)
    try:
        value = _DECODER.decode(raw.decode("utf-8"))
    except UnicodeDecodeError:
        refuse("the body is not UTF-8")
    except DuplicateKeyError as error:
        raise error.denied() from None
    except JSONDecodeError as error:
        refuse(f"the body is not JSON: {_lower(error.msg)} at line {error.lineno} column {error.colno}")
    except ValueError as error:
        refuse(str(error))
    except RecursionError:
        refuse(f"the body is nested deeper than {MAX_DEPTH} levels")
    # Most bodies have too few brackets to be nested too deep, and no escapes.
    if raw.count(b"[") + raw.count(b"{") > MAX_DEPTH:
        check_depth(value)
    if b"\\u" in raw and _SURROGATE_ESCAPE.search(raw):
        _check_surrogates(value)
    return value


def dump(value: Any) -> bytes:
    """`value` as compact JSON in UTF-8. `parse` makes the same value of it."""
    return orjson.dumps(value)


def shown(text: str, limit: int = 64) -> str:
    """Text of a client for a message: escaped, quoted and shortened."""
    cut = text if len(text) <= limit else text[:limit] + "…"
    return "`" + json.dumps(cut)[1:-1] + "`"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DuplicateKeyError(key)
            seen.add(key)
    return result


def _constant(text: str) -> NoReturn:
    raise ValueError(f"the body holds {text}, which is not JSON")


def _integer(text: str) -> int:
    # Twenty characters hold every 64-bit integer; a longer text is never given to int(), whose cost is quadratic.
    if len(text) <= 20 and _LOWEST <= (number := int(text)) <= _HIGHEST:
        return number
    raise ValueError("the body holds an integer beyond 64 bits")


def _float(text: str) -> float:
    number = float(text)
    if number in (_INFINITY, -_INFINITY):
        raise ValueError("the body holds a number beyond the range of a double")
    return number


HOOKS: dict[str, Any] = {
    "object_pairs_hook": _object,
    "parse_constant": _constant,
    "parse_int": _integer,
    "parse_float": _float,
}
"""The hooks that make a decoder of the standard library strict."""

_DECODER = JSONDecoder(**HOOKS)


def _check_count(raw: bytes, most: int) -> None:
    """Refuse too many values before any is decoded: decoding millions of them would take seconds.

    Every value but the first of a container stands behind a comma, and every container begins with a bracket.
    """
    if len(raw) <= most or structure(raw) <= most:
        return
    # Commas and brackets inside strings do not count. Once escapes are removed, a string stands between two quotes.
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    # A value has at most two strings, itself and its key: with more quotes there are too many values in any case.
    if plain.count(b'"') > 4 * most or structure(b"".join(plain.split(b'"')[::2])) > most:
        raise too_many(most)


def too_many(most: int = MAX_VALUES) -> Denied:
    return Denied("too_large", reasons=[f"the body holds more than {most} values"])


def structure(raw: bytes) -> int:
    """The number of values that these bytes can begin, but for the first of each container."""
    return raw.count(b",") + raw.count(b"[") + raw.count(b"{")


def check_depth(value: Any) -> None:
    """Walk the containers level by level, without recursion, until the limit is passed."""
    level = [value] if value.__class__ in (dict, list) else []
    depth = 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            refuse(f"the body is nested deeper than {MAX_DEPTH} levels")
        below: list[Any] = []
        for container in level:
            members = container.values() if container.__class__ is dict else container
            below += [member for member in members if member.__class__ is dict or member.__class__ is list]
        level = below


def _check_surrogates(value: Any) -> None:
    """Escapes can spell half a surrogate pair, in keys and values; UTF-8 cannot, so encoding finds them all."""
    try:
        dump(value)
    except orjson.JSONEncodeError:
        refuse("the body holds half of a surrogate pair")


def check_text(text: str) -> None:
    """Refuse a text with half of a surrogate pair in it."""
    try:
        text.encode()
    except UnicodeEncodeError:
        refuse("the body holds half of a surrogate pair")


def check_texts(value: Any) -> None:
    """The same for all texts in a value, one by one: encoding the whole of a large one would take long."""
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            check_text(each)
        elif isinstance(each, dict):
            waiting += each
            waiting += each.values()
        elif isinstance(each, list):
            waiting += each


def _lower(message: str) -> str:
    return message[:1].lower() + message[1:]


def refuse(reason: str) -> NoReturn:
    raise Denied("bad_request", reasons=[reason])
