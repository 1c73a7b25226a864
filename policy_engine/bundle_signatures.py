"""Signed bundles, as OPA signs them: `.signatures.json` holds one JSON Web Token that lists every file with a digest.

    {"signatures": ["<header>.<payload>.<signature>"]}      payload: {"files": [{"name", "hash", "algorithm"}, …],
                                                                      "scope": "…"}

`verified` lets nothing pass that is not exactly what was signed: no file more, no file less, none that has changed. The
algorithm is the one that the key was given for, whatever the token says; so neither `none` nor a public key taken for a
secret can get through. Claims about the issuer and the time are, as in OPA, information for people.

Digests of data and manifests are taken over the value, not the bytes, so that white space and the order of keys do not
matter; reading goes through the same parser as loading, so what was verified is what is loaded.
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
from policy_engine.builtins.jwt.tokens import Token, TokenError, split
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
"""OPA's names of digests, and Python's. New signatures use SHA-256."""

_STRUCTURED: Final = ("data.json", "data.yaml", ".manifest")
"""Files whose value is what counts. OPA takes `data.yml` byte for byte."""

_DEFAULT_PLUGIN: Final = "_default"


@dataclass(frozen=True, slots=True)
class BundleKey:
    """What bundles are verified with: PEM text of a public key or certificate, or for HS256 and its like a secret.

    `scope` is what the token's `scope` has to be; none means that it has none.
    """

    key: str
    algorithm: str = "RS256"
    scope: str = ""

    def verified(self, files: Iterable[File]) -> list[File]:
        """The files without the signature, if all of them were signed with the key. Raises `PolicyError`.

        `files` is everything that there is, also what means nothing to a bundle.
        """
        contents = dict(checked(files, lambda _: True))
        if SIGNATURES not in contents:
            _refuse("the bundle is not signed", f"make a {SIGNATURES} with `policy sign`")
        signed = self._signed_files(_token(contents.pop(SIGNATURES)))
        for name, content in contents.items():
            if name not in signed:
                _refuse(f"{name} is not in the signature", "remove the file, or sign the bundle again")
            _check_digest(name, content, signed.pop(name))
        if signed:
            _refuse(f"{min(signed)} is signed, but is not in the bundle")
        return list(contents.items())

    def _signed_files(self, token: Token) -> dict[str, tuple[str, str]]:
        """Name to digest and its algorithm, out of a token whose signature and scope are right."""
        key = _verification_key(self.key, self.algorithm)
        try:
            header = _object(token.header, "header")
            if header.get("alg") != self.algorithm:
                _refuse(f"the signature is not made with {self.algorithm}, which the key is for")
            if "crit" in header:
                _refuse("the signature demands extensions that are not supported")
            if not verify(self.algorithm, key, token.signed(), decode_url(token.signature)):
                _refuse("the signature is not made with this key, or was changed")
            payload = _object(token.payload, "payload")
        except Base64Error as error:
            _refuse(f"the token is malformed: {error}")
        if payload.get("scope", "") != self.scope:
            _refuse("the signature is for another scope")
        return _listed(payload.get("files"))


def signature(files: Iterable[File], key: str, algorithm: str = "RS256", scope: str = "") -> bytes:
    """The content of the `.signatures.json` of a bundle. `key` is PEM text of a private key, or a secret.

    `files` is everything in the bundle; an old signature among them is left out. Raises `PolicyError`.
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
    """The digest of a file in hexadecimal: of its value if the name says that it has one, or else of its bytes.

    `algorithm` is one of `HASHES`. Raises `PolicyError`.
    """
    if name.rpartition("/")[2] in _STRUCTURED:
        try:
            content = gojson.write(read_document(name, content), _unlimited, quote=_quote).encode()
        except UnicodeEncodeError:
            # JSON can write down half a surrogate pair, which no other program would read as the same character.
            _refuse("half a surrogate pair cannot be signed", place=name)
    return hashlib.new(HASHES[algorithm], content, usedforsecurity=False).hexdigest()


def _unlimited(_work: int) -> None:
    """Signing and loading are no decision: nothing is charged."""


def _quote(text: str) -> str:
    """A string as Go writes it with the escapes for HTML switched off."""
    return json.dumps(text, ensure_ascii=False).replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def _check_digest(name: str, content: bytes, expected: tuple[str, str]) -> None:
    value, algorithm = expected
    if algorithm not in HASHES:
        _refuse(f"{name} has a digest of an unknown kind, {algorithm!a}")
    if digest(name, content, algorithm) != value.lower():
        _refuse(f"{name} is not what was signed", "restore the file, or sign the bundle again")


def _refuse(text: str, hint: str = "", place: str = SIGNATURES) -> NoReturn:
    raise PolicyError(SIGNATURE_ERROR, text, Location(place, 1, 1), hint=hint) from None


# ---- the token


def _token(content: bytes) -> Token:
    document = read_document(SIGNATURES, content)
    if not isinstance(document, dict):
        _refuse(f"{SIGNATURES} is not an object")
    if document.get("plugin", "") not in ("", _DEFAULT_PLUGIN):
        _refuse("the bundle is signed by a plugin, which only OPA can have")
    tokens = document.get("signatures")
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        _refuse(f"{SIGNATURES} does not hold exactly one token")
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
        _refuse(f"the verification key is no public key in PEM, which {algorithm} needs", _KEY_HINT)


def _signing_key(text: str, algorithm: str) -> Any:
    if algorithm.startswith("HS"):
        return _secret(text, algorithm)
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    _known(algorithm)
    try:
        return load_pem_private_key(text.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        _refuse(f"the signing key is no private key in PEM, which {algorithm} needs", _KEY_HINT)


def _secret(text: str, algorithm: str) -> bytes:
    """A secret's bytes. Text in PEM is none: everybody knows a public key, so everybody could sign with it."""
    _known(algorithm)
    if not text or "-----BEGIN " in text:
        _refuse(f"{algorithm} needs a secret, not a key in PEM", "name the algorithm that the key is for")
    return text.encode()


def _known(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        _refuse(f"{algorithm!a} is no algorithm for signatures", f"it is one of {', '.join(sorted(ALGORITHMS))}")


_KEY_HINT: Final = "give the path of a PEM file that is not encrypted; for a secret, choose HS256"
