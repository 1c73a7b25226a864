"""The gateway that a command is for, opened: by its data directory, or by its control API if a server was chosen.

Nothing falls back from one to the other: with a server, no data directory is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gateway.audit.log_files import log_directory, opened_log
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management import logins, servers
from gateway.management.servers import Access, Server
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.management.port.gateway import Gateway
    from gateway.management.port.log import AuditLog, Usage
    from gateway.management.remote.client import Client

_CHOSEN: ContextVar[Server | None] = ContextVar("server", default=None)


def choose(server: Server | None) -> None:
    """From now on commands are for this server; None: for a data directory."""
    _CHOSEN.set(server)


def chosen() -> Server | None:
    return _CHOSEN.get()


@contextmanager
def reading(data: Path) -> Iterator[Gateway]:
    """For questions."""
    if (server := chosen()) is not None:
        with _remote(server, None) as gateway:
            yield gateway
        return
    from gateway.management.directory.opened import DirectoryGateway

    with local.reading(data) as registry:
        yield DirectoryGateway(registry, DataDirectory(data))


@contextmanager
def changing(data: Path) -> Iterator[Gateway]:
    """For one change, whose entry is in the audit log when the block ends."""
    if (server := chosen()) is not None:
        with _remote(server, None) as gateway:
            yield gateway
        return
    from gateway.management.directory.opened import DirectoryGateway

    with local.changing(data) as registry:
        yield DirectoryGateway(registry, DataDirectory(data))


@contextmanager
def restricting(data: Path, warn: Callable[[str, str], None]) -> Iterator[Gateway]:
    """For one change that takes something away. `warn` is told if its entry is not in the log yet."""
    if (server := chosen()) is not None:
        with _remote(server, warn) as gateway:
            yield gateway
        return
    from gateway.management.directory.opened import DirectoryGateway

    with local.restricting(data, warn) as registry:
        yield DirectoryGateway(registry, DataDirectory(data))


@contextmanager
def reading_log(data: Path) -> Iterator[AuditLog]:
    """For questions to the audit log. On a data directory nothing but the log is needed: it may be a copy."""
    if (server := chosen()) is not None:
        from gateway.management.remote.log import RemoteLog

        with _client(access_to(server)) as client:
            yield RemoteLog(client)
        return
    from gateway.management.directory.log import DirectoryLog

    directory = log_directory(data)
    with opened_log(directory.audit_db) as db:
        yield DirectoryLog(db, directory)


@contextmanager
def adding_up(data: Path, progress: Callable[[int, int], None] | None) -> Iterator[Usage]:
    """For questions about usage, which the log answers. `progress` is told of how much the sums have got."""
    if (server := chosen()) is not None:
        from gateway.management.remote.log import RemoteUsage

        with _client(access_to(server)) as client:
            yield RemoteUsage(client)
        return
    from gateway.management.directory.usage import DirectoryUsage

    directory = log_directory(data)
    with opened_log(directory.audit_db) as db:
        yield DirectoryUsage(db, directory, progress)


def health(data: Path) -> dict[str, Any]:
    """What `gateway status` says (`processes/status_answer.py`)."""
    if (server := chosen()) is not None:
        with _client(access_to(server)) as client:
            found: dict[str, Any] = client.get("status").body
            return found
    from gateway.processes import status_answer
    from gateway.settings import load_settings

    return status_answer.answer(load_settings({"data": data}))


def who(access: Access) -> dict[str, Any]:
    """The operator whose token this is, and what the token is for."""
    with _client(access) as client:
        found: dict[str, Any] = client.get("me").body
        return found


def own_organization() -> str:
    """The organization of the operator, which commands mean if none is named; `default` for one of all."""
    server = chosen()
    assert server is not None
    return who(access_to(server)).get("organization") or "default"


def access_to(server: Server) -> Access:
    """The server with the token that was given, or else that of a login."""
    login = logins.find(server.origin)
    ca_file = server.ca_file or (login.ca_file if login else None)
    token = servers.given_token(server) or (login.token if login else None)
    if token is None:
        message = f"there is no token for {server.origin}"
        hint = f"type `gateway login --server {server.origin}`, or set {servers.TOKEN}"
        raise GatewayError("no_token", message, hint=hint)
    return Access(origin=server.origin, token=token, ca_file=ca_file)


@contextmanager
def _remote(server: Server, warn: Callable[[str, str], None] | None) -> Iterator[Gateway]:
    from gateway.management.remote.opened import RemoteGateway

    with _client(access_to(server), warn) as client:
        yield RemoteGateway(client)


@contextmanager
def _client(access: Access, warn: Callable[[str, str], None] | None = None) -> Iterator[Client]:
    from gateway.management.remote.client import Client

    opened = Client(access, warn)
    try:
        yield opened
    finally:
        opened.close()
