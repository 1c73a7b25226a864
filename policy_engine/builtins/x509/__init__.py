"""crypto.x509.* and crypto.parse_private_keys: certificates, signing requests and private keys as values.

Texts are PEM, or base64 of PEM or DER. `chains` verifies chains of certificates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from policy_engine.builtins import pem
from policy_engine.builtins.encoding_base64 import Base64Error, decode
from policy_engine.builtins.octets import from_bytes
from policy_engine.builtins.operands import charge_made, charged, object_, string
from policy_engine.builtins.table import Builtin, Context
from policy_engine.builtins.x509.certificates import Malformed, certificate_json, certificates, request, request_json
from policy_engine.builtins.x509.chains import ChainOptions, OptionError, verified_chain
from policy_engine.builtins.x509.extensions import b64
from policy_engine.builtins.x509.private_keys import go_json, jwk, load, private_keys
from policy_engine.errors import BuiltinError
from policy_engine.types import ANY, BOOLEAN, STRING, ArrayType, FunctionType
from policy_engine.types import array as array_of
from policy_engine.types import object_ as object_of
from policy_engine.values import Value

if TYPE_CHECKING:
    from cryptography import x509


def parse_certificates(ctx: Context, operand: Value) -> Value:
    text = string(operand, "crypto.x509.parse_certificates", 1)
    try:
        return [certificate_json(ctx, certificate) for certificate in _certificates(ctx, text)]
    except (Malformed, Base64Error) as error:
        raise BuiltinError(f"crypto.x509.parse_certificates: {error}") from None


def _certificates(ctx: Context, text: str) -> list[x509.Certificate]:
    charge_made(ctx, len(text), ascii_only=True)
    if not text.startswith("-----BEGIN"):
        octets = decode(text)
        if not octets.startswith(b"-----BEGIN"):
            return certificates(ctx, octets)
        text = from_bytes(octets)
    contents = []
    for block in charged(ctx, pem.blocks(text)):
        if block.label != "CERTIFICATE":
            raise Malformed(f"PEM block type is '{block.label}', expected CERTIFICATE")
        contents.append(block.content)
    return certificates(ctx, b"".join(contents))


def parse_and_verify_certificates(ctx: Context, operand: Value) -> Value:
    """[true, chain from leaf to root] of certificates given from root to leaf; [false, []] if no chain holds."""
    text = string(operand, "crypto.x509.parse_and_verify_certificates", 1)
    return _verified(ctx, text, ChainOptions(), with_uri_strings=True)


def parse_and_verify_certificates_with_options(ctx: Context, operand: Value, options: Value) -> Value:
    """The same for a host name, a time, usages of the key or a limit of comparisons."""
    name = "crypto.x509.parse_and_verify_certificates_with_options"
    text = string(operand, name, 1)
    demanded = object_(options, name, 2)
    try:
        _certificates(ctx, text)
    except (Malformed, Base64Error):
        return [False, []]
    try:
        return _verified(ctx, text, ChainOptions.read(ctx, demanded), with_uri_strings=False)
    except OptionError as error:
        raise BuiltinError(f"{name}: {error}") from None


def _verified(ctx: Context, text: str, options: ChainOptions, *, with_uri_strings: bool) -> Value:
    try:
        chain = verified_chain(ctx, _certificates(ctx, text), options)
        shown = [certificate_json(ctx, certificate, with_uri_strings=with_uri_strings) for certificate in chain or ()]
    except (Malformed, Base64Error):
        return [False, []]
    return [bool(shown), shown]


def parse_certificate_request(ctx: Context, operand: Value) -> Value:
    name = "crypto.x509.parse_certificate_request"
    text = string(operand, name, 1)
    charge_made(ctx, len(text), ascii_only=True)
    try:
        if not text.startswith("-----BEGIN CERTIFICATE REQUEST-----"):
            octets = decode(text)
            text = from_bytes(octets)
        else:
            octets = b""
        block = pem.first_block(text)
        if block is not None and block.label != "CERTIFICATE REQUEST":
            raise Malformed("invalid PEM-encoded certificate signing request")
        return request_json(request(octets if block is None else block.content))
    except (Malformed, Base64Error) as error:
        raise BuiltinError(f"{name}: {error}") from None


def parse_keypair(ctx: Context, certificate: Value, key: Value) -> Value:
    """A chain of certificates and the private key of its first, as Go holds them for TLS."""
    name = "crypto.x509.parse_keypair"
    # OPA calls both operands the first.
    texts = [string(operand, name, 1) for operand in (certificate, key)]
    charge_made(ctx, sum(map(len, texts)), ascii_only=True)
    try:
        chain, key_text = (
            _as_pem(text, label) for text, label in zip(texts, ("CERTIFICATE", "PRIVATE KEY"), strict=True)
        )
        return _keypair(ctx, chain, key_text)
    except (Malformed, Base64Error) as error:
        raise BuiltinError(f"{name}: {error}") from None


def _as_pem(text: str, label: str) -> str:
    if text.startswith("-----BEGIN "):
        return text
    octets = decode(text)
    if octets.startswith(b"-----BEGIN "):
        return from_bytes(octets)
    return f"-----BEGIN {label}-----\n{b64(octets)}\n-----END {label}-----\n"


def _keypair(ctx: Context, chain_text: str, key_text: str) -> Value:
    blocks, key_blocks = (
        charged(ctx, pem.blocks(text), lambda block: len(block.content) // 64) for text in (chain_text, key_text)
    )
    chain = [block.content for block in blocks if block.label == "CERTIFICATE"]
    keys = [block for block in key_blocks if block.label.endswith("PRIVATE KEY")]
    if not chain:
        raise Malformed("the certificate input has no PEM block CERTIFICATE")
    if not keys:
        raise Malformed("the key input has no PEM block that ends in PRIVATE KEY")
    leaf = certificates(ctx, chain[0])
    if not leaf:
        raise Malformed("x509: malformed certificate")
    private = load(keys[0].content, keys[0].label)
    if private.public_key() != leaf[0].public_key():
        raise Malformed("the private key is not that of the certificate")
    return {
        "Certificate": [b64(octets) for octets in chain],
        "PrivateKey": go_json(private),
        "SupportedSignatureAlgorithms": None,
        "OCSPStaple": None,
        "SignedCertificateTimestamps": None,
        "Leaf": certificate_json(ctx, leaf[0], with_uri_strings=False),
    }


def parse_rsa_private_key(ctx: Context, operand: Value) -> Value:
    """The first private key, of whatever kind, as a JWK; null if there is none."""
    name = "crypto.x509.parse_rsa_private_key"
    text = string(operand, name, 1)
    if not text:
        raise BuiltinError(f"{name}: input PEM data was empty")
    try:
        charge_made(ctx, len(text), ascii_only=True)
        keys = private_keys(ctx, text if text.startswith("-----BEGIN") else from_bytes(decode(text)))
        return jwk(keys[0]) if keys else None
    except (Malformed, Base64Error) as error:
        raise BuiltinError(f"{name}: {error}") from None


def parse_private_keys(ctx: Context, operand: Value) -> Value:
    """All private keys as Go marshals them; null for an empty text."""
    text = string(operand, "crypto.parse_private_keys", 1)
    charge_made(ctx, len(text), ascii_only=True)
    try:
        return [go_json(key) for key in private_keys(ctx, text)] if text else None
    except Malformed as error:
        raise BuiltinError(f"crypto.parse_private_keys: {error}") from None


_STRUCTURE: Final = object_of(STRING, ANY)
_STRUCTURES: Final = array_of(_STRUCTURE)
_READ: Final = FunctionType((STRING,), _STRUCTURE)
_VERDICT: Final = ArrayType((BOOLEAN, _STRUCTURES))

BUILTINS: Final = (
    Builtin("crypto.parse_private_keys", FunctionType((STRING,), _STRUCTURES), parse_private_keys, context=True),
    Builtin(
        "crypto.x509.parse_and_verify_certificates",
        FunctionType((STRING,), _VERDICT),
        parse_and_verify_certificates,
        context=True,
    ),
    Builtin(
        "crypto.x509.parse_and_verify_certificates_with_options",
        FunctionType((STRING, _STRUCTURE), _VERDICT),
        parse_and_verify_certificates_with_options,
        context=True,
    ),
    Builtin(
        "crypto.x509.parse_certificate_request",
        FunctionType((STRING,), _STRUCTURE),
        parse_certificate_request,
        context=True,
    ),
    Builtin("crypto.x509.parse_certificates", FunctionType((STRING,), _STRUCTURES), parse_certificates, context=True),
    Builtin("crypto.x509.parse_keypair", FunctionType((STRING, STRING), _STRUCTURE), parse_keypair, context=True),
    Builtin("crypto.x509.parse_rsa_private_key", _READ, parse_rsa_private_key, context=True),
)
