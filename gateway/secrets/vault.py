"""Provider secrets at rest: AES-256-GCM in an envelope (architecture.md, section 9).

Each secret has a data key of its own, and that key is wrapped by the key-encryption key (`key_source.py`). Both layers
are bound to organization, provider, row and version as associated data: a ciphertext that somebody copies into another
row does not decrypt there. A sealed secret is

    format (1) | id of the wrapping key (8) | nonce (12) | wrapped data key (48) | nonce (12) | ciphertext and tag

While the key is being replaced (`vault_rotation.py`), the ones before it still open what they sealed.

All secrets pass through this file. No error message and no `repr` contains one.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.errors import GatewayError
from gateway.secrets.key_source import FILE, KeySource
from gateway.storage import secret_files

COMMAND_PAUSE: Final = 5.0
"""Seconds in which a vault does not run a command again to seal, or for a key that the command did not give."""

_FORMAT = b"\x01"
_ID = 8
_NONCE = 12
_WRAPPED = 32 + 16
_HEAD = len(_FORMAT) + _ID
_MINIMUM = _HEAD + _NONCE + _WRAPPED + _NONCE + 16


class SealedPlace(NamedTuple):
    """The row a secret belongs to. A secret that is sealed for one place opens in no other."""

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

    The key may be replaced while processes run, so a secret that was sealed under another one makes this ask the source
    again, as does sealing. Secrets of the keys before it can still be opened.

    # INVARIANT: what is stored is sealed inside the transaction that stores it. A rotation looks for what is sealed
    under the old key in a transaction of its own after the new one is in place, so nothing can slip through. With a
    source outside of the data directory something can, for a moment; no rotation takes a key away then.
    """

    def __init__(self, key: bytes, source: KeySource | None = None) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._pauses: dict[bytes, float] = {}  # when each ends, by the id of a key that was missed; none: to seal
        self._keys: dict[bytes, AESGCM] = {}
        self._take(key)

    def __repr__(self) -> str:
        return f"Vault({self.id})"

    def _take(self, key: bytes) -> None:
        self._key = AESGCM(key)
        # Stored with each sealed secret, to tell a wrong `kek` file from a damaged row.
        self._id = identity(key)
        self._keys[self._id] = self._key

    def look(self, missed: Iterable[bytes] = (b"",)) -> None:
        """Ask the source again, to seal or for keys that are missed. Blocks while a command runs."""
        if (source := self._source) is None:
            return
        with self._lock:
            now = time.monotonic()
            if source.command and all(each in self._keys or now < self._pauses.get(each, 0.0) for each in missed):
                return
            try:
                for found in reversed(source.read()):
                    self._take(found.key)
            finally:
                self._pauses.update(dict.fromkeys((b"", *missed), time.monotonic() + COMMAND_PAUSE))

    def missed(self, sealed: Iterable[bytes | None]) -> set[bytes]:
        """The ids of keys that a command has to be run for to open these, which an event loop must not wait for."""
        if self._source is None or not self._source.command:
            return set()
        return {bytes.fromhex(sealed_under(each)) for each in sealed if each is not None} - set(self._keys)

    def holds(self, ids: Iterable[bytes]) -> bool:
        """True if one of these keys is known."""
        return not self._keys.keys().isdisjoint(ids)

    @property
    def _hint(self) -> str:
        if self._source is None or not self._source.outside:
            return "restore the `keys/kek` that belongs to it"
        return f"let {self._source} give the key that belongs to it, after the newest one"

    @property
    def id(self) -> str:
        """The id of the key that seals now."""
        return self._id.hex()

    @classmethod
    def create(cls, keys: Path) -> Vault:
        """Make the key of a new gateway in its directory of keys."""
        return cls(secret_files.create(keys / FILE), KeySource(keys))

    @classmethod
    def load(cls, keys: Path, source: KeySource | None = None) -> Vault:
        """The vault of a directory of keys. Without a source, the one that is configured there."""
        source = source or KeySource.configured(keys)
        found = source.read()
        vault = cls(found[0].key, source)
        for older in reversed(found):
            vault._take(older.key)
        vault._pauses[b""] = time.monotonic() + COMMAND_PAUSE
        return vault

    @classmethod
    def tried(cls, source: KeySource) -> Vault | GatewayError:
        """The vault of a source, which is read once, or why there is none."""
        try:
            return cls.load(source.keys, source)
        except GatewayError as error:
            return error

    def seal(self, secret: str, place: SealedPlace) -> bytes:
        """Seal a secret for its place. Call it inside the transaction that stores it."""
        self.look()
        bound = place.associated_data
        data_key = AESGCM.generate_key(256)
        wrap_nonce, nonce = os.urandom(_NONCE), os.urandom(_NONCE)
        wrapped = self._key.encrypt(wrap_nonce, data_key, bound)
        return (
            _FORMAT + self._id + wrap_nonce + wrapped + nonce + AESGCM(data_key).encrypt(nonce, secret.encode(), bound)
        )

    def open(self, sealed: bytes, place: SealedPlace, *, ask: bool = True) -> str:
        """The secret that was sealed for this place; raises `GatewayError` for anything else.

        Without `ask` the source is not asked for a key that is missed, so this never blocks.
        """
        data_key, nonce, ciphertext = self._unwrap(sealed, place, ask)
        try:
            return AESGCM(data_key).decrypt(nonce, ciphertext, place.associated_data).decode()
        except InvalidTag:
            raise _unreadable(place, "it is damaged or belongs to another row") from None

    def rewrap(self, sealed: bytes, place: SealedPlace) -> bytes | None:
        """The same secret with its data key under the key that seals now; None if it is already.

        The secret is not opened. Raises `GatewayError` as `open` does.
        """
        if sealed_under(sealed) == self.id:
            return None
        data_key, nonce, ciphertext = self._unwrap(sealed, place)
        wrap_nonce = os.urandom(_NONCE)
        wrapped = self._key.encrypt(wrap_nonce, data_key, place.associated_data)
        return _FORMAT + self._id + wrap_nonce + wrapped + nonce + ciphertext

    def _unwrap(self, sealed: bytes, place: SealedPlace, ask: bool = True) -> tuple[bytes, bytes, bytes]:
        """The data key of a sealed secret, and the nonce and the ciphertext that belong to it."""
        if len(sealed) < _MINIMUM or not sealed.startswith(_FORMAT):
            raise _unreadable(place, "it is damaged")
        wrapping = sealed[len(_FORMAT) : _HEAD]
        if ask and wrapping not in self._keys:
            self.look((wrapping,))
        if (key := self._keys.get(wrapping)) is None:
            raise _unreadable(place, "it was sealed under another key", self._hint)
        wrap_nonce, rest = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
        wrapped, nonce, ciphertext = rest[:_WRAPPED], rest[_WRAPPED : _WRAPPED + _NONCE], rest[_WRAPPED + _NONCE :]
        try:
            return key.decrypt(wrap_nonce, wrapped, place.associated_data), nonce, ciphertext
        except InvalidTag:
            raise _unreadable(place, "it is damaged or belongs to another row") from None


def identity(key: bytes) -> bytes:
    """The id of a key-encryption key, which tells nothing about it."""
    return hashlib.sha256(b"gateway key-encryption key\x00" + key).digest()[:_ID]


def sealed_under(sealed: bytes) -> str:
    """The id of the key that a secret is sealed under; empty for what was never sealed."""
    return sealed[len(_FORMAT) : _HEAD].hex() if len(sealed) >= _MINIMUM and sealed.startswith(_FORMAT) else ""


def _unreadable(place: SealedPlace, why: str, hint: str = "add the upstream again with its secret") -> GatewayError:
    return GatewayError(
        "secret_unreadable", f"the secret of `{place.row}` cannot be opened: {why}", subject=place.row, hint=hint
    )
