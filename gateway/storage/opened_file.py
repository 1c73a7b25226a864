"""Checks that an open file is still the one that its name leads to.

SQLite does not notice that a database was moved, deleted or replaced: it reads a file that nobody changes any more, and
commits to a file that nobody will open again. The same goes for the write-ahead log beside it. So check this before you
trust a database or write to it.
"""

from __future__ import annotations

import os
from pathlib import Path

# On Linux a descriptor can identify a file without opening it. Closing an ordinary descriptor drops all locks that
# SQLite holds on the file in this process.
_PATH_ONLY: int | None = getattr(os, "O_PATH", None)


class OpenedFile:
    """The file that a path leads to at the moment of creation. Each check costs one `stat`.

    It is held until `close`, so that its inode number cannot be given to another file meanwhile.
    """

    __slots__ = ("_descriptor", "_identity", "_path", "_path_only")

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path.absolute())
        self._path_only = _PATH_ONLY is not None
        self._descriptor = os.open(self._path, (os.O_RDONLY if _PATH_ONLY is None else _PATH_ONLY) | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino

    def in_place(self) -> bool:
        """True if the path still leads to it."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def close(self) -> None:
        """Release the file. An ordinary descriptor stays open until the process ends, because of the locks."""
        if self._path_only:
            os.close(self._descriptor)


def write_ahead_log(database: Path) -> Path:
    """The path of SQLite's write-ahead log. The file exists while any connection to the database is open."""
    real = database.resolve()
    return real.with_name(f"{real.name}-wal")
