"""The files that commands read, and those with secrets that they write, which only this user can read."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from gateway.errors import GatewayError


def read(path: Path, most: int = -1, *, code: str = "file_unusable", hint: str = "") -> bytes:
    """The first bytes of a file; `-` is standard input."""
    try:
        if str(path) == "-":
            return sys.stdin.buffer.read(most)
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise GatewayError(code, f"cannot read `{path}`: {why(error)}", subject=str(path), hint=hint) from error


def text(path: Path, most: int, *, code: str = "file_unusable") -> str:
    """The text of a file, such as a secret, without the blanks around it."""
    return read(path, most, code=code).decode("utf-8", "replace").strip()


def why(error: OSError) -> str:
    """The reason that the system gives, for a message."""
    return (error.strerror or type(error).__name__).lower()


def create(path: Path) -> int:
    """A new file that only this user can read, opened."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def write(descriptor: int, text: str) -> None:
    """Put text into an open file, and onto the disk."""
    with open(descriptor, "wb", closefd=False) as stream:
        stream.write(text.encode())
        stream.flush()
        os.fsync(stream.fileno())


def put(path: Path, content: str | bytes) -> None:
    """Write a file that holds no secret; one that is there is replaced."""
    try:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise unusable(path, error) from error


@contextmanager
def secret_file(path: Path | None, *, at_end: bool = False) -> Iterator[Callable[[str], None]]:
    """Yields what puts a secret into the file, in place of what is there; without a path it does nothing.

    The file keeps its content until the new secret is on disk, whatever fails before. A shell's `> FILE` empties it
    first. It raises before a secret is made if the file cannot be written. With `at_end` the secret is on disk at once,
    and takes the place of what is there when the block has ended well: before, it may not be in force.
    """
    if path is None:
        yield lambda _secret: None
        return
    new = path.with_name(f".{path.name}.{os.getpid()}.new")

    def put(secret: str) -> None:
        try:
            write(descriptor, f"{secret}\n")
            if not at_end:
                new.replace(path)
        except OSError as error:
            raise unusable(path, error) from error

    try:
        descriptor = create(new)
    except OSError as error:
        raise unusable(path, error) from error
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


def unusable(path: Path, error: OSError, hint: str = "name another file") -> GatewayError:
    """The error of a file that cannot be written."""
    return GatewayError("file_unusable", f"`{path}` cannot be written: {why(error)}", hint=hint)


def answer_lost(what: str, hint: str, what_is_lost: str = "text") -> GatewayError:
    """The first answer was lost, and secrets are not kept for a repeated one."""
    return GatewayError("answer_lost", f"{what}, but its {what_is_lost} was lost on the way", hint=hint)
