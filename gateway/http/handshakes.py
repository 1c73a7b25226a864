"""Handshakes of TLS: one that has not ended counts for its address, as a connection does (`connections.py`).

The event loop tells nobody of a connection with TLS before its handshake is over. So its server accepts connections
without TLS, and each begins as a `Handshake`: the loop's own protocol of TLS, which is made in the open here.
`tests/gateway/http/test_tls.py` lists the parts of uvloop that this relies on.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from uvloop import loop as uvloop_loop

from gateway.shares import NoShareError

if TYPE_CHECKING:
    from gateway.http.connection import GuardedProtocol

_TLS: Any = vars(uvloop_loop)["SSLProtocol"]


class Handshake(_TLS):  # type: ignore[misc]  # its module's types do not have it
    """TLS of one connection. `under_way` has it, and its listener's shares do, until the handshake has ended."""

    def __init__(self, connection: GuardedProtocol, context: ssl.SSLContext, under_way: set[Handshake]) -> None:
        limits = connection.limits
        super().__init__(
            asyncio.get_running_loop(),
            connection,
            context,
            None,  # nobody waits for the end: the connection is told
            server_side=True,
            ssl_handshake_timeout=limits.header_seconds,
            ssl_shutdown_timeout=limits.write_seconds,
        )
        self._peers = connection.peers
        self._refused = limits.refused
        self._under_way = under_way
        self._raw: asyncio.Transport | None = None
        connection.handshake_ended = self._ended

    def connection_made(self, transport: asyncio.Transport) -> None:
        peer = transport.get_extra_info("peername")
        try:
            self._peers.arrive(self, str(peer[0]) if peer else "")
        except NoShareError:
            self._refused("overloaded")
            transport.abort()  # without a text: before the handshake nothing can be said
            return
        self._raw = transport
        self._under_way.add(self)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended()
        super().connection_lost(exc)

    def can_be_spared(self, *, known: bool) -> bool:
        return True

    def give_up(self) -> None:
        assert self._raw is not None
        self._raw.abort()

    def _ended(self) -> None:
        """The connection takes its own place from here on, or there is none. May be called again."""
        self._raw = None
        self._under_way.discard(self)
        self._peers.leave(self)
