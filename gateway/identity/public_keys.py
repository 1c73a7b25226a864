"""Agents' keys in files: PEM of a public or a private key, Ed25519 or P-256.

The gateway stores the public half and never sees the other one. A key whose private half is known to others is refused:
those that standards publish as examples, and points of a small order, for which anybody can make signatures.
"""

from __future__ import annotations

import functools
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final, Literal, TypeAlias

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.errors import GatewayError, UnavailableError
from gateway.identity.message_signatures import PrivateKey, PublicKey, thumbprint

KeyType = Literal["ed25519", "p256"]

_Refusal: TypeAlias = Callable[[str, str], GatewayError]

_MAX_FILE = 64 * 1024
_KINDS = "an Ed25519 or P-256 key"
_MAKE = "make one with `gateway keys generate`"

PUBLISHED: Final = frozenset(
    {
        "poqkLGiymh_W0uP6PZFw-dvez3QJT5SolqXBCW38r0U",  # RFC 9421, B.1.4
        "ydQXMtvbsOsZyFir-Y7A8t7fKEM1gbKPvyFkdpu4fvI",  # RFC 9421, B.1.3
        "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k",  # RFC 8037, A.1
        "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",  # RFC 7515, A.3
        "cn-I_WNMClehiVp51i_0VpOENW1upEerA8sEam5hn-s",  # RFC 7517, A.1
    }
)
"""Thumbprints of keys that everybody has."""

# The y coordinates of the points whose order divides 8, in every encoding, without the bit of the sign.
_SMALL_ORDER: Final = frozenset(
    bytes.fromhex(each)
    for each in (
        "00" * 32,
        "01" + "00" * 31,
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "ec" + "ff" * 30 + "7f",
        "ed" + "ff" * 30 + "7f",
        "ee" + "ff" * 30 + "7f",
    )
)


def generate(kind: KeyType) -> PrivateKey:
    return Ed25519PrivateKey.generate() if kind == "ed25519" else ec.generate_private_key(ec.SECP256R1())


def read_public(path: Path) -> PublicKey:
    """The public key in a PEM file. Raises `GatewayError` if it holds none that an agent may have."""
    return _public(_read(path), str(path), functools.partial(_unusable, path))


def parse_public(pem: str) -> PublicKey:
    """The public key that a PEM text is. Raises `GatewayError` if it is none that an agent may have."""
    return _public(pem.encode(), "KEY.pem", _unacceptable)


def _public(text: bytes, name: str, refusal: _Refusal) -> PublicKey:
    if b"PRIVATE KEY-----" in text:
        hint = f"keep it where the agent runs, and give its public half: `openssl pkey -in {name} -pubout`"
        raise refusal("holds a private key, which the gateway must not have", hint)
    try:
        key = serialization.load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise refusal("is not the PEM of a public key", _MAKE) from error
    return _checked(key, refusal)


def read_private(path: Path) -> PrivateKey:
    """The private key in a PEM file that only its owner can read. Raises `GatewayError`."""
    text = _read(path, private=True)
    try:
        key = serialization.load_pem_private_key(text, None)
    except TypeError as error:
        hint = f"decrypt it into another file: `openssl pkey -in {path} -out decrypted.pem`"
        raise _unusable(path, "has a passphrase, which nobody can enter here", hint) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _unusable(path, "is not the PEM of a private key", _MAKE) from error
    if not isinstance(key, Ed25519PrivateKey | ec.EllipticCurvePrivateKey):
        raise _unusable(path, f"is not {_KINDS}", _MAKE)
    _checked(key.public_key(), functools.partial(_unusable, path))
    return key


def write_private(path: Path, key: PrivateKey) -> None:
    """Create a PEM file that only this user can read. Never overwrites."""
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        hint = "choose another name" if isinstance(error, FileExistsError) else ""
        raise _unusable(path, f"cannot be created: {(error.strerror or '').lower()}", hint) from error
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())


def public_pem(key: PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def encode(key: PublicKey) -> bytes:
    """The key as the registry stores it."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def decode(stored: bytes) -> PublicKey:
    key = serialization.load_der_public_key(stored)
    assert isinstance(key, Ed25519PublicKey | ec.EllipticCurvePublicKey)
    return key


def _checked(key: object, refusal: _Refusal) -> PublicKey:
    if isinstance(key, ec.EllipticCurvePublicKey):
        if not isinstance(key.curve, ec.SECP256R1):
            raise refusal(f"is for the curve {key.curve.name}, and must be {_KINDS}", _MAKE)
    elif isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        if raw[:31] + bytes([raw[31] & 0x7F]) in _SMALL_ORDER:
            raise refusal("holds a point of a small order: anybody could sign with it", _MAKE)
    else:
        raise refusal(f"must be {_KINDS}", _MAKE)
    if thumbprint(key) in PUBLISHED:
        raise refusal("holds a key that a standard publishes as an example: everybody has it", _MAKE)
    return key


def _read(path: Path, *, private: bool = False) -> bytes:
    try:
        with path.open("rb") as stream:
            mode = os.fstat(stream.fileno()).st_mode
            text = stream.read(_MAX_FILE)
    except OSError as error:
        raise _unusable(path, f"cannot be read: {(error.strerror or '').lower()}") from error
    if private and b"PRIVATE KEY-----" in text and stat.S_IMODE(mode) & 0o077:
        hint = f"type `chmod 600 {path}`, and replace the key if others read it"
        raise _unusable(path, "is open to other users", hint)
    return text


def _unacceptable(why: str, hint: str = "") -> GatewayError:
    return GatewayError("invalid_public_key", f"the public key {why}", hint=hint)


def _unusable(path: Path, why: str, hint: str = "") -> GatewayError:
    return UnavailableError("key_file_unusable", f"key file `{path}` {why}", subject=str(path), hint=hint)
