"""A zip archive in one form only: the same members give the same bytes, and a verifier accepts no other headers.

Every field of a header that is not about the content is fixed (times, attributes, flags), members follow one another
without a gap, and nothing stands before, between or behind them. Not larger than 4 GiB, so without the extensions of
large archives. Specification: docs/reference/evidence-bundle.md.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Final

from gateway.audit.errors import AuditError

STORED: Final = 0
DEFLATED: Final = 8
_VERSION: Final = 20
_UTF8: Final = 0x800
_TIME, _DATE = 0, 0x21  # midnight of 1980-01-01, the first that a zip can say
_LOCAL: Final = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL: Final = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END: Final = struct.Struct("<4sHHHHIIH")
_MOST_BYTES: Final = 2**32 - 2**20
_MOST_MEMBERS: Final = 65_000


@dataclass(frozen=True, slots=True)
class ArchiveMember:
    """A member as it lies in the archive: `packed` bytes, whose SHA-256 is `digest`."""

    path: str
    method: int
    crc: int
    packed: int
    size: int
    offset: int
    digest: str

    def _fields(self) -> tuple[int, ...]:
        return (_UTF8, self.method, _TIME, _DATE, self.crc, self.packed, self.size, len(self.path.encode()), 0)

    def local(self) -> bytes:
        return _LOCAL.pack(b"PK\x03\x04", _VERSION, *self._fields()) + self.path.encode()

    def central(self) -> bytes:
        fixed = (0, 0, 0, 0, self.offset)  # comment, disk, attributes inside and outside
        return _CENTRAL.pack(b"PK\x01\x02", _VERSION, _VERSION, *self._fields(), *fixed) + self.path.encode()


class Archive:
    """Writes to a file that can be read and sought. Members are compressed unless told otherwise."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.members: list[ArchiveMember] = []

    def add(self, path: str, parts: bytes | Iterable[bytes], *, method: int = DEFLATED) -> None:
        """Add a member, whose content comes in parts."""
        if isinstance(parts, bytes):
            parts = (parts,)
        offset = self._file.tell()
        self._file.write(bytes(_LOCAL.size) + path.encode())
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        crc = size = packed = 0
        digest = hashlib.sha256()
        for part in parts:
            crc, size = zlib.crc32(part, crc), size + len(part)
            packed += self._write(part if method == STORED else packer.compress(part), digest)
        if method == DEFLATED:
            packed += self._write(packer.flush(), digest)
        end = self._file.tell()
        if end > _MOST_BYTES or len(self.members) == _MOST_MEMBERS:
            hint = "export a shorter time, or a sample"
            raise AuditError("bundle_too_large", "the bundle would have more than 4 GiB", hint=hint)
        member = ArchiveMember(path, method, crc, packed, size, offset, digest.hexdigest())
        self._file.seek(offset)
        self._file.write(member.local())
        self._file.seek(end)
        self.members.append(member)

    def close(self) -> None:
        """Write the directory behind the members. The file stays open."""
        offset = self._file.tell()
        directory = b"".join(each.central() for each in self.members)
        count = len(self.members)
        self._file.write(directory + _END.pack(b"PK\x05\x06", 0, 0, count, count, len(directory), offset, 0))

    def _write(self, data: bytes, digest: hashlib._Hash) -> int:
        digest.update(data)
        self._file.write(data)
        return len(data)
