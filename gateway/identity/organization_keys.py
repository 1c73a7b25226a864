"""The keys by which organizations sign, such as the cards of their agents: one Ed25519 key for each.

`keys/organizations.N` is a secret of the gateway, handled as the other files there, and an organization's key is
derived from it and the organization's name (HKDF with SHA-256, RFC 5869). So there is a key for every organization, at
once and always the same, and a backup of the directory has them all. The newest file signs; the keys of older ones
verify what they signed. The name of a key is its thumbprint (RFC 7638). The gateway itself has a key of the same
origin, by which it speaks to other gateways (`peers.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from gateway.errors import GatewayError
from gateway.identity import token_keys
from gateway.identity.jose import Key
from gateway.storage import durable, secret_files

_PREFIX: Final = "organizations."
_INFO: Final = b"agent-identity-gateway/organization-key/v1\0"
_GATEWAY: Final = b"agent-identity-gateway/gateway-key/v1"


def create(directory: Path) -> None:
    """Make the first secret of a gateway, unless it has one. It is on the disk on return."""
    if not _files(directory):
        try:
            secret_files.create(directory / f"{_PREFIX}1")
        except GatewayError:
            if not _files(directory):  # another process may have made it just now
                raise
        durable.sync(directory)


def keys_of(directory: Path, organization: str) -> tuple[Key, ...]:
    """The keys of an organization, that which signs first. Raises `GatewayError` if there is none that can be read."""
    return _derived(directory, _INFO + organization.encode())


def gateway_keys(directory: Path) -> tuple[Key, ...]:
    """The keys of the gateway itself, likewise."""
    return _derived(directory, _GATEWAY)


def _derived(directory: Path, info: bytes) -> tuple[Key, ...]:
    found = [_key(secret_files.read(path), info) for path in _files(directory)]
    if not found:
        message = f"`{directory}` holds no secret from which organizations have their keys"
        hint = "publish an agent first, or type `gateway peers keys`"
        raise GatewayError("key_file_unusable", message, subject=str(directory), hint=hint)
    return tuple(found)


def public(keys: tuple[Key, ...]) -> bytes:
    """The public keys as a JWK set."""
    documents = [{**each.key.as_dict(private=False), "kid": each.kid, "alg": "EdDSA", "use": "sig"} for each in keys]
    return orjson.dumps({"keys": documents})


def _files(directory: Path) -> list[Path]:
    """The secrets, the newest first."""
    found = [each for each in directory.glob(f"{_PREFIX}*") if each.suffix[1:].isdecimal()]
    return sorted(found, key=lambda each: -int(each.suffix[1:]))


def _key(secret: bytes, info: bytes) -> Key:
    derived = HKDF(hashes.SHA256(), 32, None, info).derive(secret)
    return token_keys.key_of(derived)
