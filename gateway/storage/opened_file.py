"""Whether a file that is kept open is still the one that its name leads to.

SQLite goes on with a database that was moved, deleted or replaced behind its back: reads answer from a file that nobody
can change any more, and what is committed is on no disk that anybody will look at. The same goes for the write-ahead
log beside it. So check this before you trust a database or write to it.
"""

from __future__ import annotations

import os
from pathlib import Path

# Linux: a descriptor that only stands for the file. Closing an ordinary one drops all locks that SQLite holds on the
# file in this process.
_PATH_ONLY: int | None = getattr(os, "O_PATH", None)


class OpenedFile:
    """The file under a name at the moment when this is made. A question costs one `stat`.

    It is held until `close`, so that its inode's number cannot be given to another file meanwhile.
    """

    __slots__ = ("_descriptor", "_identity", "_path", "_path_only")

    def __init__(self, path: Path) -> None:
        self._path = os.fspath(path.absolute())
        self._path_only = _PATH_ONLY is not None
        self._descriptor = os.open(self._path, (os.O_RDONLY if _PATH_ONLY is None else _PATH_ONLY) | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        self._identity = found.st_dev, found.st_ino

    def in_place(self) -> bool:
        """Whether the name still leads to it."""
        try:
            found = os.stat(self._path)
        except OSError:
            return False
        return (found.st_dev, found.st_ino) == self._identity

    def close(self) -> None:
        """Let go of the file. An ordinary descriptor stays open until the process ends: better that than its locks."""
        if self._path_only:
            os.close(self._descriptor)


def write_ahead_log(database: Path) -> Path:
    """Where SQLite keeps what is committed but not in the database yet; there for as long as somebody is connected."""
    real = database.resolve()
    return real.with_name(f"{real.name}-wal")
