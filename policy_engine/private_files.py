"""Cache files that no other user can have written.

Their contents become code or parse tables, so a file is trusted only if no other user could have put it there. Every
directory on its path belongs to this user or root and is not writable by others; the sticky bit makes an exception,
because in such a directory users cannot replace each other's files. The last directory and the file must satisfy the
same without the exception. Each step is opened relative to the one before and checked with `fstat`, because a path
could lead elsewhere a moment later. A digest detects damaged files.

Nothing here raises: a file that is foreign, damaged or cannot be written counts as missing, and the caller computes its
content again. A cache must never be the reason for a failure.
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
"""Largest file that is read, in bytes; this program writes none that is larger."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TEMPORARY: Final = ".new"
_ABANDONED: Final = 3600
"""Seconds after which an unfinished file counts as left behind by a crash."""


def read(directory: Path, name: str) -> bytes | None:
    """The content of a file, or None if there is no trusted one."""
    try:
        with _opened(directory) as folder:
            # O_NONBLOCK keeps a pipe from waiting for its writer; it is rejected below, as no regular file.
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            with open(os.open(name, flags, dir_fd=folder), "rb") as file:
                status = os.fstat(file.fileno())
                if not (stat.S_ISREG(status.st_mode) and _own(status)) or status.st_size > MAX_FILE:
                    return None
                content = file.read()
                if status.st_mtime < time.time() - _ABANDONED and status.st_uid == os.getuid():
                    os.utime(file.fileno())  # so that `prune` knows when it was used last
    except OSError:
        return None
    digest, body = content[:32], content[32:]
    return body if digest == _digest(name, body) else None


def write(directory: Path, name: str, content: bytes) -> None:
    """Write a file atomically: a reader finds the whole file or none, even after a crash."""
    with contextlib.suppress(OSError):
        for path in (*reversed(directory.parents), directory):
            if not path.exists():
                path.mkdir(mode=0o700, exist_ok=True)  # many systems' default lets the user's group write
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
    """Remove the least recently used files with this suffix until the others have at most `most` bytes."""
    with contextlib.suppress(OSError), _opened(directory) as folder:
        found: list[tuple[float, int, str]] = []
        for name in os.listdir(folder):
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except FileNotFoundError:
                continue  # another process writes or prunes as well
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
    """Detects truncated, damaged and renamed files. No protection against an attacker, who could compute it too."""
    return hashlib.sha256(name.encode() + b"\0" + content).digest()


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    """Open a directory that is trusted together with all above it. Raises `OSError` if it is not trusted."""
    # Links are resolved first; the directories of the resolved path are then checked one by one without any link.
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
    """True if only this user and root can have changed it."""
    if status.st_uid not in (os.getuid(), 0):
        return False
    return not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or (sticky and bool(status.st_mode & stat.S_ISVTX))
