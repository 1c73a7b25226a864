"""The addresses of a host, of which only those come through that may be connected to (`addresses.py`).

They are looked at here and nowhere else, and the caller connects to these very addresses: a name that is looked up
again could lead elsewhere. A host that must be public and is not looks like one that does not exist, so that nobody
learns from the gateway which names and ports there are inside.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from gateway.outbound import addresses


class RefusedAddressError(OSError):
    """The host has an address that the gateway may not connect to. The text is for whoever chose the host."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return self.text


async def look_up(host: str, port: int, reach: str, *, family: int = 0, flags: int = 0) -> list[Any]:
    """The answer of `getaddrinfo`. Raises `RefusedAddressError` unless all may be reached; otherwise `OSError`."""
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family, flags=flags)
    except (OSError, UnicodeError):
        if reach == addresses.PUBLIC:
            raise RefusedAddressError(addresses.not_public(host)) from None
        raise
    return checked(host, found, reach)


def checked(host: str, found: list[Any], reach: str) -> list[Any]:
    """These addresses of a host. Raises `RefusedAddressError` unless all of them may be reached."""
    for each in found:
        if why := addresses.refusal(str(each[4][0]), reach):
            raise RefusedAddressError(addresses.not_public(host) if reach == addresses.PUBLIC else why)
    return found
