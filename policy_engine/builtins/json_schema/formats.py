"""The values of JSON Schema's `format`, for strings. What OPA accepts, which is more than the drafts allow."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from policy_engine.builtins import net, regex, uri
from policy_engine.builtins.json_schema.mailbox import is_mailbox
from policy_engine.builtins.layouts import parser


def matches(name: str, text: str) -> bool:
    """Whether the text has the format. A format that is not known fits everything."""
    checker = _CHECKERS.get(name)
    return checker is None or checker(text)


def _times(*layouts: str) -> Callable[[str], bool]:
    """Text in one of Go's layouts."""

    def fits(text: str) -> bool:
        for layout in layouts:
            try:
                parser.parse(layout, text)
            except parser.LayoutError:
                continue
            return True
        return False

    return fits


def _address(mark: str) -> Callable[[str], bool]:
    """An IP address in which the character is: an IPv6 address that ends in an IPv4 address is of both kinds."""
    return lambda text: mark in text and net.is_address(text)


def _hostname(text: str) -> bool:
    return len(text) < 256 and all(map(_LABEL.fullmatch, text.split(".")))


def _split(text: str) -> uri.URI | None:
    try:
        return uri.split(text)
    except uri.URIError:
        return None


def _uri(text: str) -> bool:
    parts = _split(text)
    return parts is not None and parts.scheme != "" and "\\" not in text


def _uri_reference(text: str) -> bool:
    return _split(text) is not None and "\\" not in text


def _uri_template(text: str) -> bool:
    parts = _split(text)
    return parts is not None and "\\" not in text and _BALANCED.fullmatch(parts.path) is not None


def _pattern(text: str) -> bool:
    return regex.is_pattern(text)


def _like(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern, re.DOTALL)
    return lambda text: compiled.fullmatch(text) is not None


_LABEL: Final = re.compile("[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_BALANCED: Final = re.compile(r"(?:[^{]|\{[^}]*\})*", re.DOTALL)
_STEPS: Final = "(?:/(?:[^~/]|~0|~1)*)*"
_TIME, _ZONED_TIME, _DATE = "15:04:05", "15:04:05Z07:00", "2006-01-02"

_CHECKERS: Final[dict[str, Callable[[str], bool]]] = {
    "date": _times(_DATE),
    "time": _times(_ZONED_TIME, _TIME),
    "date-time": _times(_TIME, _ZONED_TIME, _DATE, f"{_DATE}T{_ZONED_TIME}"),
    "hostname": _hostname,
    "email": is_mailbox,
    "idn-email": is_mailbox,
    "ipv4": _address("."),
    "ipv6": _address(":"),
    "uri": _uri,
    "uri-reference": _uri_reference,
    "iri": _uri,
    "iri-reference": _uri_reference,
    "uri-template": _uri_template,
    "uuid": _like("[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}"),
    "regex": _pattern,
    "json-pointer": _like(_STEPS),
    "relative-json-pointer": _like(f"(?:0|[1-9][0-9]*)(?:#|{_STEPS})"),
}
