"""Names of hosts to addresses, within a time limit.

The system's resolver cannot be interrupted, so it runs in a thread that is given up when time is over.
"""

from __future__ import annotations

import queue
import re
import socket
import threading
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import Final

_NAME: Final = re.compile(r"[^\s\x00]{1,253}")
_NUMERIC: Final = re.compile(r"(?:.*\.)?(?:[0-9]+|0[xX][0-9a-fA-F]*)\.?")
_LOOPBACK: Final = ("127.0.0.1", "::1")


class ResolutionError(OSError):
    """A name without an address; the message is Go's."""


def literal_address(host: str) -> str | None:
    """A host that is an address already, as Go writes it; None if it is a name."""
    try:
        if ":" not in host:
            return str(IPv4Address(host))
        address = IPv6Address(host)
    except AddressValueError:
        return None
    return str(address.ipv4_mapped or address)


def without_asking(host: str) -> list[str] | None:
    """The addresses that are known without any other host: of addresses, and of localhost (RFC 6761)."""
    address = literal_address(host)
    if address is not None:
        return [address]
    return [*_LOOPBACK] if host.lower() == "localhost" else None


def resolve(host: str, seconds: float) -> list[str]:
    """All addresses, without repetitions. Raises `ResolutionError`, and `TimeoutError` when time is over."""
    address = literal_address(host)
    if address is not None:
        return [address]
    answers: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            answers.put(ResolutionError(f"lookup {host}: no such host"))
        else:
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))

    # The system would take `127.1` and `0x7f000001` for addresses, which nobody who checks names expects.
    if not _NAME.fullmatch(host) or _NUMERIC.fullmatch(host):
        raise ResolutionError(f"lookup {host}: no such host")
    threading.Thread(target=ask, name="policy-resolver", daemon=True).start()
    try:
        answer = answers.get(timeout=max(seconds, 0.001))
    except queue.Empty:
        raise TimeoutError(f"lookup {host}: i/o timeout") from None
    if isinstance(answer, OSError):
        raise answer
    return answer
