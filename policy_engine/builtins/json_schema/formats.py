"""The values of JSON Schema's `format`, for strings, as OPA accepts them: it allows more than the drafts.

But for e-mail addresses: OPA also takes what may stand in a header there, names, comments and groups of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from policy_engine.builtins import net, regex, uri
from policy_engine.builtins.layouts import parser
from policy_engine.builtins.octets import SURROGATES
from policy_engine.values import Charge


def matches(name: str, text: str, charge: Charge) -> bool:
    """True if the text has the format. An unknown format fits everything."""
    charge(4 + len(text) // 4)
    if name in _OF_SHORT:
        return len(text) <= _SHORT and _OF_SHORT[name](text)
    return name not in _OF_ANY or _OF_ANY[name](text, charge)


_SHORT: Final = 65_536


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


def _email(text: str) -> bool:
    """One mailbox (RFC 5321 section 4.1.2)."""
    found = _MAILBOX.fullmatch(text)
    if found is None or SURROGATES.search(text):
        return False
    return found["address"] is None or net.is_address(found["address"])


def _split(text: str, charge: Charge) -> uri.URI | None:
    try:
        return uri.split(text, charge)
    except uri.URIError:
        return None


def _uri(text: str, charge: Charge) -> bool:
    parts = _split(text, charge)
    return parts is not None and parts.scheme != "" and "\\" not in text


def _uri_reference(text: str, charge: Charge) -> bool:
    return _split(text, charge) is not None and "\\" not in text


def _uri_template(text: str, charge: Charge) -> bool:
    parts = _split(text, charge)
    return parts is not None and "\\" not in text and _BALANCED.fullmatch(parts.path) is not None


def _pointer(text: str, charge: Charge) -> bool:
    return text[:1] in ("", "/") and _NO_ESCAPE.search(text) is None


def _relative_pointer(text: str, charge: Charge) -> bool:
    found = _LEVELS.match(text)
    return found is not None and (text[found.end() :] == "#" or _pointer(text[found.end() :], charge))


_ATOMS: Final = r"""[^\x00-\x20\x7f<>":()\[\];@\\,.]+(?:\.[^\x00-\x20\x7f<>":()\[\];@\\,.]+)*"""
_QUOTED: Final = r"""(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])+"""
_MAILBOX: Final = re.compile(rf"""(?:{_ATOMS}|"{_QUOTED}")@(?:{_ATOMS}|\[(?P<address>[^]]*)\])""")
_LABEL: Final = re.compile("[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")
_BALANCED: Final = re.compile(r"(?:[^{]|\{[^}]*\})*", re.DOTALL)
_UUID: Final = re.compile("[a-fA-F0-9]{8}(?:-[a-fA-F0-9]{4}){3}-[a-fA-F0-9]{12}")
_NO_ESCAPE: Final = re.compile("~(?![01])")
_LEVELS: Final = re.compile("0|[1-9][0-9]*")
_TIME, _ZONED_TIME, _DATE = "15:04:05", "15:04:05Z07:00", "2006-01-02"

_OF_SHORT: Final[dict[str, Callable[[str], bool]]] = {
    "date": _times(_DATE),
    "time": _times(_ZONED_TIME, _TIME),
    "date-time": _times(_TIME, _ZONED_TIME, _DATE, f"{_DATE}T{_ZONED_TIME}"),
    "hostname": _hostname,
    "email": _email,
    "idn-email": _email,
    "ipv4": _address("."),
    "ipv6": _address(":"),
    "uuid": lambda text: _UUID.fullmatch(text) is not None,
}
"""Formats that no long text has."""

_OF_ANY: Final[dict[str, Callable[[str, Charge], bool]]] = {
    "uri": _uri,
    "uri-reference": _uri_reference,
    "iri": _uri,
    "iri-reference": _uri_reference,
    "uri-template": _uri_template,
    "regex": regex.is_pattern,
    "json-pointer": _pointer,
    "relative-json-pointer": _relative_pointer,
}
