"""HTTP Message Signatures as agents use them: what is signed, and the mathematics (RFC 9421, RFC 9530, RFC 7638).

A signed request has three headers, each in exactly one form:

    Content-Digest: sha-256=:<base64>:
    Signature-Input: sig=("@method" "@authority" "@path" "@query" "content-digest");created=<seconds>;expires=<seconds>;nonce="<text>";keyid="<thumbprint>";alg="ed25519";tag="aig"
    Signature: sig=:<base64>:

Both sides use this file: `signatures.py` verifies requests, and `gateway/client/` signs them. So it needs nothing but
`cryptography`. Nothing here reads a clock.
"""  # noqa: E501  # a header is one line

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Algorithm = Literal["ed25519", "ecdsa-p256-sha256"]
PublicKey = Ed25519PublicKey | ec.EllipticCurvePublicKey
PrivateKey = Ed25519PrivateKey | ec.EllipticCurvePrivateKey

TAG: Final = "aig"
PEER_TAG: Final = "aig-peer"
"""The tag of another gateway's signature (`peers.py`): neither of the two can be taken for the other."""
MAX_LIFETIME: Final = 60
"""Seconds from `created` to `expires` at most."""

COMPONENTS: Final = ("@method", "@authority", "@path", "@query", "content-digest")
SIGNATURE_HEADERS: Final = ("content-digest", "signature-input", "signature")

_ECDSA: Final = ec.ECDSA(hashes.SHA256())
_HALF: Final = 32  # bytes of each of the two numbers of a P-256 signature


def algorithm_of(key: PublicKey) -> Algorithm:
    """The algorithm that a key is for, by its name in RFC 9421."""
    return "ed25519" if isinstance(key, Ed25519PublicKey) else "ecdsa-p256-sha256"


def thumbprint(key: PublicKey) -> str:
    """The key's name: the SHA-256 thumbprint of its JWK (RFC 7638, for Ed25519 RFC 8037), 43 characters."""
    if isinstance(key, Ed25519PublicKey):
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        members = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    else:
        point = key.public_numbers()
        x, y = (_base64url(number.to_bytes(_HALF, "big")) for number in (point.x, point.y))
        members = {"crv": "P-256", "kty": "EC", "x": x, "y": y}
    text = json.dumps(members, separators=(",", ":"), sort_keys=True)
    return _base64url(hashlib.sha256(text.encode()).digest())


def content_digest(body: bytes) -> str:
    """The `Content-Digest` of a body that is in memory. A request without a body has that of no bytes."""
    return digest_field(hashlib.sha256(body).digest())


def digest_field(sha256: bytes) -> str:
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


def parameters(
    *,
    created: int,
    expires: int,
    nonce: str,
    keyid: str,
    algorithm: Algorithm,
    further: Iterable[str] = (),
    tag: str = TAG,
) -> str:
    """The signature's parameters: what `Signature-Input` has behind the label."""
    covered = " ".join(f'"{name}"' for name in (*COMPONENTS, *further))
    times = f"created={created};expires={expires}"
    return f'({covered});{times};nonce="{nonce}";keyid="{keyid}";alg="{algorithm}";tag="{tag}"'


def signature_base(values: Iterable[tuple[str, str]], signature_params: str) -> bytes:
    """The bytes that are signed (RFC 9421, section 2.5): each component with its value, in order."""
    lines = [f'"{name}": {value}' for name, value in values]
    return "\n".join([*lines, f'"@signature-params": {signature_params}']).encode("latin-1")


def request_base(
    method: str,
    authority: str,
    path: str,
    query: str,
    content_digest: str,
    signature_params: str,
    further: Iterable[tuple[str, str]] = (),
) -> bytes:
    """The signature base of a request. `query` is without its question mark, `authority` the Host header.

    `further` are the headers that are signed as well, in the order of the parameters.
    """
    values = (method, authority.lower(), path, f"?{query}", content_digest)
    return signature_base([*zip(COMPONENTS, values, strict=True), *further], signature_params)


def sign(key: PrivateKey, base: bytes) -> bytes:
    """The signature, 64 bytes for both algorithms."""
    if isinstance(key, Ed25519PrivateKey):
        return key.sign(base)
    r, s = utils.decode_dss_signature(key.sign(base, _ECDSA))
    return r.to_bytes(_HALF, "big") + s.to_bytes(_HALF, "big")


def verify(key: PublicKey, signature: bytes, base: bytes) -> bool:
    """True if the owner of the key has signed this base."""
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, base)
        else:
            r, s = (int.from_bytes(half, "big") for half in (signature[:_HALF], signature[_HALF:]))
            key.verify(utils.encode_dss_signature(r, s), base, _ECDSA)
    except InvalidSignature:
        return False
    return True


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
