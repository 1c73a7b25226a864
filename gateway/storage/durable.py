"""Files and directories that outlive a power failure."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def sync(path: Path) -> None:
    """Bring a file to the disk, or a directory: what was created, renamed and deleted in it. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def replacing(path: Path, content: bytes) -> Iterator[None]:
    """Put these bytes in the place of a file, at once, if the block ends well. They are on disk before it begins.

    Only this user can read the file. After a crash it is the old one or the new one. Raises `OSError`.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        yield
        os.replace(new, path)
        sync(path.parent)
    finally:
        new.unlink(missing_ok=True)


@contextmanager
def complete_or_absent(directory: Path) -> Iterator[Path]:
    """The place of a directory that gets its name when the block ends well, and is deleted otherwise."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    holder = tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent)
    try:
        made = Path(holder) / directory.name
        yield made
        os.rename(made, directory)
        sync(directory.parent)
    finally:
        shutil.rmtree(holder, ignore_errors=True)
