"""The client's address behind a proxy: told by a header, and believed only of proxies that the settings name.

Every client can send such a header. So it is looked at only on a connection from one of `proxies`, and only the
one header that those proxies set (`proxy_header`): a proxy passes the other one on as the client has sent it. It is
read from its end, where each proxy adds the address that it saw; the first that is none of `proxies` is the client.
A value that cannot be read is not believed: then the client is the proxy.

Sources: RFC 7239; https://developer.mozilla.org/docs/Web/HTTP/Reference/Headers/X-Forwarded-For
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Awaitable, Iterable, Sequence
from typing import Final, TypeAlias

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.settings import Settings

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_MOST: Final = 32  # addresses that are looked at
_FOR: Final = re.compile(r'(?:^|;)\s*for\s*=\s*("?)([^";,\s]{1,64})\1\s*(?:;|$)', re.IGNORECASE | re.ASCII)
_WITH_PORT: Final = re.compile(r"\[([0-9a-fA-F:.]+)\](?::[0-9]{1,5})?|([0-9.]+):[0-9]{1,5}", re.ASCII)


class TrustedProxies:
    """The ASGI application in front of all others: from here on the client of a request is who it is said to be."""

    def __init__(self, app: ASGIApp, networks: Iterable[str], header: str) -> None:
        self._app = app
        self._networks = tuple(ipaddress.ip_network(each) for each in networks)
        self._header = header.encode()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        client = scope.get("client")
        if client is not None and (found := self.client_of(client[0], scope["headers"])) != client[0]:
            scope["client"] = (found, 0)
        return self._app(scope, receive, send)

    def client_of(self, peer: str, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """The address of the client of a request that comes from `peer`."""
        address = _address(peer)
        if address is None or not self._is_proxy(address):
            return peer
        text = b",".join(value for name, value in headers if name == self._header).decode("latin-1")
        client = peer
        for each in reversed(text.split(",")[-_MOST:]):
            address = _address(_for(each) if self._header == b"forwarded" else each.strip(" \t"))
            if address is None:
                break
            client = str(address)
            if not self._is_proxy(address):
                break
        return client

    def _is_proxy(self, address: _Address) -> bool:
        return any(address in each for each in self._networks)


def in_front_of(app: ASGIApp, settings: Settings) -> ASGIApp:
    """The application, behind the proxies of the settings; itself if there are none."""
    return TrustedProxies(app, settings.proxies, settings.proxy_header) if settings.proxies else app


def _for(element: str) -> str:
    found = _FOR.search(element)
    return found[2] if found else ""


def _address(text: str) -> _Address | None:
    """An address, perhaps with a port. An IPv4 one that came to a socket for both is itself."""
    ported = _WITH_PORT.fullmatch(text)
    try:
        found = ipaddress.ip_address((ported[1] or ported[2]) if ported else text)
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return mapped or found
