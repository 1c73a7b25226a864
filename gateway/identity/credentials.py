"""API keys: their form, their check digits and their hash (architecture.md, section 9).

    aig_sk_ 7Yp0c1QmZr8T _ (43 base62 digits of secret) (6 base62 digits of CRC-32)
    kind    id             256 bits                      over everything before it

A scanner recognises a leaked key by its prefix and check digits alone, and a mistyped key is refused without asking the
database. The registry stores `digest`: the HMAC-SHA-256 of kind, id and secret under a pepper that is not in the
database. The secret has 256 random bits, so a slow password hash would add nothing but a way to exhaust the gateway.
The HMAC covers kind and id as well, so that a hash moved to another row matches nothing there. The text is shown once
and not stored; no `repr` in this file shows a secret.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Literal, NamedTuple

from gateway.errors import GatewayError, UnavailableError
from gateway.frozen import frozen
from gateway.storage import secret_files

logger = logging.getLogger("gateway.identity.credentials")

Method = Literal["legacy", "api_key", "signature", "mtls", "token", "peer"]
"""The method by which an agent proves its identity; with `peer`, its own gateway vouches for it."""

Kind = Literal["agent", "operator"]

PREFIXES: dict[Kind, str] = {"agent": "aig_sk_", "operator": "aig_op_"}
ID_LENGTH = 12
SECRET_LENGTH = 43
CHECK_LENGTH = 6

_LOOK_SECONDS = 1.0  # between two looks for a missing pepper

_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PLACES = [62**place for place in reversed(range(CHECK_LENGTH))]
_KINDS: dict[str, Kind] = {prefix: kind for kind, prefix in PREFIXES.items()}
_FORM = re.compile(r"(aig_(?:sk|op)_)([0-9A-Za-z]{12})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})", re.ASCII)


@frozen()
class Credential:
    """A well-formed key that is not checked yet. `material` is the part of its text that is hashed."""

    method: ClassVar[Literal["api_key"]] = "api_key"

    kind: Kind
    id: str
    material: bytes = field(repr=False)

    @property
    def lookup(self) -> str:
        return self.id


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A key that was just made. Its owner sees `text` once."""

    credential: Credential
    text: str = field(repr=False)


def generate(kind: Kind) -> NewCredential:
    """A fresh key of the kind, from the system's random source."""
    identifier = _random(ID_LENGTH)
    material = f"{PREFIXES[kind]}{identifier}_{_random(SECRET_LENGTH)}"
    return NewCredential(Credential(kind, identifier, material.encode()), material + _check_digits(material.encode()))


def parse(text: str) -> Credential | None:
    """Parse a key; None if its form or its check digits are wrong. Needs no database."""
    form = _FORM.fullmatch(text)
    if form is None:
        return None
    material = text[:-CHECK_LENGTH].encode()
    if _check_digits(material) != form[3]:  # a checksum, not a secret: an ordinary comparison
        return None
    return Credential(_KINDS[form[1]], form[2], material)


def label(kind: Kind, identifier: str) -> str:
    """The name of a key in lists and logs, where its secret must not be: `aig_sk_7Yp0c1QmZr8T`."""
    return PREFIXES[kind] + identifier


def public_part(text: str) -> str:
    """The part of a key that may be shown: everything but the secret. Other text comes back as it is."""
    prefix = next((prefix for prefix in _KINDS if text.startswith(prefix)), "")
    return text[: len(prefix) + ID_LENGTH] if prefix else text


def digest(credential: Credential, pepper: bytes) -> bytes:
    """The hash of a key, as the registry stores it."""
    return hmac.digest(pepper, credential.material, "sha256")


def matches(credential: Credential, stored: bytes, pepper: bytes) -> bool:
    """True if `stored` is this key's hash. Takes the same time wherever the two differ."""
    return hmac.compare_digest(hmac.digest(pepper, credential.material, "sha256"), stored)


PATTERN: Final = r"aig_(?:sk|op)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}"
"""A regular expression for keys, for secret scanners: agents' keys and operators'."""

_ANYWHERE = re.compile(f"(?=({PATTERN}))".encode())


def found_in(text: bytes) -> list[Credential]:
    """The keys that stand anywhere in a text, each once."""
    return [found for each in texts_in(text) if (found := parse(each)) is not None]


def texts_in(text: bytes) -> list[str]:
    """The same, as they stand there. A text like a key with other check digits is none."""
    # Without NULs, so that a file in UTF-16 is read as well.
    forms = [form[1].decode() for form in _ANYWHERE.finditer(text.replace(b"\x00", b""))]
    return [form for form in dict.fromkeys(forms) if parse(form) is not None]


class Rehash(NamedTuple):
    """The hash of a key that moves to a newer pepper. The holder of the pepper made it: `seal` shows that."""

    credential: str
    old: bytes
    new: bytes
    pepper: int
    seal: bytes

    @classmethod
    def make(cls, credential: Credential, old: bytes, peppers: Peppers) -> Rehash:
        """`credential` was checked against `old`, its hash under an older pepper."""
        new, pepper = digest(credential, peppers.current), peppers.newest
        return cls(credential.id, old, new, pepper, _seal(peppers.current, credential.id, old, new))

    def genuine(self, peppers: Peppers) -> bool:
        pepper = peppers.get(self.pepper)
        return pepper is not None and hmac.compare_digest(_seal(pepper, self.credential, self.old, self.new), self.seal)


def _seal(pepper: bytes, credential: str, old: bytes, new: bytes) -> bytes:
    return hmac.digest(pepper, b"rehash\x00" + credential.encode() + old + new, "sha256")


def _random(length: int) -> str:
    return "".join(secrets.choice(_BASE62) for _ in range(length))


def _check_digits(material: bytes) -> str:
    number = zlib.crc32(material)
    return "".join([_BASE62[number // place % 62] for place in _PLACES])


class Peppers:
    """Peppers by version: new hashes use the newest, older ones are checked as long as their file is kept.

    A rotation adds a file while processes run, so an unknown version is looked for on the disk.
    """

    def __init__(self, versions: Mapping[int, bytes], keys: Path | None = None) -> None:
        self._versions = dict(versions)
        self.newest = max(self._versions)
        self._keys = keys
        self._looked = float("-inf")

    def __repr__(self) -> str:
        return f"Peppers({sorted(self._versions)})"

    def get(self, version: int) -> bytes | None:
        """The pepper of this version; None if there is no usable file of it."""
        pepper = self._versions.get(version)
        if pepper is None and time.monotonic() - self._looked > _LOOK_SECONDS:
            self.look()
            pepper = self._versions.get(version)
        return pepper

    def look(self) -> None:
        """Look for new files. Those that cannot be used are logged."""
        self._looked = time.monotonic()
        if self._keys is not None:
            try:
                self._versions = self._versions | _read_all(self._keys)
            except GatewayError as error:
                logger.error("%s", error.message)
            self.newest = max(self._versions)

    @property
    def current(self) -> bytes:
        return self._versions[self.newest]

    @property
    def all(self) -> list[bytes]:
        """Every pepper, the oldest first: for what has no id that would tell its version."""
        return [pepper for _, pepper in sorted(self._versions.items())]

    @classmethod
    def create(cls, keys: Path) -> Peppers:
        """Make the first pepper of a new gateway in its directory of keys."""
        return cls({1: secret_files.create(keys / "pepper.1")}, keys)

    @classmethod
    def load(cls, keys: Path) -> Peppers:
        """Read every `pepper.N`; a gateway without any cannot check a key, so that is an error."""
        found = _read_all(keys)
        if not found:
            raise UnavailableError(
                "key_file_unusable",
                f"no pepper in `{keys}`: API keys cannot be checked",
                subject=str(keys),
                hint="restore `pepper.1` from a backup",
            )
        return cls(found, keys)


def _read_all(keys: Path) -> dict[int, bytes]:
    return {
        int(path.suffix[1:]): secret_files.read(path)
        for path in sorted(keys.glob("pepper.*"))
        if path.suffix[1:].isascii() and path.suffix[1:].isdecimal()
    }
