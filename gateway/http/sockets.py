"""Sockets that are bound before there is a server: by the supervisor, which loads no server."""

from __future__ import annotations

import socket


def bind(host: str, port: int, *, shared: bool) -> socket.socket:
    """A bound socket. With `shared` this user can bind more sockets there, and the kernel spreads connections."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except UnicodeError:
        raise OSError(f"`{host}` is not a host name") from None
    family, kind, protocol, _, address = found[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
        listener.set_inheritable(False)
    except OSError:
        listener.close()
        raise
    return listener
