"""Private keys in PEM, and how Go and JWK write them down as JSON. The keys of tokens are in `keys`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from policy_engine.builtins import pem
from policy_engine.builtins.encoding_base64 import Base64Error, decode, encode_url
from policy_engine.builtins.octets import from_bytes
from policy_engine.builtins.operands import charged
from policy_engine.builtins.table import Context
from policy_engine.builtins.x509.certificates import Malformed
from policy_engine.builtins.x509.extensions import b64
from policy_engine.values import Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

_LABELS: Final = ("RSA PRIVATE KEY", "PRIVATE KEY", "EC PRIVATE KEY")


def private_keys(ctx: Context, text: str) -> list[Any]:
    """The keys in the PEM blocks of a text, or of the text that it is base64 of. Other blocks are skipped."""
    try:
        text = from_bytes(decode(text))
    except Base64Error:
        pass  # it is PEM itself
    blocks = charged(ctx, pem.blocks(text), lambda block: _STEPS + len(block.content))
    return [load(block.content, block.label) for block in blocks if block.label in _LABELS]


_STEPS: Final = 64
"""Steps for loading a key."""


def load(der: bytes, label: str) -> Any:
    """The key in a block. Raises `Malformed`."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_der_private_key

    what = "x509: failed to parse EC private key: " if label.startswith("EC") else ""
    try:
        # The library would look whether the factors are primes, which takes seconds for a long key. Go does not.
        key = load_der_private_key(der, password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Malformed(f"{what}asn1: structure error") from None
    if isinstance(key, rsa.RSAPrivateKey) and not is_consistent(key.private_numbers()):
        raise Malformed("crypto/rsa: invalid private key")
    return key


def is_consistent(numbers: rsa.RSAPrivateNumbers) -> bool:
    """True if the parts of an RSA key belong together. As in Go, the factors are not tested for being primes."""
    d, p, q, public = numbers.d, numbers.p, numbers.q, numbers.public_numbers
    if min(p, q) < 2 or p * q != public.n:
        return False
    return (d * public.e - 1) % (p - 1) == 0 == (d * public.e - 1) % (q - 1)


def go_json(key: Any) -> Value:
    """A key as Go marshals it; an empty object for a kind that it has no public fields of."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        numbers = key.private_numbers()
        return {
            "N": numbers.public_numbers.n,
            "E": numbers.public_numbers.e,
            "D": numbers.d,
            "Primes": [numbers.p, numbers.q],
            "Precomputed": {"Dp": numbers.dmp1, "Dq": numbers.dmq1, "Qinv": numbers.iqmp, "CRTValues": []},
        }
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point = key.public_key().public_numbers()
        return {"Curve": {}, "X": point.x, "Y": point.y, "D": key.private_numbers().private_value}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return b64(key.private_bytes_raw() + key.public_key().public_bytes_raw())
    return {}


def jwk(key: Any) -> Value:
    """A key as a JWK (RFC 7517). Raises `Malformed` for a kind that has none here."""
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPrivateKey):
        n = key.private_numbers()
        public = n.public_numbers
        parts = {"n": public.n, "e": public.e, "d": n.d, "p": n.p, "q": n.q, "dp": n.dmp1, "dq": n.dmq1, "qi": n.iqmp}
        return {"kty": "RSA", **{name: _number(part, (part.bit_length() + 7) // 8) for name, part in parts.items()}}
    if isinstance(key, ec.EllipticCurvePrivateKey):
        point, size = key.public_key().public_numbers(), (key.curve.key_size + 7) // 8
        coordinates = {"x": point.x, "y": point.y, "d": key.private_numbers().private_value}
        curve = f"P-{key.curve.key_size}"
        return {"kty": "EC", "crv": curve, **{name: _number(part, size) for name, part in coordinates.items()}}
    if isinstance(key, ed25519.Ed25519PrivateKey):
        public_octets = key.public_key().public_bytes_raw()
        return {
            "kty": "OKP",
            "crv": "Ed25519",
            "x": encode_url(public_octets),
            "d": encode_url(key.private_bytes_raw()),
        }
    raise Malformed("the key is of a kind that has no JWK")


def _number(value: int, size: int) -> str:
    return encode_url(value.to_bytes(size, "big"))
