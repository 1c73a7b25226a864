"""The keys that sign the gateway's own tokens: `keys/token.N`, the newest of which signs (docs/tokens.md).

A file holds the 32 bytes of an Ed25519 private key, and is handled as the other secrets there. Older keys verify as
long as their file is kept. A rotation adds a file while processes run, so a key that is not known is looked for on the
disk. The name of a key is its thumbprint (RFC 7638).
"""

from __future__ import annotations

import base64
import logging
import time
from pathlib import Path

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from joserfc import jwk

from gateway.errors import GatewayError
from gateway.identity.jose import Key
from gateway.storage import secret_files

logger = logging.getLogger("gateway.identity.token_keys")

_LOOK_SECONDS = 1.0  # between two looks for keys that were added


class TokenKeys:
    """The keys of one process."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._keys: dict[int, Key] = {}
        self._looked = float("-inf")
        self._look()

    def __repr__(self) -> str:
        return f"TokenKeys({sorted(self._keys)})"

    @property
    def newest(self) -> Key | None:
        """The key that signs; None if there is none that can be used."""
        if not self._keys:
            self._look()
        return self._keys[max(self._keys)] if self._keys else None

    def named(self, kid: str | None) -> tuple[Key, ...]:
        """The key of this name, if there is one."""
        if not any(each.kid == kid for each in self._keys.values()):
            self._look()
        return tuple(each for each in self._keys.values() if each.kid == kid)

    def public(self) -> bytes:
        """The public keys as a JWK set, newest first."""
        keys = [self._keys[each] for each in sorted(self._keys, reverse=True)]
        documents = [
            {**each.key.as_dict(private=False), "kid": each.kid, "alg": "EdDSA", "use": "sig"} for each in keys
        ]
        return orjson.dumps({"keys": documents})

    def _look(self) -> None:
        if time.monotonic() - self._looked < _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for version, path in _files(self._directory).items():
            if version not in self._keys:
                try:
                    self._keys[version] = _key(secret_files.read(path))
                except GatewayError as error:  # the others are as good as before
                    logger.error("%s", error.message)


def create(directory: Path) -> None:
    """Make the first key of a gateway, unless it has one."""
    if not _files(directory):
        secret_files.create(directory / "token.1")


def rotate(directory: Path) -> int:
    """Add a key, which signs from now on; returns its number."""
    number = max(_files(directory), default=0) + 1
    secret_files.create(directory / f"token.{number}")
    return number


def _files(directory: Path) -> dict[int, Path]:
    return {int(each.suffix[1:]): each for each in directory.glob("token.*") if each.suffix[1:].isdecimal()}


def _key(seed: bytes) -> Key:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    document: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": _text(public), "d": _text(seed)}
    key = jwk.import_key(document)
    return Key(key.thumbprint(), "EdDSA", key)


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
