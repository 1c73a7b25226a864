"""Opens a log for commands: that of a gateway, or a copy."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, closing
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.data_directory import DataDirectory

if TYPE_CHECKING:
    from gateway.audit.storage import SqliteReader


def log_directory(data: Path) -> DataDirectory:
    """The data directory, if it has a log. Nothing else is required: it may be a copy that was made as evidence."""
    directory = DataDirectory(data)
    directory.check_owner()
    if not os.path.isfile(directory.audit_db):
        directory.check()
    return directory


def opened_log(path: Path) -> AbstractContextManager[SqliteReader]:
    """A log that is only read. Raises `GatewayError` if there is none, or it is damaged."""
    from gateway.audit import storage

    return closing(storage.connect_read_only(path))
