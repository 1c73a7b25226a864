"""The registry's port on SQLite: prepared statements, no ORM (architecture.md, section 9).

A row is found in microseconds, so the coroutines of the port end without suspending: no thread, task or future is made
for them. The epochs have a connection of their own in autocommit, so that reading them always sees the latest commit
and never shares a transaction with anything.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from gateway.errors import Denied, UnavailableError
from gateway.identity.peers import PeerRow
from gateway.identity.persons import Right
from gateway.identity.principals import CredentialRow
from gateway.identity.workload import Rule, WorkloadIssuer
from gateway.registry import credential_rows
from gateway.registry.credential_rows import CredentialRows
from gateway.registry.port import (
    REVISION,
    TRIGGERS,
    ActiveSet,
    AgentRow,
    BundleRef,
    Epochs,
    MandateRow,
    RouteRow,
    ToolRow,
    UpstreamRow,
    check_triggers,
    wrong_revision,
)
from gateway.storage.opened_file import OpenedFile, write_ahead_log

_EPOCHS = "SELECT value, authority, upstreams, policy FROM epoch"

_AGENT = """
SELECT a.id, a.name, a.status
  FROM agent a JOIN organization o ON o.id = a.organization_id
 WHERE o.name = ? AND (a.id = ? OR (a.name = ? AND a.status NOT IN ('revoked', 'retired')))
"""

_MANDATE = """
SELECT m.id, o.name, m.agent_id, m.to_agent_id, m.scope, m.amount_microusd, m.requests, m.purpose, m.expires_ns,
       m.revoked_ns
  FROM mandate m JOIN organization o ON o.id = m.organization_id
 WHERE m.id = ?
"""

_ISSUERS = """
SELECT i.id, o.name, i.name, i.issuer, i.audience, i.jwks_url, i.jwks,
       i.purpose, i.accepts, i.max_age, i.claims, i.algorithms, i.reach
  FROM issuer i JOIN organization o ON o.id = i.organization_id
 WHERE i.issuer = ? AND i.removed_ns IS NULL
"""

_ISSUER_RULES = "SELECT id, agent_id, claims FROM issuer_rule WHERE issuer_id = ? AND removed_ns IS NULL"

_PEERS = "SELECT id, name, jwks, speaks_for FROM peer WHERE removed_ns IS NULL AND status = 'active' ORDER BY id"

_ORGANIZATION = "SELECT 1 FROM organization WHERE name = ?"

_RIGHT = """
SELECT o.name, r.agent_id, i.issuer
  FROM issuer_rule r
  JOIN issuer i ON i.id = r.issuer_id AND i.organization_id = r.organization_id
  JOIN organization o ON o.id = r.organization_id
 WHERE r.id = ? AND r.removed_ns IS NULL AND i.removed_ns IS NULL AND i.purpose = 'persons'
"""

_ACTIVE = """
SELECT a.id, a.revision, b.name, b.digest, b.revision, b.entrypoint
  FROM activation_current c
  JOIN activation a ON a.id = c.activation_id
  LEFT JOIN activation_bundle ab ON ab.activation_id = a.id
  LEFT JOIN bundle b ON b.name = ab.name AND b.revision = ab.revision
"""

_PINNED = """
SELECT DISTINCT b.name, b.digest, b.revision, b.entrypoint
  FROM binding g INDEXED BY binding_pinned JOIN bundle b ON b.name = g.bundle AND b.revision = g.pinned
 WHERE g.removed_ns IS NULL AND g.pinned IS NOT NULL
"""

_UPSTREAMS = """
SELECT u.id, o.name, u.name, u.provider, u.base_url, u.is_default, u.secret, u.version, u.specification,
       u.headers, u.reach, u.trust, u.protocol, u.auth
  FROM upstream u JOIN organization o ON o.id = u.organization_id
 ORDER BY u.id
"""

_TOOLS = "SELECT upstream_id, name, state, digest, definition FROM upstream_tool"

_ROUTES = """
SELECT o.name, r.name, r.is_default, r.members
  FROM upstream_route r JOIN organization o ON o.id = r.organization_id
 ORDER BY r.id
"""


class RegistryReader:
    """A `RegistryPort` on one file; used from one thread.

    # INVARIANT: once a file has been moved, deleted or replaced there is no epoch any more, so nobody is let in. A
    revocation would be written to the file that has its name now.
    """

    def __init__(self, path: Path) -> None:
        # The epochs that the current turn of a loop has read.
        self._this_turn: tuple[asyncio.AbstractEventLoop, Epochs] | None = None
        try:
            with ExitStack() as opened:
                self._file = opened.enter_context(closing(OpenedFile(path)))
                self._epochs = opened.enter_context(closing(_connect(path)))
                self._rows = opened.enter_context(closing(_connect(path)))
                _check_revision(path, self._rows)
                check_triggers(path, self._rows.execute(TRIGGERS))
                self._wal = opened.enter_context(closing(OpenedFile(write_ahead_log(path))))
                self._credentials = CredentialRows(self._rows)
                opened.pop_all()  # all is well: they stay open until `close`
        except (sqlite3.Error, OSError) as error:
            raise UnavailableError(
                "registry_unavailable", f"cannot read `{path}`: {error}", subject=str(path)
            ) from error

    def close(self) -> None:
        self._epochs.close()
        self._rows.close()
        self._wal.close()
        self._file.close()

    async def epochs(self) -> Epochs:
        # One read serves a turn of the event loop. What a connection receives is handled by a callback that is queued
        # then, so behind `_end_turn`: a request that arrives after this read gets a read of its own.
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._read_epochs()  # a command asks, without a loop
        if self._this_turn is None or self._this_turn[0] is not loop:
            self._this_turn = loop, self._read_epochs()
            loop.call_soon(self._end_turn)
        return self._this_turn[1]

    def _end_turn(self) -> None:
        self._this_turn = None

    def _read_epochs(self) -> Epochs:
        if not self._file.in_place() or not self._wal.in_place():
            raise Denied("registry_unavailable", "its files were moved, deleted or replaced: restart the gateway")
        try:
            return Epochs._make(self._epochs.execute(_EPOCHS).fetchone())
        except (sqlite3.Error, TypeError) as error:  # TypeError: the row is gone
            raise Denied("registry_unavailable", f"epoch: {error}") from error

    async def credential(self, credential_id: str) -> CredentialRow | None:
        return self._credential(credential_rows.CREDENTIAL, (credential_id,))

    async def workload(self, spiffe_id: str) -> CredentialRow | None:
        return self._credential(credential_rows.WORKLOAD, (spiffe_id,))

    async def holder(self, credential: str) -> CredentialRow | None:
        statement = credential_rows.RULE if credential.startswith("rul_") else credential_rows.KEY
        return self._credential(statement, (credential,))

    async def named(self, credential: str) -> CredentialRow | None:
        """The row of a key, an adopted key or an agent without any, by its id: to ask about it, not to present it."""
        statements = {"lgk_": credential_rows.ADOPTED, "agt_": credential_rows.KEYLESS}
        return self._credential(statements.get(credential[:4], credential_rows.KEY), (credential,))

    async def legacy(self, digests: Sequence[bytes]) -> CredentialRow | None:
        statement = credential_rows.LEGACY.replace("<digests>", ", ".join("?" * len(digests)))
        return self._credential(statement, digests)

    async def agent(self, organization: str, reference: str) -> AgentRow | None:
        rows = self._all(_AGENT, (organization, reference, reference))
        return AgentRow._make(rows[0]) if rows else None

    async def mandate(self, identifier: str) -> MandateRow | None:
        rows = self._all(_MANDATE, (identifier,))
        return MandateRow._make(rows[0]) if rows else None

    async def issuers(self, issuer: str) -> list[WorkloadIssuer]:
        rows = [WorkloadIssuer._make(row) for row in self._all(_ISSUERS, (issuer,))]
        return [
            row._replace(claims=tuple(json.loads(str(row.claims))), algorithms=tuple(json.loads(str(row.algorithms))))
            for row in rows
        ]

    async def issuer_rules(self, issuer_id: str) -> list[Rule]:
        return [Rule(row[0], row[1], json.loads(row[2])) for row in self._all(_ISSUER_RULES, (issuer_id,))]

    async def peers(self) -> list[PeerRow]:
        return [PeerRow(row[0], row[1], row[2], frozenset(json.loads(row[3]))) for row in self._all(_PEERS, ())]

    async def has_organization(self, name: str) -> bool:
        return bool(self._all(_ORGANIZATION, (name,)))

    async def right(self, rule: str) -> Right | None:
        rows = self._all(_RIGHT, (rule,))
        return Right._make(rows[0]) if rows else None

    async def active_bundles(self) -> ActiveSet:
        # The epoch first: what is read after it may be newer than its stamp, never older.
        epoch = (await self.epochs()).policy
        rows = self._all(_ACTIVE)
        pinned = {(row[0], row[2]): BundleRef(*row) for row in self._all(_PINNED)}
        if not rows:
            return ActiveSet("", "", epoch, {}, pinned)
        # An activation without bundles is one row of NULLs from the outer joins.
        bundles = {row[2]: BundleRef(*row[2:]) for row in rows if row[2] is not None}
        return ActiveSet(rows[0][0], rows[0][1], epoch, bundles, pinned)

    async def upstreams(self) -> list[UpstreamRow]:
        return [UpstreamRow(*row)._replace(default=bool(row[5])) for row in self._all(_UPSTREAMS)]

    async def upstream_tools(self) -> list[ToolRow]:
        return [ToolRow._make(row) for row in self._all(_TOOLS)]

    async def upstream_routes(self) -> list[RouteRow]:
        return [RouteRow(*row)._replace(default=bool(row[2])) for row in self._all(_ROUTES)]

    async def deployment(self) -> str:
        rows = self._all("SELECT name FROM deployment")
        if not rows:
            raise Denied("registry_unavailable", "the deployment has no name")
        return str(rows[0][0])

    def _credential(self, statement: str, values: Sequence[Any]) -> CredentialRow | None:
        try:
            return self._credentials.find(statement, values)
        except sqlite3.Error as error:
            raise _unreadable(error) from error

    def _all(self, statement: str, parameters: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._rows.execute(statement, parameters).fetchall()
        except sqlite3.Error as error:
            raise _unreadable(error) from error


def _unreadable(error: sqlite3.Error) -> Denied:
    return Denied("registry_unavailable", f"rows: {error}")


def _connect(path: Path) -> sqlite3.Connection:
    # mode=rw: a missing file is an error, not an empty database; query_only: this process cannot write all the same.
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, timeout=1.0)
    connection.execute("PRAGMA query_only = ON")  # touches no file yet: it cannot fail
    return connection


def _check_revision(path: Path, connection: sqlite3.Connection) -> None:
    found = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    if found is None or found[0] != REVISION:
        raise wrong_revision(path, found and found[0])
