"""`--out FILE` of commands that make one secret: a file that only this user can read.

The file keeps its content until the new secret is on disk, whatever fails before. A shell's `> FILE` empties it first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import GatewayError


@contextmanager
def secret_file(path: Path | None, *, at_end: bool = False) -> Iterator[Callable[[str], None]]:
    """Yields what puts the secret into the file, in place of what is there; without a path it does nothing.

    It raises before a secret is made if the file cannot be written. With `at_end` the secret is on disk at once, and
    takes the place of what is there when the block has ended well: before, it may not be in force.
    """
    if path is None:
        yield lambda _secret: None
        return
    new = path.with_name(f".{path.name}.{os.getpid()}.new")

    def put(secret: str) -> None:
        try:
            with open(descriptor, "wb", closefd=False) as stream:
                stream.write(f"{secret}\n".encode())
                stream.flush()
                os.fsync(stream.fileno())
            if not at_end:
                new.replace(path)
        except OSError as error:
            raise _unusable(path, error) from error

    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        if path.is_dir():
            raise GatewayError("file_unusable", f"`{path}` is a directory", hint="name a file")
        yield put
        if at_end:
            new.replace(path)
    finally:
        os.close(descriptor)
        with suppress(OSError):
            new.unlink()


def _unusable(path: Path, error: OSError) -> GatewayError:
    why = (error.strerror or type(error).__name__).lower()
    return GatewayError("file_unusable", f"`{path}` cannot be written: {why}", hint="name another file")
