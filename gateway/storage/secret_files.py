"""Key material in files: raw bytes, mode 0600 (architecture.md, section 13).

Peppers and the key-encryption key are stored this way. A file that other users may read is refused, because its secret
may be known to them.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from gateway.errors import GatewayError, UnavailableError

SECRET_BYTES = 32


def create(path: Path) -> bytes:
    """Create a file of random bytes that only this user can read. It is on disk on return. Never overwrites."""
    secret = os.urandom(SECRET_BYTES)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, f"cannot be created: {_reason(error)}") from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secret)
        stream.flush()
        os.fsync(stream.fileno())
    return secret


def read(path: Path) -> bytes:
    """The secret in `path`. Raises unless it is complete and private to its owner."""
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            secret = stream.read(SECRET_BYTES + 1)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {_reason(error)}", hint="restore it from a backup") from error
    if stat.S_IMODE(mode) & 0o077:
        raise _unusable(
            path, "is open to other users", hint=f"type `chmod 600 {path}`, and replace it if others read it"
        )
    if len(secret) != SECRET_BYTES:
        raise _unusable(path, f"must hold exactly {SECRET_BYTES} bytes", hint="restore it from a backup")
    return secret


def _unusable(path: Path, why: str, hint: str = "") -> GatewayError:
    return UnavailableError("key_file_unusable", f"key file `{path}` {why}", subject=str(path), hint=hint)


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()
