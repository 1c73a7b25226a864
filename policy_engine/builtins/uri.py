"""uri.parse and uri.is_valid: URLs as Go's `net/url` takes them apart.

Text is looked at byte by byte. Inside this file a byte is a character of Latin-1, which is what "octets" means here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from string import ascii_letters, digits
from typing import Final

from policy_engine.builtins import percent
from policy_engine.builtins.octets import from_bytes, to_bytes
from policy_engine.builtins.operands import charge_made, shown, string
from policy_engine.builtins.percent import EscapeError
from policy_engine.builtins.table import Builtin, Context
from policy_engine.errors import BuiltinError
from policy_engine.types import BOOLEAN, STRING, FunctionType
from policy_engine.types import object_ as object_of
from policy_engine.values import Charge, Value, type_name


class URIError(ValueError):
    """Text that is no URL."""


@dataclass(frozen=True, slots=True)
class URI:
    """The parts of a URL, decoded, as text of octets.

    `opaque` is all of one that is no path (mailto:a@b); `raw_path` the path as it was given, "" if it was given as Go
    would write it.
    """

    scheme: str = ""
    opaque: str = ""
    user: str | None = None
    host: str = ""
    path: str = ""
    raw_path: str = ""
    query: str = ""
    fragment: str = ""

    @property
    def hostname(self) -> str:
        name = self._split_host()[0]
        return name[1:-1] if name.startswith("[") and name.endswith("]") else name

    @property
    def port(self) -> str:
        return self._split_host()[1]

    @property
    def escaped_path(self) -> str:
        """The path as it goes over the wire: as it was given, unless that has characters that must be escaped."""
        if self.raw_path and not _NOT_IN_PATHS.search(self.raw_path):
            return self.raw_path
        return self.path if self.path == "*" else _escaped_path(self.path)

    def _split_host(self) -> tuple[str, str]:
        name, colon, port = self.host.rpartition(":")
        return (name, port) if colon and _is_port(port) else (self.host, "")


def parse(ctx: Context, operand: Value) -> Value:
    """The parts that the URL has."""
    text = string(operand, "uri.parse", 1)
    charge_made(ctx, len(text), ascii_only=text.isascii())
    try:
        uri = split(text, ctx.charge)
    except URIError as error:
        raise BuiltinError(f"uri.parse: {error}") from None
    parts = {
        "scheme": uri.scheme,
        "hostname": uri.hostname,
        "port": uri.port,
        "path": uri.path,
        "raw_path": uri.raw_path or uri.path,
        "raw_query": uri.query,
        "fragment": uri.fragment,
    }
    return {name: from_bytes(part.encode("latin-1")) for name, part in parts.items() if part}


def is_valid(ctx: Context, operand: Value) -> Value:
    """True for a string that is a URL and not empty, false for every other value."""
    if operand.__class__ is not str:
        type_name(operand)
        return False
    charge_made(ctx, len(operand), ascii_only=operand.isascii())
    try:
        split(operand, ctx.charge)
    except URIError:
        return False
    return operand != ""


def split(text: str, charge: Charge | None = None) -> URI:
    """The parts of a URL. Raises `URIError`."""
    before, _, fragment = to_bytes(text).decode("latin-1").partition("#")
    try:
        return replace(_split(before, charge), fragment=_unescape(fragment, charge))
    except (URIError, EscapeError) as error:
        raise URIError(f"{shown(text)} is no URL: {error}") from None


_CONTROL: Final = re.compile("[\x00-\x1f\x7f]")
_SCHEME: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(.*)", re.DOTALL)


def _split(octets: str, charge: Charge | None) -> URI:
    if _CONTROL.search(octets):
        raise URIError("it has a control character")
    if octets == "*":
        return URI(path="*")
    if octets[:1] == ":":
        raise URIError("the scheme is missing")
    found = _SCHEME.fullmatch(octets)
    scheme, rest = (found.group(1).lower(), found.group(2)) if found else ("", octets)
    rest, _, query = rest.partition("?")
    if not rest.startswith("/"):
        if scheme:
            return URI(scheme=scheme, opaque=rest, query=query)
        if ":" in rest.partition("/")[0]:
            raise URIError("the first segment of the path has a colon")
    user, host = None, ""
    if rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, rest = rest[2:].partition("/")
        rest = slash + rest
        user, host = _split_authority(authority, scheme)
    path = _unescape(rest, charge)
    raw_path = "" if _escaped_path(path, charge) == rest else rest
    return URI(scheme, "", user, host, path, raw_path, query)


_NOT_IN_PATHS: Final = re.compile(r"[^A-Za-z0-9._~$&+,/:;=@!'()*\[\]%-]")
_PATH_ESCAPES: Final = percent.table(f"{ascii_letters}{digits}._~$&+,/:;=@-")


def _escaped_path(path: str, charge: Charge | None = None) -> str:
    return percent.escape(path.encode("latin-1"), _PATH_ESCAPES, charge)


_USER: Final = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")


def _split_authority(authority: str, scheme: str) -> tuple[str | None, str]:
    """User (None if there is none) and host with port."""
    if len(authority) > _LONGEST:
        raise URIError(f"a host has at most {_LONGEST} characters")
    user, at, host = authority.rpartition("@")
    host = _host(host, scheme)
    if not at:
        return None, host
    if not _USER.fullmatch(user):
        raise URIError("the user has a character that must be escaped")
    return _unescape(user), host


_LONGEST: Final = 65_536


def _host(host: str, scheme: str) -> str:
    """The decoded host with its port, checked. Only for the web's schemes may there be no second colon."""
    bracket = host.rfind("[")
    if bracket > 0:
        raise URIError("there is text before the bracket of the host")
    if bracket < 0:
        _, colon, port = host.partition(":") if scheme in ("http", "https") else host.rpartition(":")
        if colon and not _is_port(port):
            raise URIError("the port is no number")
        return _unescape_host(host)
    end = host.rfind("]")
    if end < 0:
        raise URIError("the host has no closing bracket")
    port = host[end + 1 :]
    if port and not (port[0] == ":" and _is_port(port[1:])):
        raise URIError("the port is no number")
    address, percent, zone = host[1:end].partition("%25")
    decoded = _unescape_host(address) + _ESCAPE.sub(_zone_octet, percent + zone)
    _check_ip_literal(decoded)
    return f"[{decoded}]{port}"


def _check_ip_literal(text: str) -> None:
    """Refuse a host that is not an IPv6 address, with or without a zone (RFC 6874)."""
    from ipaddress import AddressValueError, IPv6Address

    address, percent, zone = text.partition("%")
    try:
        IPv6Address(address)
    except AddressValueError:
        raise URIError("the brackets of the host hold no IPv6 address") from None
    if percent and not zone:
        raise URIError("the zone of the host is empty")


def _is_port(text: str) -> bool:
    return not text.strip("0123456789")


_HOST_CHARACTERS: Final = "A-Za-z0-9._~!$&'()*+,;=:\\[\\]<>\"\\-"
_IN_HOST: Final = re.compile(f"[{_HOST_CHARACTERS}]")
_ESCAPE: Final = re.compile(rf"%([0-9A-Fa-f]{{2}})?|[^{_HOST_CHARACTERS}\x80-\xff]")


def _unescape(octets: str, charge: Charge | None = None) -> str:
    """Paths, fragments and user names: every octet may be escaped."""
    return percent.unescape(octets.encode("latin-1"), charge).decode("latin-1") if "%" in octets else octets


def _octet(found: re.Match[str]) -> str:
    if found[1] is None:
        raise URIError(f"the host has {shown(found[0])}, which must be escaped")
    return chr(int(found[1], 16))


def _unescape_host(octets: str) -> str:
    return _ESCAPE.sub(_host_octet, octets)


def _host_octet(found: re.Match[str]) -> str:
    """In a host only octets beyond ASCII may be escaped, and the percent sign of a zone."""
    octet = _octet(found)
    if octet < "\x80" and octet != "%":
        raise URIError("the host has an escape of an ASCII character")
    return octet


def _zone_octet(found: re.Match[str]) -> str:
    """In a zone octets may be escaped that may also be written, the percent sign, and the space."""
    octet = _octet(found)
    if octet not in "% " and not _IN_HOST.fullmatch(octet):
        raise URIError("the zone of the host has an escape of another character")
    return octet


BUILTINS: Final = (
    Builtin("uri.is_valid", FunctionType((STRING,), BOOLEAN), is_valid, context=True),
    Builtin("uri.parse", FunctionType((STRING,), object_of(STRING, STRING)), parse, context=True),
)
