"""Knows which processes of this gateway are alive: each holds a lock on a file of its own for as long as it lives.

The kernel releases the lock however the process ends, and unlike process ids the names are never used again. A data
worker takes its lock before it records anything and keeps it until its last record is durable. So if the process of an
open decision has no lock, nobody else will close that decision.
Specification: architecture.md, sections 10 (recovery) and 12.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress

from gateway import ownership
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError, Hint
from gateway.storage.membership import Membership


class Presence:
    """A `Member`, from `__init__` on."""

    def __init__(self, data: DataDirectory, boot: str) -> None:
        self._has_note = False
        self._path = data.processes / boot
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        # Between opening and locking, a sweep may take the file for that of a dead process and remove it: try again.
        while not self._lock():
            os.close(self._file)

    def _lock(self) -> bool:
        """Lock the file; false if its name leads to another file by now, or to none."""
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self._path))
        except FileNotFoundError:
            return False

    def leave(self, note: bytes) -> None:
        """Implements `Member`. The line survives SIGKILL, not a power failure. On a full disk it is not left."""
        self._has_note = bool(note)
        with suppress(OSError):
            os.pwrite(self._file, note + b"\n", 0)  # in one call: whoever reads it finds a whole line

    def close(self) -> None:
        if not self._has_note:
            self._path.unlink(missing_ok=True)
        os.close(self._file)


class LiveBoots(Collection[str]):
    """Implements `Membership`."""

    def __init__(self, data: DataDirectory) -> None:
        self._data = data
        self._directory = data.processes

    def join(self, boot: str) -> Presence:
        return Presence(self._data, boot)

    def __contains__(self, boot: object) -> bool:
        return self._alive(str(boot))

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._names() if name in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def sweep(self, inherit: Callable[[bytes], None]) -> None:
        """Remove the files of processes that were killed."""
        for name in self._names():
            self._alive(name, inherit)

    def _alive(self, name: str, inherit: Callable[[bytes], None] | None = None) -> bool:
        """True if a process holds the lock of this name. With `inherit` the file of a dead one is removed."""
        path = self._directory / name
        try:
            file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        else:
            if inherit is not None:
                note, end, _ = os.pread(file, os.fstat(file).st_size, 0).partition(b"\n")
                if note and end:
                    inherit(note)
                path.unlink(missing_ok=True)
            return False
        finally:
            os.close(file)

    def _names(self) -> list[str]:
        return sorted(os.listdir(self._directory)) if self._directory.is_dir() else []


def members(data: DataDirectory) -> Membership:
    """The processes that are alive of the gateway in a data directory."""
    return LiveBoots(data)


# The time that a start waits for processes that only look if a gateway is running: they hold the lock for microseconds.
_LOOKED_AT_SECONDS = 0.5


class OnlyOne:
    """The right to run a gateway on a data directory: only one process has it, and it belongs to the owner."""

    def __init__(self, data: DataDirectory) -> None:
        where = str(data.path)
        try:
            owner = os.stat(data.path).st_uid
            if owner != os.geteuid():
                # Root in particular would leave files there that the owner cannot open.
                raise ownership.foreign(data.path, owner)
            self._file = os.open(data.path / "up.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            reason = (error.strerror or type(error).__name__).lower()
            raise GatewayError("data_not_writable", f"cannot write to `{where}`: {reason}", subject=where) from error
        ends = time.monotonic() + _LOOKED_AT_SECONDS
        while not _locked(self._file, fcntl.LOCK_EX):
            if time.monotonic() > ends:
                os.close(self._file)
                raise GatewayError(
                    "already_running",
                    f"a gateway is running on `{where}` already",
                    subject=where,
                    hint=Hint("stop it first, or name another directory with --data"),
                )
            time.sleep(0.01)
        self.tell(b"")

    def tell(self, about: bytes) -> None:
        """Leave word about this gateway for `running`. It counts for as long as this process lives."""
        with suppress(OSError):  # a full disk stops no gateway
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, about, 0)

    def close(self) -> None:
        os.close(self._file)


class OnlyCopy:
    """The right to run a gateway with a signing key: two copies of a data directory have the same one.

    Both would sign, and each would contradict the other. It is a socket without a file, so it ends with the process
    however that ends, and it is seen by all processes of this machine (or container), wherever the copies are.
    """

    def __init__(self, data: DataDirectory) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        name = hashlib.sha256((data.keys / "signing.pub").read_bytes()).hexdigest()
        address = f"\0agent-identity-gateway/{name}"
        try:
            self._socket.bind(address)
            self._socket.listen()
        except OSError:
            self._socket.close()
            if (holder := _holder(address)) is None:
                return
            message = f"process {holder} runs a gateway with the same signing key as `{data.path}`: one is a copy"
            hint = "stop one of the two: both would sign, and each log would contradict the other"
            raise GatewayError("copy_running", message, subject=str(data.path), hint=hint) from None

    def close(self) -> None:
        self._socket.close()


def _holder(address: str) -> int | None:
    """The process of this user, or of root, that listens there; what another user does there stops nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as asking:
        try:
            asking.connect(address)
            pid, uid, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        except OSError:
            return None
    return pid if uid in (0, os.geteuid()) else None


def running(data: DataDirectory) -> bytes | None:
    """Facts that the gateway running on a data directory tells about itself, perhaps none yet; None if none runs."""
    try:
        file = os.open(data.path / "up.lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _locked(file, fcntl.LOCK_SH) else os.pread(file, os.fstat(file).st_size, 0)
    finally:
        os.close(file)


def _locked(file: int, kind: int) -> bool:
    """Take a lock, if no other process stands in the way."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
