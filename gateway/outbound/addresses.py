"""The addresses that the gateway may connect to: one rule for all that operators name (pure).

An operator who may name one could otherwise have the gateway knock on doors inside its own network. So a host's
addresses are looked at when a connection is made, not when it is added, and `pool.py` connects to these very addresses:
a name that is looked up again could lead elsewhere. A host that must be public and is not looks like one that does not
exist, so that nobody learns from the gateway which names and ports there are inside.

The `reach` of a webhook is what its options say. The reach of an upstream or an issuer says who added it: an operator
of one organization reaches public addresses, and those of the whole gateway reach whatever they name.
"""

from __future__ import annotations

import ipaddress
from typing import Any, Final
from urllib.parse import urlsplit

from gateway.errors import GatewayError, Hint

PUBLIC: Final = "public"
LOOPBACK: Final = "loopback"
PRIVATE: Final = "private"
INSIDE: Final = "inside"
"""Private addresses and this machine."""
ANYWHERE: Final = "anywhere"
"""Every address: the operators of the whole gateway have chosen it."""

_LONGEST: Final = 2000
# Names that mean something in one network only (RFC 6761, 6762, 8375, ICANN's `internal`, and what Kubernetes, Docker
# and routers use).
_INSIDE_NAMES: Final = (
    *(".localhost", ".localdomain", ".local", ".internal", ".home.arpa", ".lan", ".home", ".corp", ".intranet"),
    *(".private", ".svc", ".cluster", ".consul", ".test", ".invalid"),
)
# The addresses at which clouds serve the credentials of a machine. Link-local addresses are refused as a whole.
_METADATA: Final = frozenset(
    map(
        ipaddress.ip_address,
        ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254"),
    )
)
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.ip_network("::/96")
# A network's own NAT64 leads to IPv4 addresses that stand wherever it chooses (RFC 8215), Teredo through a relay.
_DETOURS: Final = (ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("2001::/32"))

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class RefusedAddressError(OSError):
    """The host has an address that the gateway may not connect to. The text is for whoever chose the host."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


def check_url(text: str, *, insecure: bool) -> str:
    """The URL, if deliveries may go there. `insecure` lets this machine be reached by HTTP."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError as error:
        raise _bad(f"it cannot be read: {str(error).lower()}") from None
    if url.username is not None or url.password is not None:
        raise _bad("it must not hold a user or password; deliveries are signed")
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text or len(text) > _LONGEST:
        raise _bad(f"it must be at most {_LONGEST} plain characters without spaces")
    if url.scheme not in ("https", "http") or not host or port == 0 or "#" in text:
        raise _bad("it must be like https://alerts.example.com/gateway")
    address = literal(host)
    if url.scheme == "http" and not (insecure and is_loopback(host)):
        hint = "use https" if not is_loopback(host) else "say --insecure if the receiver is on this machine"
        raise _bad("deliveries over http could be read and changed on the way", hint)
    if address is None and host.rsplit(".", 1)[-1][:1].isdigit():
        raise _bad("its host must be a name or an address in the usual form")
    return text


def check_literal(url: str, reach: str) -> None:
    """Raise if the host of a URL is an address that deliveries may not go to. Names are looked up later."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        host = "127.0.0.1"
    if literal(host) is not None and (why := refusal(host, reach)):
        what, _, step = why.partition(": ")
        raise _bad(what, step)


def reach_of(*, insecure: bool, allow_private: bool) -> str:
    """The addresses that a webhook's host may have."""
    if allow_private:
        return INSIDE if insecure else PRIVATE
    return LOOPBACK if insecure else PUBLIC


def is_loopback(host: str) -> bool:
    address = literal(host)
    return host == "localhost" or (address is not None and _inner(address).is_loopback)


def literal(host: str) -> Address | None:
    """The address that a host is, if it is no name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def is_inside_name(host: str) -> bool:
    """True if a name means something in one network only, whatever address it has."""
    bare = host.rstrip(".").lower()
    return "." not in bare or f".{bare}".endswith(_INSIDE_NAMES)


def not_public(host: str) -> str:
    """The one text for a name that leads inside and for one that leads nowhere."""
    return f"`{host}` is no public address" if literal(host) else f"`{host}` cannot be resolved to a public address"


def refusal(address: str, reach: str) -> str:
    """The reason why the gateway may not connect to an address; empty if it may."""
    if reach == ANYWHERE:
        return ""
    try:
        found = _inner(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return f"`{address}` is not an address"
    detour = any(found in each for each in _DETOURS)
    if found in _METADATA or found.is_link_local or found.is_multicast or found.is_unspecified or detour:
        return f"{found} is an address that no webhook may have"
    if found.is_loopback:
        return "" if reach in (LOOPBACK, INSIDE) else f"{found} is this machine: add the webhook with --insecure"
    # Not every version of Python takes the site-local addresses of old for private ones.
    site_local = isinstance(found, ipaddress.IPv6Address) and found.is_site_local
    if (site_local or not found.is_global) and reach not in (PRIVATE, INSIDE):
        return f"{found} is a private address: add the webhook with --allow-private"
    return ""


def checked(host: str, found: list[Any], reach: str) -> list[Any]:
    """These addresses of a host. Raises `RefusedAddressError` unless all of them may be reached."""
    for each in found:
        if why := refusal(str(each[4][0]), reach):
            raise RefusedAddressError(not_public(host) if reach == PUBLIC else why)
    return found


def _inner(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):  # `::` and `::1` are IPv6's own
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _bad(why: str, hint: str = "") -> GatewayError:
    api = "use https and a public address; only operators of the whole gateway may send insecure or allow_private"
    return GatewayError("invalid_url", f"the URL of a webhook is not acceptable: {why}", hint=Hint(hint, api=api))
