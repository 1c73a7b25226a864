"""A plugin for pytest (`-p tests.gateway.postgres.capture`): what the gateway sends to its databases while tests run.

Each statement of SQLAlchemy is compiled for PostgreSQL as well. At the end a file in the folder that `STATEMENTS` names
has a JSON object for each: its text, and the lines of the gateway that it came from. A text that went to the driver as
it stands is marked `raw`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.ddl import ExecutableDDLElement

_ROOT = str(Path(__file__).parents[3] / "gateway") + "/"
_DIALECT = asyncpg()  # its parameters have numbers and types, as `PREPARE` needs them
_seen: dict[tuple[str, bool], set[str]] = {}


@event.listens_for(Engine, "before_execute")
def _compiled(
    connection: Connection, clause: ClauseElement, many: list[dict[str, Any]], one: dict[str, Any], options: Any
) -> None:
    lines = _lines(sys._getframe(1))
    if not lines or isinstance(clause, ExecutableDDLElement):
        return
    parameters = many[0] if many else one
    compiled = clause.compile(  # type: ignore[call-arg]  # passed to the compiler
        dialect=_DIALECT, column_keys=list(parameters) or None, compile_kwargs={"render_postcompile": True}
    )
    _seen.setdefault((str(compiled), False), set()).update(lines)


@event.listens_for(Engine, "before_cursor_execute")
def _raw(connection: Connection, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
    lines = _lines(sys._getframe(1))
    if lines and (context is None or context.compiled is None):
        _seen.setdefault((statement, True), set()).update(lines)


def _lines(frame: FrameType | None) -> list[str]:
    """The lines of the gateway that are being executed; none inside migrations, which are run as a whole elsewhere."""
    found = []
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_ROOT):
            found.append(f"{name.removeprefix(_ROOT)}:{frame.f_lineno}")
        frame = frame.f_back
    return [] if any("migrations/" in each or "_make_tables" in each for each in found) else found


def pytest_sessionfinish(session: pytest.Session) -> None:
    with (Path(os.environ["STATEMENTS"]) / f"{os.getpid()}.jsonl").open("w") as file:
        for (text, raw), lines in _seen.items():
            file.write(json.dumps({"text": text, "raw": raw, "lines": sorted(lines)}) + "\n")
