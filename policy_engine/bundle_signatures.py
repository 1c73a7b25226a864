"""Signed bundles in OPA's format: `.signatures.json` holds one JSON Web Token that lists every file's digest.

    {"signatures": ["<header>.<payload>.<signature>"]}      payload: {"files": [{"name", "hash", "algorithm"}, …],
                                                                      "scope": "…"}

`verified` accepts exactly the files that were signed: a file added, removed or changed is an error. The algorithm comes
from the key's configuration, never from the token, so `none` is rejected, and so is a public key used as a secret.
Claims about issuer and time are informational, as in OPA.

Digests of data and manifests are computed over the value, not the bytes, so white space and the order of keys do not
matter. Both verifying and loading use the same parser, so they see the same value.
Specification: OPA's documentation, "Bundles", section "Signing".
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from policy_engine.builtins import gojson
from policy_engine.builtins.encoding_base64 import Base64Error, decode_url, encode_url
from policy_engine.builtins.jwt.keys import ALGORITHMS
from policy_engine.builtins.jwt.signatures import SigningError, sign, verify
from policy_engine.builtins.jwt.tokens import JwtToken, TokenError, split
from policy_engine.builtins.octets import from_bytes
from policy_engine.bundle_files import SIGNATURES, File, checked
from policy_engine.documents import read_document
from policy_engine.errors import SIGNATURE_ERROR, PolicyError
from policy_engine.location import Location
from policy_engine.values import Value, dumps

HASHES: Final = {
    "MD5": "md5",
    "SHA-1": "sha1",
    "SHA-224": "sha224",
    "SHA-256": "sha256",
    "SHA-384": "sha384",
    "SHA-512": "sha512",
    "SHA-512-224": "sha512_224",
    "SHA-512-256": "sha512_256",
}
"""OPA's name of a hash function → Python's. New signatures use SHA-256."""

_STRUCTURED: Final = ("data.json", "data.yaml", ".manifest")
"""Names of files whose digest is that of their value. OPA hashes the bytes of `data.yml`."""

_DEFAULT_PLUGIN: Final = "_default"


@dataclass(frozen=True, slots=True)
class BundleKey:
    """A key to verify bundles: a public key or certificate in PEM, or a secret for HS256, HS384 and HS512.

    `scope` must equal the token's `scope`; an empty one requires a token without a scope.
    """

    key: str
    algorithm: str = "RS256"
    scope: str = ""

    def verified(self, files: Iterable[File]) -> list[File]:
        """The files except the signature, if all of them were signed with the key. Raises `PolicyError` if not.

        `files` is everything in the bundle, including files that a bundle ignores.
        """
        contents = dict(checked(files, lambda _: True))
        if SIGNATURES not in contents:
            _refuse("the bundle is not signed", "sign it with `policy sign`")
        signed = self._signed_files(_token(contents.pop(SIGNATURES)))
        for name, content in contents.items():
            if name not in signed:
                _refuse(f"{name} is not in the signature", "remove the file, or sign the bundle again")
            _check_digest(name, content, signed.pop(name))
        if signed:
            _refuse(f"{min(signed)} is signed, but is not in the bundle")
        return list(contents.items())

    def _signed_files(self, token: JwtToken) -> dict[str, tuple[str, str]]:
        """File name → digest and hash function, from a token whose signature and scope are valid."""
        key = _verification_key(self.key, self.algorithm)
        try:
            header = _object(token.header, "header")
            if header.get("alg") != self.algorithm:
                _refuse(f"the signature does not use {self.algorithm}, the key's algorithm")
            if "crit" in header:
                _refuse("the signature requires extensions that are not supported")
            if not verify(self.algorithm, key, token.signed(), decode_url(token.signature)):
                _refuse("the signature was made with another key, or was changed")
            payload = _object(token.payload, "payload")
        except Base64Error as error:
            _refuse(f"the token is malformed: {error}")
        if payload.get("scope", "") != self.scope:
            _refuse("the signature is for another scope")
        return _listed(payload.get("files"))


def signature(files: Iterable[File], key: str, algorithm: str = "RS256", scope: str = "") -> bytes:
    """The content of a bundle's `.signatures.json`. `key` is a private key in PEM, or a secret.

    `files` is everything in the bundle; an old signature among them is ignored. Raises `PolicyError`.
    """
    private = _signing_key(key, algorithm)
    listed: list[Value] = [
        {"name": name, "hash": digest(name, content, "SHA-256"), "algorithm": "SHA-256"}
        for name, content in checked(files, lambda name: name != SIGNATURES)
    ]
    payload = {"files": listed} | ({"scope": scope} if scope else {})
    signed = ".".join(encode_url(dumps(part).encode()) for part in ({"alg": algorithm}, payload))
    try:
        token = f"{signed}.{encode_url(sign(algorithm, private, signed.encode()))}"
    except SigningError as error:
        _refuse(str(error))
    return json.dumps({"signatures": [token]}, indent=1).encode() + b"\n"


def digest(name: str, content: bytes, algorithm: str) -> str:
    """The hexadecimal digest of a file: of its value for data and manifests, of its bytes for all others.

    `algorithm` is one of `HASHES`. Raises `PolicyError`.
    """
    if name.rpartition("/")[2] in _STRUCTURED:
        try:
            content = gojson.write(read_document(name, content), _unlimited, quote=_quote).encode()
        except UnicodeEncodeError:
            # JSON can express half a surrogate pair, but other programs do not read it as the same character.
            _refuse("half a surrogate pair cannot be signed", place=name)
    return hashlib.new(HASHES[algorithm], content, usedforsecurity=False).hexdigest()


def _unlimited(_work: int) -> None:
    """Charges nothing: signing and loading have no budget."""


def _quote(text: str) -> str:
    """A string as Go writes it with HTML escaping disabled."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _check_digest(name: str, content: bytes, expected: tuple[str, str]) -> None:
    value, algorithm = expected
    if algorithm not in HASHES:
        _refuse(f"{name} has a digest with an unknown hash function, {algorithm!a}")
    if digest(name, content, algorithm) != value.lower():
        _refuse(f"{name} has changed since it was signed", "restore the file, or sign the bundle again")


def _refuse(text: str, hint: str = "", place: str = SIGNATURES) -> NoReturn:
    raise PolicyError(SIGNATURE_ERROR, text, Location(place, 1, 1), hint=hint) from None


# ---- the token


def _token(content: bytes) -> JwtToken:
    document = read_document(SIGNATURES, content)
    if not isinstance(document, dict):
        _refuse(f"{SIGNATURES} is not an object")
    if document.get("plugin", "") not in ("", _DEFAULT_PLUGIN):
        _refuse("the bundle is signed by a plugin of OPA, which is not supported")
    tokens = document.get("signatures")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        _refuse(f"{SIGNATURES} does not contain exactly one token")
    try:
        return split(tokens[0])
    except TokenError as error:
        _refuse(f"the token is malformed: {error}")


def _object(part: str, what: str) -> dict[Any, Value]:
    try:
        value = gojson.read(from_bytes(decode_url(part)))
    except gojson.JSONError as error:
        _refuse(f"the token's {what} is malformed: {error}")
    if not isinstance(value, dict):
        _refuse(f"the token's {what} is not an object")
    return value


def _listed(files: Value) -> dict[str, tuple[str, str]]:
    listed: dict[str, tuple[str, str]] = {}
    for file in files if isinstance(files, list) else [None]:
        match file:
            case {"name": str(name), "hash": str(value), "algorithm": str(algorithm)} if name not in listed:
                listed[name] = (value, algorithm)
            case _:
                _refuse("the token's list of files is malformed")
    return listed


# ---- keys


def _verification_key(text: str, algorithm: str) -> Any:
    if algorithm.startswith("HS"):
        return _secret(text, algorithm)
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    _known(algorithm)
    try:
        if "-----BEGIN CERTIFICATE-----" in text:
            return x509.load_pem_x509_certificate(text.encode()).public_key()
        return load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        _refuse(f"the verification key is not a public key in PEM, which {algorithm} requires", _KEY_HINT)


def _signing_key(text: str, algorithm: str) -> Any:
    if algorithm.startswith("HS"):
        return _secret(text, algorithm)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    _known(algorithm)
    try:
        return load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _refuse(f"the signing key is not a private key in PEM, which {algorithm} requires", _KEY_HINT)


def _secret(text: str, algorithm: str) -> bytes:
    """A secret's bytes. Rejects PEM text: a public key is known to everybody, so anybody could sign with it."""
    _known(algorithm)
    if not text or "-----BEGIN " in text:
        _refuse(f"{algorithm} requires a secret, not a key in PEM", "choose the key's algorithm")
    return text.encode()


def _known(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        _refuse(f"{algorithm!a} is not a signature algorithm", f"choose one of {', '.join(sorted(ALGORITHMS))}")


_KEY_HINT: Final = "pass the path of an unencrypted PEM file; for a secret, choose HS256"
