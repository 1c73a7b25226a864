"""Creates and removes the files of databases."""

from __future__ import annotations

import os
from pathlib import Path


def create(path: Path) -> None:
    """Create an empty file that only this user can read. Raises `FileExistsError` if the file exists.

    An existing file is not even opened: closing its descriptor would drop all locks that SQLite holds on it in this
    process.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def remove(path: Path) -> None:
    """Remove a database and the files beside it, which would be taken for those of the next one. Raises `OSError`."""
    for ending in ("", "-journal", "-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
