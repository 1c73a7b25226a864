"""How commands open a log: that of a gateway, or a copy."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError, Hint


def log_directory(data: Path) -> DataDirectory:
    """The data directory, if it has a log. Nothing else is required: it may be a copy that was made as evidence."""
    directory = DataDirectory(data)
    directory.check_owner()
    if not os.path.isfile(directory.audit_db):
        directory.check()
    return directory


@contextmanager
def opened_log(path: Path) -> Iterator[sqlite3.Connection]:
    """A connection that only reads. Raises `GatewayError` if there is no log, or it is damaged."""
    from gateway.audit import storage

    db = storage.connect_read_only(path)
    try:
        yield db
    except sqlite3.Error as error:
        raise GatewayError(
            "audit_damaged", f"cannot read `{path}`: {error}", hint=Hint("see `gateway audit verify`")
        ) from error
    finally:
        db.close()
