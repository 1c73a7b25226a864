"""Provider secrets at rest: AES-256-GCM in an envelope (docs/architecture.md, section 9).

Each secret has a data key of its own, and that key is wrapped by the key-encryption key in `keys/kek`. Both layers are
bound to organization, provider, row and version as associated data: a ciphertext that somebody copies into another row
does not decrypt there. A sealed secret is

    format (1) | id of the wrapping key (8) | nonce (12) | wrapped data key (48) | nonce (12) | ciphertext and tag

All secrets pass through this file. No error message and no `repr` contains one.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import GatewayError
from gateway.storage import secret_files

_FORMAT = b"\x01"
_ID = 8
_NONCE = 12
_WRAPPED = 32 + 16
_HEAD = len(_FORMAT) + _ID
_MINIMUM = _HEAD + _NONCE + _WRAPPED + _NONCE + 16


class Place(NamedTuple):
    """The row a secret belongs to. What is sealed for one place opens in no other."""

    organization: str
    provider: str
    row: str
    version: int

    @property
    def associated_data(self) -> bytes:
        parts = (self.organization, self.provider, self.row, str(self.version))
        if any("|" in part for part in parts):
            raise ValueError("a `|` inside a part would let two places share one text")
        return "|".join(parts).encode()


class Vault:
    """Seals and opens secrets under one key-encryption key.

    The key may be replaced while processes run, so a secret that was sealed under another one makes this read the file
    again. Secrets of the keys before it can still be opened.
    """

    def __init__(self, key: bytes, path: Path | None = None) -> None:
        self._path = path
        self._keys: dict[bytes, AESGCM] = {}
        self._take(key)

    def _take(self, key: bytes) -> None:
        self._key = AESGCM(key)
        # Stored with each sealed secret, to tell a wrong `kek` file from a damaged row.
        self._id = hashlib.sha256(b"gateway key-encryption key\x00" + key).digest()[:_ID]
        self._keys[self._id] = self._key

    @classmethod
    def create(cls, keys: Path) -> Vault:
        """Make the key of a new gateway in its directory of keys."""
        return cls(secret_files.create(keys / "kek"), keys / "kek")

    @classmethod
    def load(cls, keys: Path) -> Vault:
        return cls(secret_files.read(keys / "kek"), keys / "kek")

    def seal(self, secret: str, place: Place) -> bytes:
        bound = place.associated_data
        data_key = AESGCM.generate_key(256)
        wrap_nonce, nonce = os.urandom(_NONCE), os.urandom(_NONCE)
        wrapped = self._key.encrypt(wrap_nonce, data_key, bound)
        return (
            _FORMAT + self._id + wrap_nonce + wrapped + nonce + AESGCM(data_key).encrypt(nonce, secret.encode(), bound)
        )

    def open(self, sealed: bytes, place: Place) -> str:
        """The secret that was sealed for this place; raises `GatewayError` for anything else."""
        if len(sealed) < _MINIMUM or not sealed.startswith(_FORMAT):
            raise _unreadable(place, "it is damaged")
        identity = sealed[len(_FORMAT) : _HEAD]
        if identity not in self._keys and self._path is not None:
            self._take(secret_files.read(self._path))
        if (key := self._keys.get(identity)) is None:
            raise _unreadable(place, "it was sealed under another key", "restore the `keys/kek` that belongs to it")
        wrap_nonce, rest = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
        wrapped, nonce, ciphertext = rest[:_WRAPPED], rest[_WRAPPED : _WRAPPED + _NONCE], rest[_WRAPPED + _NONCE :]
        bound = place.associated_data
        try:
            data_key = key.decrypt(wrap_nonce, wrapped, bound)
            return AESGCM(data_key).decrypt(nonce, ciphertext, bound).decode()
        except InvalidTag:
            raise _unreadable(place, "it is damaged or belongs to another row") from None


def _unreadable(place: Place, why: str, hint: str = "add the upstream again with its secret") -> GatewayError:
    return GatewayError(
        "secret_unreadable", f"the secret of `{place.row}` cannot be opened: {why}", subject=place.row, hint=hint
    )
