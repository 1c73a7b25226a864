"""The registry's own migrations and code on PostgreSQL.

One thing is translated here: the texts of triggers, which are SQLite's. All other statements are sent as they are.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from gateway.registry.database import Registry
from gateway.registry.models import Deployment

_TRIGGER = re.compile(
    r"\s*CREATE TRIGGER (?P<name>\w+) (?P<when>(?:AFTER|BEFORE) \w+) ON (?P<table>\w+)\s+"
    r"(?:WHEN (?P<condition>.*?)\s+)?BEGIN\s+(?P<body>.*?);\s*END\s*",
    re.DOTALL,
)
_ABORT = re.compile(r"SELECT RAISE\(ABORT, ('[^']*')\)")
_DROP = re.compile(r"\s*DROP TRIGGER (?P<name>\w+)\s*")


class PostgresRegistry(Registry):
    """A `Registry` whose database is PostgreSQL's."""

    def __init__(self, url: URL) -> None:
        self.path = Path(url.database or "")
        self._engine = engine(url)
        self._writing = self._engine.execution_options(write=True)
        self._shared: ContextVar[Session | None] = ContextVar("shared", default=None)

    def make(self) -> None:
        """All migrations, and the one row that a new registry has."""
        self._make_tables(None)
        with self.write() as session:
            session.add(Deployment(name="test", created_ns=time.time_ns()))

    def check_triggers(self) -> None:
        """Their texts are not those of SQLite."""


def engine(url: URL) -> Engine:
    made = create_engine(url, poolclass=NullPool)

    @event.listens_for(made, "before_cursor_execute", retval=True)
    def translate(
        connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool
    ) -> tuple[str, Any]:
        return translated(statement), parameters

    return made


def translated(statement: str) -> str:
    """A trigger of SQLite as PostgreSQL has it: a function, and a trigger that calls it. Anything else is unchanged."""
    if found := _DROP.fullmatch(statement):
        return f"DROP FUNCTION {found['name']}() CASCADE"
    found = _TRIGGER.fullmatch(statement)
    if found is None:
        return statement
    body = _ABORT.sub(lambda abort: f"RAISE EXCEPTION {abort[1]}", found["body"])
    condition = f"WHEN ({found['condition']}) " if found["condition"] else ""
    return (
        f"CREATE FUNCTION {found['name']}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$body$ BEGIN {body}; RETURN NULL; END $body$; "
        f"CREATE TRIGGER {found['name']} {found['when']} ON {found['table']} FOR EACH ROW {condition}"
        f"EXECUTE FUNCTION {found['name']}()"
    )


Opened = Callable[[], PostgresRegistry]
