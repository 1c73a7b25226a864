"""The registry's database file: creation, migration, sessions (architecture.md, sections 9 and 13).

For the command line and the control process. Data workers read the same file through `reader.py`, without an ORM.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeAlias, cast

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool
from sqlmodel import Session

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError, UnavailableError
from gateway.registry import port
from gateway.registry.models import Deployment
from gateway.registry.port import REVISION, wrong_revision
from gateway.storage import database_files

logger = logging.getLogger("gateway.registry.database")

# These shape the file and have no effect once it has content.
_AT_CREATION = ("PRAGMA page_size = 4096", "PRAGMA auto_vacuum = INCREMENTAL", "PRAGMA journal_mode = WAL")

# A change is on disk before its command returns, and what was deleted (a sealed secret) is overwritten.
_PER_CONNECTION = (
    "PRAGMA synchronous = FULL",
    "PRAGMA secure_delete = ON",
    "PRAGMA foreign_keys = ON",
    # Longer than the longest change, a large fleet file: what ends an agent must not fail because of that.
    "PRAGMA busy_timeout = 30000",
)


Step: TypeAlias = Callable[[Session], None]


class TellingError(GatewayError):
    """A refusal that leaves word: `tell` gets a transaction of its own, after that of the change is undone."""

    def tell(self, session: Session) -> None:
        raise NotImplementedError


class Registry:
    """An open registry. Threads may share it: every session has its own connection."""

    def __init__(self, path: Path, copy: sqlite3.Connection | None = None) -> None:
        """The one at `path`, or a copy of it."""
        self.path = path
        self._engine = _engine(path, copy)
        self._writing = self._engine.execution_options(write=True)
        # The session of a transaction that changes made by this thread take part in.
        self._shared: ContextVar[Session | None] = ContextVar("shared", default=None)

    @classmethod
    def create(cls, data: DataDirectory, deployment: str) -> Registry:
        """Create the registry of a new gateway. Only this user can read it."""
        database_files.create(data.registry_db)
        connection = sqlite3.connect(data.registry_db, isolation_level=None)
        for pragma in _AT_CREATION:
            connection.execute(pragma)
        connection.close()
        registry = cls(data.registry_db)
        registry._make_tables(None)
        with registry.write() as session:
            session.add(Deployment(name=deployment, created_ns=time.time_ns()))
        return registry

    @classmethod
    def open(cls, data: DataDirectory) -> Registry:
        """Open the registry of an existing gateway. Raises `registry_revision` if it is of another version."""
        data.check()
        registry = cls(data.registry_db)
        try:
            found = registry.revision()
            if found != REVISION:
                raise wrong_revision(data.registry_db, found)
            registry.check_triggers()
        except GatewayError:
            registry.close()
            raise
        return registry

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one state of the registry from its first query to its end.

        Inside `together` it sees what was changed there.
        """
        if (shared := self._shared.get()) is not None:
            yield shared
            return
        with _explained("read"), Session(self._engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that holds the write lock from its first query on: everything in it is committed, or nothing is.

        Inside `together` it is the session of that block, and committed with it.
        """
        if (shared := self._shared.get()) is not None:
            yield shared
            return
        try:
            with _explained("written"), Session(self._writing) as session, session.begin():
                yield session
        except TellingError as error:
            with _explained("written"), Session(self._writing) as session, session.begin():
                error.tell(session)
            raise

    @contextmanager
    def together(self) -> Iterator[Session]:
        """All changes that the caller makes inside are one transaction: an exception undoes them all."""
        with self.write() as session:
            token = self._shared.set(session)
            try:
                yield session
            finally:
                self._shared.reset(token)

    @contextmanager
    def copied(self) -> Iterator[Registry]:
        """A copy of the state that it is in now, in memory, to try changes on. No other change waits for that."""
        with closing(sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)) as copy:
            try:
                with closing(self._engine.raw_connection()) as connection:
                    cast(sqlite3.Connection, connection.driver_connection).backup(copy)
            except sqlite3.Error as error:
                raise _unavailable("read", error) from error
            with closing(Registry(self.path, copy)) as registry:
                yield registry

    def revision(self) -> str | None:
        """The migration that this database is at; None if it is no registry."""
        with self.read() as session:
            connection = session.connection()
            if not connection.dialect.has_table(connection, "alembic_version"):
                return None
            found: str | None = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            return found

    def migrate(self) -> None:
        """Migrate an older registry to this version. The control process calls this at its start.

        An empty file is refused: it has lost its content, and must not become a registry that knows nobody.
        """
        found = self.revision()
        if found is None:
            raise wrong_revision(self.path, None)
        if found != REVISION:
            self._make_tables(found)
            logger.info("the registry was migrated from revision %s to %s", found, REVISION)
        self.check_triggers()

    def check_triggers(self) -> None:
        """Raise `registry_damaged` if a change could go unnoticed or be undone."""
        with self.read() as session:
            port.check_triggers(self.path, session.connection().exec_driver_sql(port.TRIGGERS).all())

    def _make_tables(self, found: str | None) -> None:
        """From the revision `found` to the newest one, all in one transaction."""
        # Imported here because it takes a quarter of a second, which other commands need not pay.
        import alembic.command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        config.set_main_option("path_separator", "os")
        known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
        if found is not None and found not in known:
            raise wrong_revision(self.path, found)
        with _explained("migrated"), self._writing.begin() as connection:
            config.attributes["connection"] = connection
            alembic.command.upgrade(config, "head")


class GuardedRegistry(Registry):
    """`registry`, with steps at the beginning and at the end of each change; what they raise undoes the change.

    The control API has conditions of its own: the operator must still be one, the thing must still have the version
    that the client has seen, and the request must not have been carried out before. Checked before the transaction of
    the change, they could be overtaken by another one.
    """

    def __init__(self, registry: Registry, before: Sequence[Step], after: Sequence[Step] = ()) -> None:
        vars(self).update(vars(registry))  # its engine too, which it closes
        self._before = tuple(before)
        self._after = tuple(after)

    @contextmanager
    def write(self) -> Iterator[Session]:
        inside = self._shared.get() is not None  # of a transaction that has begun with the steps
        with super().write() as session:
            for step in () if inside else self._before:
                step(session)
            yield session
            for step in () if inside else self._after:
                step(session)


def _engine(path: Path, copy: sqlite3.Connection | None) -> Engine:
    if copy is None:
        engine = create_engine(URL.create("sqlite", database=str(path)), connect_args={"isolation_level": None})
    else:
        engine = create_engine("sqlite://", creator=lambda: copy, poolclass=StaticPool)

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, record: Any) -> None:
        try:
            for pragma in _PER_CONNECTION:
                connection.execute(pragma)
        except sqlite3.Error:
            connection.close()  # the pool never sees it
            raise

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # Python's own transaction handling begins too late. Taking the write lock at once means that a change makes
        # all its reads under that lock, and that it waits for another writer instead of failing half-way.
        writing = connection.get_execution_options().get("write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writing else "BEGIN")

    return engine


@contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except DBAPIError as error:
        raise _unavailable(what, error.orig) from error


def _unavailable(what: str, why: BaseException | None) -> GatewayError:
    message = f"the registry cannot be {what}: {why}"
    return UnavailableError("registry_unavailable", message, hint="try again, or check the disk")
