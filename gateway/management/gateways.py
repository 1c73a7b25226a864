"""The gateway that a command is for, opened: by its data directory, or by its control API if a server was chosen.

Nothing falls back from one to the other: with a server, no data directory is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeAlias

from gateway.errors import GatewayError
from gateway.management import logins, servers
from gateway.management.client import ManagementClient, Transport
from gateway.management.servers import Server, ServerAccess

Warn: TypeAlias = Callable[[str, str], None]

_CHOSEN: ContextVar[Server | None] = ContextVar("server", default=None)


def choose(server: Server | None) -> None:
    """From now on commands are for this server; None: for a data directory."""
    _CHOSEN.set(server)


def chosen() -> Server | None:
    return _CHOSEN.get()


@contextmanager
def client(
    data: Path,
    warn: Warn,
    progress: Callable[[int, int], None] | None = None,
    *,
    organization: str | None = None,
    reason: str | None = None,
) -> Iterator[ManagementClient]:
    """The gateway that is chosen, for one command. On a data directory its changes are in the log when the block ends.

    `warn` is told what there is to know beside an answer, such as that the log does not have a restriction yet, and
    `progress` of how far something long has come. `organization` and `reason` are those of `ManagementClient`.
    """
    if (server := chosen()) is not None:
        with over_http(access_to(server)) as transport:
            yield ManagementClient(transport, warn, organization, reason)
        return
    from gateway.management.in_process import InProcess

    with InProcess(data, warn, progress) as transport:
        yield ManagementClient(transport, warn, organization, reason)


def who(access: ServerAccess) -> dict[str, Any]:
    """The operator whose token this is, and what the token is for."""
    with over_http(access) as transport:
        return ManagementClient(transport).get("me")


def own_organization() -> str:
    """The organization of the operator, which commands mean if none is named; `default` for one of all."""
    server = chosen()
    assert server is not None
    return who(access_to(server)).get("organization") or "default"


def access_to(server: Server) -> ServerAccess:
    """The server with the token that was given, or else that of a login."""
    login = logins.find(server.origin)
    ca_file = server.ca_file or (login.ca_file if login else None)
    token = servers.given_token(server) or (login.token if login else None)
    if token is None:
        message = f"there is no token for {server.origin}"
        hint = f"type `gateway login --server {server.origin}`, or set {servers.TOKEN}"
        raise GatewayError("no_token", message, hint=hint)
    return ServerAccess(origin=server.origin, token=token, ca_file=ca_file)


@contextmanager
def over_http(access: ServerAccess) -> Iterator[Transport]:
    from gateway.management.http import HttpTransport

    transport = HttpTransport(access)
    try:
        yield transport
    finally:
        transport.close()
