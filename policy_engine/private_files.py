"""Files that nobody but this user can have written: what a cache may hold that changes how policies are judged.

What is read here becomes code or tables. So it is believed only if no other user could have put it there: every
directory on the way belongs to this user or root and is not writable for others (a directory with the sticky bit may
be: in it one can only touch what is one's own), the last directory and the file likewise and without that exception.
Everything is judged by `fstat` on what was opened, and opened through what was judged: a path could lead elsewhere a
moment later. A digest tells a damaged file.

Nothing here raises: whatever is amiss (foreign, damaged, unwritable), there is no such file, and its content is made
anew. A cache is no reason to fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

MAX_FILE: Final = 256 * 1024 * 1024
"""Bytes of a file that is read; what is larger is none of ours."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY: Final = ".new"
_ABANDONED: Final = 3600
"""Seconds after which a file that is still being written belongs to nobody any more."""


def read(directory: Path, name: str) -> bytes | None:
    """The content of a file, or None if there is none to be trusted."""
    try:
        with _opened(directory) as folder:
            # A pipe would wait for its writer; what is no regular file is refused once it is open.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            with open(os.open(name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if not (stat.S_ISREG(status.st_mode) and _own(status)) or status.st_size > MAX_FILE:
                    return None
                content = file.read()
                if status.st_mtime < time.time() - _ABANDONED and status.st_uid == os.getuid():
                    os.utime(file.fileno())  # `prune` removes what has not been used for longest
    except OSError:
        return None
    digest, body = content[:32], content[32:]
    return body if digest == _digest(name, body) else None


def write(directory: Path, name: str, content: bytes) -> None:
    """Put a file there in one step: a reader finds the whole file or none, also after a crash."""
    with contextlib.suppress(OSError):
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)  # the default of many systems lets the user's group write
        with _opened(directory) as folder:
            temporary = f"{name}.{secrets.token_hex(8)}{_TEMPORARY}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            handle = os.open(temporary, flags, 0o600, dir_fd=folder)
            try:
                with open(handle, "wb") as file:
                    file.write(_digest(name, content))
                    file.write(content)
                os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                os.unlink(temporary, dir_fd=folder)
                raise


def prune(directory: Path, suffix: str, most: int) -> None:
    """Remove the files of a suffix that were not used for longest, until the rest has at most `most` bytes."""
    with contextlib.suppress(OSError), _opened(directory) as folder:
        found: list[tuple[float, int, str]] = []
        for name in os.listdir(folder):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # another process writes or prunes, too
            if name.endswith(suffix):
                found.append((status.st_mtime, status.st_size, name))
            elif name.endswith(_TEMPORARY) and status.st_mtime < time.time() - _ABANDONED:
                _remove(folder, name)
        total = sum(size for _, size, _ in found)
        for _, size, name in sorted(found):
            if total <= most:
                break
            _remove(folder, name)
            total -= size


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)


def _digest(name: str, content: bytes) -> bytes:
    """Not against an attacker, who could compute it too: against a file that was cut, damaged or renamed."""
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """A directory, open, that is trusted with all that lead to it. Raises `OSError` if it is not."""
    # Links on the way are resolved first: what they lead to is judged instead, step by step, and without any.
    *above, last = Path(os.path.realpath(directory.parent), directory.name).parts
    folder = os.open(above[0], _DIRECTORY)
    try:
        for step in (*above[1:], last):
            if not _own(os.fstat(folder), sticky=True):
                raise PermissionError(f"{directory} can be replaced by others")
            inner = os.open(step, _DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        if not _own(os.fstat(folder)):
            raise PermissionError(f"{directory} can be written by others")
        yield folder
    finally:
        os.close(folder)


def _own(status: os.stat_result, *, sticky: bool = False) -> bool:
    """Nobody but this user and root can have changed it."""
    if status.st_uid not in (os.getuid(), 0):
        return False
    return not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or (sticky and bool(status.st_mode & stat.S_ISVTX))
