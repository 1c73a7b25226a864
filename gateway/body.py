"""The body of a request: bytes, or a file without a name where it is too large to be held in memory.

A file of a body is written once, while the body arrives, and can then be read any number of times until it is released.
It has no name, so nothing remains of it after a crash, and nobody but this process can open it. Errors are `OSError`.
Specification: architecture.md, section 7, step 4.
"""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

from gateway.pauses import Pauses

WINDOW = 64 * 1024
"""The bytes that are read at a time by those who need not hold more."""

_PIECE = 256 * 1024  # is sent upstream at a time
# The errors of file systems without files that have no name.
_NOT_SUPPORTED = frozenset({errno.EISDIR, errno.EOPNOTSUPP, errno.EINVAL})


class SpooledBody:
    """A body on disk. Reading it, or writing much of it, may wait for the disk: do that on a thread.

    `write` with a piece as it arrives, `open_stream` and `release` are for the event loop.

    A read or a write keeps the file open until it ends, so that `release` never closes a file
    under a thread: the number could belong to another file by then.
    """

    __slots__ = ("_directory", "_file", "_size")

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._file: _File | None = _File(_unnamed(directory))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def write(self, pieces: Iterable[bytes]) -> None:
        """Append these bytes."""
        file = self._open()
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                written = os.pwrite(file.descriptor, rest, self._size)
                self._size += written
                rest = rest[written:]

    def windows(self, size: int = WINDOW) -> Iterator[bytes]:
        """The body from its beginning, in pieces of `size`; only the last one is smaller. Others get on in between."""
        file, pause = self._open(), Pauses()
        for at in range(0, self._size, size):
            pause()
            yield file.read(at, min(size, self._size - at))

    def read(self) -> bytes:
        """All of the body, in memory."""
        return self._open().read(0, self._size)

    def another(self, raw: bytes) -> SpooledBody:
        """Another body in the same directory."""
        made = SpooledBody(self._directory)
        made.write([raw])
        return made

    async def open_stream(self) -> AsyncIterator[bytes]:
        """The body from its beginning, for the event loop."""
        loop, file = asyncio.get_running_loop(), self._open()
        for at in range(0, self._size, _PIECE):
            yield await loop.run_in_executor(None, file.read, at, min(_PIECE, self._size - at))

    def release(self) -> None:
        """Give the space back; may be called again. Nothing can be read afterwards."""
        self._file = None

    def _open(self) -> _File:
        if self._file is None:
            raise ValueError("the body was released")
        return self._file


Body = bytes | SpooledBody
"""Both have a length. Code that works on the bytes takes the one as it is and the other in pieces."""


class _File:
    """An open file. It is closed when the last user has let go of it."""

    __slots__ = ("descriptor",)

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)

    def read(self, at: int, size: int) -> bytes:
        found = os.pread(self.descriptor, size, at)
        while len(found) < size:
            more = os.pread(self.descriptor, size - len(found), at + len(found))
            if not more:
                raise OSError("a body on disk has become shorter")
            found += more
        return found


def _unnamed(directory: Path) -> int:
    """A file of mode 0600 that has no name: there is none to be found after a crash."""
    flag = getattr(os, "O_TMPFILE", 0)
    if flag:
        try:
            return os.open(directory, flag | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in _NOT_SUPPORTED:
                raise
    descriptor, name = tempfile.mkstemp(dir=directory, prefix=".body-")
    os.unlink(name)
    return descriptor
