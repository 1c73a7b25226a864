"""Signatures of JSON Web Tokens (RFC 7518 section 3, RFC 8037), over keys as `keys` makes them.

`verify` never raises: a key of another kind than the algorithm's, a signature of a wrong form and a wrong signature are
all just not verified. Above all a public key is no secret: HS256 needs bytes, so a token signed with the text of a
public key does not pass for one signed by its owner.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

_DIGESTS: Final = {"256": "sha256", "384": "sha384", "512": "sha512"}


class SigningError(ValueError):
    """The key cannot sign with the algorithm."""


def verify(algorithm: str, key: Any, message: bytes, signature: bytes, *, strict: bool = True) -> bool:
    """True if a key or secret verifies the signature of the message.

    Not `strict`, as OPA's io.jwt.verify_* are: the salt of PSS may have any length and an ECDSA signature is two halves
    of any length; but a private key does not stand for its public one.
    """
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    family, size = algorithm[:2], algorithm[2:]
    private = (rsa.RSAPrivateKey, ec.EllipticCurvePrivateKey, ed25519.Ed25519PrivateKey)
    if strict and isinstance(key, private):
        key = key.public_key()
    try:
        if family == "HS" and isinstance(key, bytes):
            return hmac.compare_digest(signature, hmac.digest(key, message, _DIGESTS[size]))
        if family == "RS" and isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, message, padding.PKCS1v15(), _hash(size))
        elif family == "PS" and isinstance(key, rsa.RSAPublicKey):
            salt: Any = _hash(size).digest_size if strict else padding.PSS.AUTO
            key.verify(signature, message, padding.PSS(padding.MGF1(_hash(size)), salt), _hash(size))
        elif family == "ES" and isinstance(key, ec.EllipticCurvePublicKey):
            if strict and len(signature) != 2 * _coordinate_size(key.curve):
                return False
            key.verify(_der_signature(signature), message, ec.ECDSA(_hash(size)))
        elif algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, message)
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def sign(algorithm: str, key: Any, message: bytes) -> bytes:
    """The message's signature under a private key or secret. Raises `SigningError`."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    family, size = algorithm[:2], algorithm[2:]
    try:
        if family == "HS" and isinstance(key, bytes):
            return hmac.digest(key, message, _DIGESTS[size])
        if family == "RS" and isinstance(key, rsa.RSAPrivateKey):
            return key.sign(message, padding.PKCS1v15(), _hash(size))
        if family == "PS" and isinstance(key, rsa.RSAPrivateKey):
            salt = _hash(size).digest_size
            return key.sign(message, padding.PSS(padding.MGF1(_hash(size)), salt), _hash(size))
        if family == "ES" and isinstance(key, ec.EllipticCurvePrivateKey):
            r, s = decode_dss_signature(key.sign(message, ec.ECDSA(_hash(size))))
            length = _coordinate_size(key.curve)
            return r.to_bytes(length, "big") + s.to_bytes(length, "big")
        if algorithm == "EdDSA" and isinstance(key, ed25519.Ed25519PrivateKey):
            return key.sign(message)
    except ValueError as error:
        raise SigningError(f"failed to sign with {algorithm}: {error}") from None
    raise SigningError(f"failed to sign with {algorithm}: the key is of another kind")


def _hash(size: str) -> hashes.HashAlgorithm:
    from cryptography.hazmat.primitives import hashes

    known: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    return known[size]


def _coordinate_size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _der_signature(signature: bytes) -> bytes:
    """Two numbers side by side as the structure that the library wants."""
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    half = len(signature) // 2
    return encode_dss_signature(int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big"))
