"""Keys of signatures, as policies hold them: PEM certificates and public keys, and JWK (RFC 7517) or sets of them.

A key is an object of the `cryptography` package, or bytes for a shared secret. A key that is well-formed but that no
signature here can be checked with (a tiny RSA modulus, a key for encryption) is `UNUSABLE`: nothing verifies under it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from policy_engine.builtins import gojson, pem
from policy_engine.builtins.encoding_base64 import Base64Error, decode, decode_url
from policy_engine.builtins.remembered import Remembered
from policy_engine.builtins.table import Context
from policy_engine.builtins.x509.private_keys import is_consistent
from policy_engine.values import Charge, Value

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


class Unusable:
    """The class of `UNUSABLE`."""

    __slots__ = ()


UNUSABLE: Final = Unusable()

ALGORITHMS: Final = frozenset(f"{family}{size}" for family in ("RS", "PS", "ES", "HS") for size in (256, 384, 512)) | {
    "EdDSA"
}
"""The names of RFC 7518 that tokens may be signed with."""


class KeyFormatError(ValueError):
    """Text that holds no key."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and, if it came from a JWK, the algorithm and the id that it is for ("" if it does not say)."""

    key: Any
    algorithm: str = ""
    id: str = ""

    @property
    def steps(self) -> int:
        """The price of verifying a signature with this key, however short the message is."""
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

        if isinstance(self.key, (rsa.RSAPublicKey, rsa.RSAPrivateKey)):
            kilobits = self.key.key_size // 1024
            return 16 + 8 * kilobits * kilobits
        if isinstance(self.key, (ec.EllipticCurvePublicKey, ec.EllipticCurvePrivateKey)):
            return 16 if self.key.key_size <= 256 else 128
        return 16 if isinstance(self.key, (ed25519.Ed25519PublicKey, ed25519.Ed25519PrivateKey)) else 1


_KEPT: Final = 16_384
"""Longer texts are not kept between queries; a certificate has about 2,000 characters."""


def verification_keys(ctx: Context, text: str) -> tuple[VerificationKey, ...]:
    """The keys in a PEM certificate, a PEM public key, a JWK or a JWK set. Raises `KeyFormatError`."""
    if len(text) > _KEPT:
        ctx.charge(len(text) // 16)
        return _keys(text, ctx.charge)
    found = _KNOWN.get(ctx, text, _make)
    if isinstance(found, KeyFormatError):
        raise found
    return found


def _make(text: str) -> tuple[tuple[VerificationKey, ...] | KeyFormatError, int]:
    """The keys, or what is wrong with them, which takes as long to find out and is kept as well."""
    steps = len(text) // 16

    def count(work: int) -> None:
        nonlocal steps
        steps += work

    try:
        return _keys(text, count), steps
    except KeyFormatError as error:
        return error.with_traceback(None), steps


_KNOWN: Final[Remembered[str, tuple[VerificationKey, ...] | KeyFormatError]] = Remembered(64)


def _keys(text: str, charge: Charge) -> tuple[VerificationKey, ...]:
    block = pem.first_block(text)
    if block is None:
        keys = jwk_set(text, charge)
        return tuple(key for key in keys if not key.algorithm or key.algorithm in ALGORITHMS)
    if block.end < len(text):
        raise KeyFormatError("extra data after a PEM certificate block")
    if block.label == "CERTIFICATE":
        return (VerificationKey(_certificate_key(block.content)),)
    if block.label == "PUBLIC KEY":
        return (VerificationKey(_public_key(block.content)),)
    raise KeyFormatError("failed to extract a Key from the PEM certificate")


def _certificate_key(der: bytes) -> Any:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        return _for_signatures(x509.load_der_x509_certificate(der).public_key())
    except UnsupportedAlgorithm:
        return UNUSABLE
    except ValueError:
        raise KeyFormatError("failed to parse a PEM certificate: x509: malformed certificate") from None


def _public_key(der: bytes) -> Any:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    try:
        return _for_signatures(load_der_public_key(der))
    except UnsupportedAlgorithm:
        return UNUSABLE
    except ValueError:
        raise KeyFormatError("failed to parse a PEM public key: asn1: structure error") from None


def _for_signatures(key: object) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    known = (rsa.RSAPublicKey, ec.EllipticCurvePublicKey, ed25519.Ed25519PublicKey)
    return key if isinstance(key, known) else UNUSABLE


def jwk_set(text: str, charge: Charge) -> list[VerificationKey]:
    """The keys of a JWK, or of a set, private ones as private keys. Raises `KeyFormatError`."""
    if len(text) > _LONGEST:
        raise KeyFormatError(f"a JWK key (set) has at most {_LONGEST} characters")
    try:
        document = gojson.read(text)
    except gojson.JSONError as error:
        raise KeyFormatError(f"failed to parse a JWK key (set): {error}") from None
    members = [document]
    if document.__class__ is dict and "keys" in document:
        members = document["keys"]
        if members.__class__ is not list:
            raise KeyFormatError('failed to parse a JWK key (set): failed to decode "keys": expected an array')
    try:
        return [_from_jwk(member, charge) for member in members]
    except KeyFormatError as error:
        raise KeyFormatError(f"failed to parse a JWK key (set): {error}") from None


_LONGEST: Final = 1 << 20


def _from_jwk(jwk: Value, charge: Charge) -> VerificationKey:
    charge(_STEPS)
    if jwk.__class__ is not dict:
        raise KeyFormatError("a JWK must be an object")
    kind = _text(jwk, "kty")
    makers = {"oct": _secret, "RSA": _rsa, "EC": _elliptic, "OKP": _edwards}
    if kind not in makers:
        raise KeyFormatError(f"invalid key type from JSON ({kind})")
    algorithm = _text(jwk, "alg")
    if "alg" in jwk and algorithm not in ALGORITHMS and not _OTHER_ALGORITHMS.fullmatch(algorithm):
        raise KeyFormatError(f'invalid algorithm "{algorithm}"')
    _check_unused(jwk, charge)
    return VerificationKey(makers[kind](jwk), algorithm, _text_or_null(jwk, "kid"))


def _check_unused(jwk: dict[Any, Value], charge: Charge) -> None:
    """Check the members that are not used: OPA's library rejects a key in which they are malformed."""
    for name in ("use", "x5t", "x5t#S256", "x5u"):
        _text_or_null(jwk, name)
    operations = jwk.get("key_ops")
    if operations is not None and (
        operations.__class__ is not list or any(item.__class__ is not str for item in operations)
    ):
        raise KeyFormatError("the member `key_ops` of a JWK must be an array of strings")
    chain = jwk.get("x5c", [])
    if chain.__class__ is not list:
        raise KeyFormatError("the member `x5c` of a JWK must be an array")
    for certificate in chain:
        charge(_STEPS)
        _check_certificate(certificate)


_STEPS: Final = 64
"""Steps for making a key, and for reading a certificate."""


def _check_certificate(text: Value) -> None:
    from cryptography import x509

    try:
        if text.__class__ is str:
            x509.load_der_x509_certificate(decode(text))
            return
    except ValueError:  # `Base64Error` is one
        pass
    raise KeyFormatError("the member `x5c` of a JWK must hold certificates")


_OTHER_ALGORITHMS: Final = re.compile(
    r"none|dir|ES256K|Ed25519|Ed448|RSA1_5|RSA-OAEP(-256|-384|-512)?|A(128|192|256)(GCM)?KW"
    r"|ECDH-ES(\+A(128|192|256)KW)?|PBES2-HS(256\+A128|384\+A192|512\+A256)KW"
)
"""Other purposes of a JWK. Such a key is skipped, not refused."""


def _text(jwk: dict[Any, Value], name: str) -> str:
    value = jwk.get(name, "")
    if value.__class__ is not str:
        raise KeyFormatError(f"the member `{name}` of a JWK must be a string")
    return value


def _text_or_null(jwk: dict[Any, Value], name: str) -> str:
    return "" if jwk.get(name) is None else _text(jwk, name)


def _octets(jwk: dict[Any, Value], name: str) -> bytes:
    text = _text(jwk, name)
    if not text:
        raise KeyFormatError(f'missing "{name}" value')
    try:
        return decode_url(text)
    except Base64Error:
        raise KeyFormatError(f"the member `{name}` of a JWK must be base64url") from None


def _number(jwk: dict[Any, Value], name: str) -> int:
    return int.from_bytes(_octets(jwk, name), "big")


def _secret(jwk: dict[Any, Value]) -> bytes:
    return _octets(jwk, "k")


def _rsa(jwk: dict[Any, Value]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import rsa

    e, n = _number(jwk, "e"), _number(jwk, "n")
    if not e or not n or e.bit_length() > _EXPONENT_BITS:
        raise KeyFormatError('missing "n" value' if not n else f'"e" must be a number of 1 to {_EXPONENT_BITS} bits')
    public = rsa.RSAPublicNumbers(e, n)
    try:
        if "d" not in jwk:
            return public.public_key()
        d, p, q = (_number(jwk, name) for name in ("d", "p", "q"))
        if n.bit_length() > _LONGEST_PRIVATE:
            return UNUSABLE
        numbers = rsa.RSAPrivateNumbers(
            p, q, d, rsa.rsa_crt_dmp1(d, p), rsa.rsa_crt_dmq1(d, q), rsa.rsa_crt_iqmp(p, q), public
        )
        # The library would look whether the factors are primes, which takes seconds for a long key.
        return numbers.private_key(unsafe_skip_rsa_key_validation=True) if is_consistent(numbers) else UNUSABLE
    except KeyFormatError:
        raise
    except ValueError:
        return UNUSABLE


_EXPONENT_BITS: Final = 63
_LONGEST_PRIVATE: Final = 8192
"""Bits. Signing takes a time that grows with their cube."""


def _elliptic(jwk: dict[Any, Value]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    curves: dict[str, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    name = _text(jwk, "crv")
    if name not in curves:
        raise KeyFormatError(f'unknown EllipticCurveAlgorithm: "{name}"')
    curve = curves[name]
    size = (curve.key_size + 7) // 8
    for coordinate in ("x", "y"):
        if len(_octets(jwk, coordinate)) != size:
            raise KeyFormatError(f'invalid "{coordinate}" length for curve "{name}"')
    try:
        public = ec.EllipticCurvePublicNumbers(_number(jwk, "x"), _number(jwk, "y"), curve)
        if "d" not in jwk:
            return public.public_key()
        return ec.EllipticCurvePrivateNumbers(_number(jwk, "d"), public).private_key()
    except KeyFormatError:
        raise
    except ValueError:
        raise KeyFormatError("invalid ECDSA public key: point not on curve") from None


def _edwards(jwk: dict[Any, Value]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ed25519

    name = _text(jwk, "crv")
    if name not in ("Ed25519", "X25519"):
        raise KeyFormatError(f"invalid curve algorithm {name}")
    public = _octets(jwk, "x")
    private = _octets(jwk, "d") if "d" in jwk else None
    if len(public) != 32 or (private is not None and len(private) != 32):
        raise KeyFormatError("ed25519: wrong public key size")
    if name == "X25519":
        return UNUSABLE
    if private is not None:
        return ed25519.Ed25519PrivateKey.from_private_bytes(private)
    return ed25519.Ed25519PublicKey.from_public_bytes(public)
