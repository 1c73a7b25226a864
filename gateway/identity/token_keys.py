"""The keys that sign the gateway's own tokens: `keys/token.N`, the newest of which signs (tokens.md).

A file holds the 32 bytes of an Ed25519 private key, and is handled as the other secrets there. Older keys verify as
long as their file is kept. The name of a key is its thumbprint (RFC 7638).

The files on the disk decide, in every process and without a message: `TokenKeys` looks there before it signs with a key
and before it trusts one. So a new key signs at once, and a key whose file is gone is trusted no more. Keys are
replaced, and the change recorded, by `gateway/registry/secret_keys/token_keys.py`.
"""

from __future__ import annotations

import base64
import logging
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwk

from gateway.errors import GatewayError, UnavailableError
from gateway.identity.jose import Key
from gateway.storage import durable, secret_files

logger = logging.getLogger("gateway.identity.token_keys")

KNOWN_SECONDS: Final = 300
"""The time for which others keep the public keys: so long after it was made, everybody has a new key."""
KEPT_SECONDS: Final = 660
"""The time that a key verifies after another one has taken its place: the longest life of a token, and a minute."""


class TokenKeys:
    """The keys of one process. Its functions raise `GatewayError` if the directory cannot be read."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[int, Key] = {}
        self._made: dict[int, float] = {}
        self._unusable: set[int] = set()
        self._look()

    def __repr__(self) -> str:
        return f"TokenKeys({sorted(self._keys)})"

    @property
    def newest(self) -> Key | None:
        """The key that signs; None if there is none that can be used."""
        self._look()
        return self._keys[max(self._keys)] if self._keys else None

    @property
    def known(self) -> Key | None:
        """The newest key that others have as well, who keep the public keys for a while; None if there is none at all.

        Without one it is the oldest: its turn came first.
        """
        self._look()
        if not self._keys:
            return None
        before = time.time() - KNOWN_SECONDS
        return self._keys[max((each for each in self._keys if self._made[each] <= before), default=min(self._keys))]

    def named(self, kid: str | None) -> tuple[Key, ...]:
        """The key of this name, if there is one."""
        self._look()
        return tuple(each for each in self._keys.values() if each.kid == kid)

    def public(self) -> bytes:
        """The public keys as a JWK set, newest first."""
        with suppress(GatewayError):  # the keys known a moment ago are published then
            self._look()
        keys = [self._keys[each] for each in sorted(self._keys, reverse=True)]
        documents = [
            {**each.key.as_dict(private=False), "kid": each.kid, "alg": "EdDSA", "use": "sig"} for each in keys
        ]
        return orjson.dumps({"keys": documents})

    def _look(self) -> None:
        """Know the keys that are on the disk now. A file is read once; listing the directory takes some 15 µs."""
        found = _files(self._directory)
        for number in self._keys.keys() - found.keys():
            del self._keys[number]
        for number in found.keys() - self._keys.keys():
            try:
                key, self._made[number] = key_of(secret_files.read(found[number])), found[number].stat().st_mtime
                self._keys[number] = key
                self._unusable.discard(number)
            except (GatewayError, OSError) as error:  # the others are as good as before
                if number not in self._unusable:
                    logger.error("%s", error.message if isinstance(error, GatewayError) else error)
                self._unusable.add(number)


@dataclass(frozen=True, slots=True)
class TokenKeyState:
    """A key as its file has it. `kid` is empty and `fault` says why if it cannot be used.

    `kept_until_ns` is when a running gateway removes the file: None for the key that signs, and for one that cannot be
    used although no later one can.
    """

    number: int
    kid: str
    made_ns: int
    signs: bool
    kept_until_ns: int | None = None
    fault: str = ""


def states(directory: Path) -> list[TokenKeyState]:
    """Every key that has a file, newest first."""
    found: list[TokenKeyState] = []
    successor_ns: int | None = None
    for number, path in sorted(_files(directory).items(), reverse=True):
        kept_until_ns = None if successor_ns is None else successor_ns + KEPT_SECONDS * 10**9
        try:
            made_ns = path.stat().st_mtime_ns
        except FileNotFoundError:  # removed in the meantime
            continue
        try:
            kid = key_of(secret_files.read(path)).kid or ""
        except GatewayError as error:
            found.append(TokenKeyState(number, "", made_ns, False, kept_until_ns, error.message))
            continue
        found.append(TokenKeyState(number, kid, made_ns, successor_ns is None, kept_until_ns))
        successor_ns = made_ns
    return found


def create(directory: Path) -> None:
    """Make the first key of a gateway, unless it has one."""
    if not _files(directory):
        add(directory)


def add(directory: Path) -> int:
    """Add a key, which signs from now on; returns its number. It is on the disk on return."""
    number = max(_files(directory), default=0) + 1
    secret_files.create(directory / f"token.{number}")
    durable.sync(directory)
    return number


def remove(directory: Path, numbers: Iterable[int]) -> None:
    """Remove keys, which are trusted no more from now on. They are gone from the disk on return."""
    for number in numbers:
        try:
            (directory / f"token.{number}").unlink(missing_ok=True)
        except OSError as error:
            raise _unreadable(directory, error) from error
    durable.sync(directory)


def _files(directory: Path) -> dict[int, Path]:
    try:
        with os.scandir(directory) as entries:
            names = [each.name for each in entries if each.name.startswith("token.")]
    except OSError as error:
        raise _unreadable(directory, error) from error
    found = ((name.removeprefix("token."), directory / name) for name in names)
    return {int(number): path for number, path in found if number.isascii() and number.isdecimal()}


def _unreadable(directory: Path, error: OSError) -> GatewayError:
    why = (error.strerror or type(error).__name__).lower()
    message = f"the keys of tokens in `{directory}` cannot be read or changed: {why}"
    return UnavailableError(
        "key_file_unusable", message, subject=str(directory), hint="see to its owner and its rights"
    )


def key_of(seed: bytes) -> Key:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    document: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": _text(public), "d": _text(seed)}
    key = jwk.import_key(document)
    return Key(key.thumbprint(), "EdDSA", key)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
