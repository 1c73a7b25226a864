"""Opens a log for reading: that of a data directory, or a copy of its file. Only here and in `sqlite_log.py` it is
decided which implementation of the ports serves.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.audit.errors import unavailable
from gateway.data_directory import DataDirectory

if TYPE_CHECKING:
    from gateway.audit.log_reader import IndexedLog


def log_directory(data: Path) -> DataDirectory:
    """The data directory, if it has a log. Nothing else is required: it may be a copy that was made as evidence."""
    directory = DataDirectory(data)
    directory.check_owner()
    if not os.path.isfile(directory.audit_db):
        directory.check()
    return directory


def open_log(log: DataDirectory | Path, *, undecodable: bool = False) -> IndexedLog:
    """A log that is only read. Raises `AuditError` if there is none, or it is damaged.

    With `undecodable` a text that is none is read all the same.
    """
    from gateway.audit import storage

    path = log.audit_db if isinstance(log, DataDirectory) else log
    return storage.connect_read_only(path, undecodable=undecodable)


def opened_log(log: DataDirectory | Path, *, undecodable: bool = False) -> AbstractContextManager[IndexedLog]:
    """The same for a block."""
    return closing(open_log(log, undecodable=undecodable))


@contextmanager
def needed_log(data: DataDirectory) -> Iterator[IndexedLog]:
    """A log that the gateway cannot work without. Raises `audit_unavailable` also if it cannot be read in between."""
    from gateway.audit.log_reader import UnreadableError

    try:
        with opened_log(data) as log:
            yield log
    except UnreadableError as error:
        raise unavailable(error.why) from error
