"""Verifies that a commit is signed by somebody who may sign: git's SSH signatures, and the file of allowed signers.

Both formats are OpenSSH's: PROTOCOL.sshsig, and "ALLOWED SIGNERS" in ssh-keygen(1). The signature is over the commit
without its signature, in the namespace `git`. Only the commit that would be in force needs one: it names its whole
content. Ed25519, ECDSA and RSA keys are verified here; certificates and hardware keys (`sk-…`) are not.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import shlex
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from gateway.errors import GatewayError, UnknownError

NAMESPACE = "git"
_MAGIC = b"SSHSIG"
_BEGIN, _END = b"-----BEGIN SSH SIGNATURE-----", b"-----END SSH SIGNATURE-----"
_HASHES = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_RSA = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}
_CURVES = {"ecdsa-sha2-nistp256": hashes.SHA256(), "ecdsa-sha2-nistp384": hashes.SHA384(),
           "ecdsa-sha2-nistp521": hashes.SHA512()}  # fmt: skip
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class AllowedSigner:
    """One line of the file: whose key it is, and from when until when it may sign (seconds since 1970)."""

    principals: str
    key: bytes
    after: float | None = None
    before: float | None = None


def load(path: Path) -> list[AllowedSigner]:
    """The signers in a file. Raises `GatewayError` (`policies_signers`) if it cannot be read or understood."""
    where = str(path)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8").lower()
        raise GatewayError("policies_signers", f"cannot read policies_signers `{where}`: {reason}") from error
    signers: list[AllowedSigner] = []
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                signers += _signer(line)
            except ValueError as error:
                raise GatewayError("policies_signers", f"`{where}`, line {number}: {error}") from error
    if not signers:
        raise GatewayError(
            "policies_signers", f"policies_signers `{where}` lists nobody", hint="add a line: EMAIL ssh-ed25519 AAAA…"
        )
    return signers


def _signer(line: str) -> Iterator[AllowedSigner]:
    """The signer of a line: principals, options, key type, key, comment. None for another namespace's."""
    fields = line.split(None, 1)
    if len(fields) < 2:
        raise ValueError("the line must be: PRINCIPALS [OPTIONS] KEYTYPE KEY")
    principals, rest = fields
    words = _words(rest)
    options = "" if words[0].startswith(("ssh-", "ecdsa-", "sk-")) else words.pop(0)
    if len(words) < 2:
        raise ValueError("the line must be: PRINCIPALS [OPTIONS] KEYTYPE KEY")
    after = before = None
    for name, value in _options(options):
        if name == "namespaces":
            if NAMESPACE not in value.split(","):
                return
        elif name == "valid-after":
            after = _time(value)
        elif name == "valid-before":
            before = _time(value)
        else:
            raise ValueError(f"the option `{name}` is not supported")
    try:
        key = base64.b64decode(words[1], validate=True)
        kind, _ = _text(key)
    except (ValueError, struct.error) as error:
        raise ValueError("the key is not base64 of an SSH public key") from error
    if kind != words[0]:
        raise ValueError(f"the key is of the type {kind!r}, not {words[0]!r}")
    yield AllowedSigner(principals, key, after, before)


def _words(text: str) -> list[str]:
    """Words between blanks; blanks in double quotes do not separate."""
    found, quoted = [""], False
    for character in text.strip():
        if character == '"':
            quoted = not quoted
        if character in " \t" and not quoted:
            if found[-1]:
                found.append("")
        else:
            found[-1] += character
    return found


def _options(text: str) -> Iterator[tuple[str, str]]:
    splitter = shlex.shlex(text, posix=True)
    splitter.whitespace, splitter.whitespace_split, splitter.commenters = ",", True, ""
    for option in splitter:
        name, _, value = option.partition("=")
        yield name.lower(), value


def _time(text: str) -> float:
    """A time of an option: YYYYMMDD[HHMM[SS]][Z]. Without `Z` it is this machine's local time."""
    digits = text.removesuffix("Z")
    form = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}.get(len(digits))
    if form is None or not digits.isdecimal():
        raise ValueError(f"`{text}` is not a time: write YYYYMMDD[HHMM[SS]][Z]")
    when = datetime.strptime(digits, form)
    return (when.replace(tzinfo=UTC) if text.endswith("Z") else when.astimezone()).timestamp()


def verify(signature: bytes | None, payload: bytes, when: float, signers: list[AllowedSigner]) -> str:
    """The principals of the signer of a commit. `when` is the commit's time, which must lie within the key's.

    Raises `GatewayError`: `unsigned`, `bad_signature` or `unknown_signer`.
    """
    if signature is None:
        raise GatewayError("unsigned", "the commit is not signed", hint=_HOW)
    if not signature.strip().startswith(_BEGIN):
        raise GatewayError("unsigned", "the commit's signature is not one of SSH", hint=_HOW)
    try:
        key, algorithm, raw, signed = _parsed(signature, payload)
    except (ValueError, struct.error, binascii.Error) as error:
        raise GatewayError("bad_signature", f"the commit's signature cannot be read: {error}") from error
    fingerprint = "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")
    known = [signer for signer in signers if signer.key == key]
    if not known:
        message = f"the commit is signed with the key {fingerprint}, which is not in policies_signers"
        raise UnknownError("signer", message, hint="add the key there if its owner may change policies")
    for signer in known:
        if (signer.after or 0) <= when < (signer.before or float("inf")):
            break
    else:
        message = f"the key {fingerprint} of {known[0].principals} was not valid at the time of the commit"
        raise UnknownError("signer", message)
    try:
        _check(key, algorithm, raw, signed)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, struct.error) as error:
        reason = str(error) or "it does not belong to this commit"
        raise GatewayError("bad_signature", f"the commit's signature is not valid: {reason}") from error
    return signer.principals


_HOW = "sign with `git -c gpg.format=ssh -c user.signingkey=KEY commit -S`"


def _parsed(armoured: bytes, payload: bytes) -> tuple[bytes, str, bytes, bytes]:
    """The public key, the algorithm, the raw signature, and what it is a signature of."""
    body = armoured.strip()
    if not body.endswith(_END):
        raise ValueError("its last line is missing")
    blob = base64.b64decode(b"".join(body.removeprefix(_BEGIN).removesuffix(_END).split()), validate=True)
    if blob[:6] != _MAGIC or struct.unpack(">I", blob[6:10]) != (1,):
        raise ValueError("it is not an SSH signature of version 1")
    key, rest = _string(blob[10:])
    namespace, rest = _text(rest)
    reserved, rest = _string(rest)
    digest, rest = _text(rest)
    inner, rest = _string(rest)
    if rest:
        raise ValueError("something follows it")
    if namespace != NAMESPACE:
        raise ValueError(f"it was made for `{namespace}`, not for `{NAMESPACE}`")
    if digest not in _HASHES:
        raise ValueError(f"the digest `{digest}` is not supported")
    algorithm, tail = _text(inner)
    raw, tail = _string(tail)
    if tail:
        raise ValueError("something follows it")
    hashed = _HASHES[digest](payload).digest()
    signed = _MAGIC + b"".join(map(_packed, (namespace.encode(), reserved, digest.encode(), hashed)))
    return key, algorithm, raw, signed


def _check(blob: bytes, algorithm: str, raw: bytes, signed: bytes) -> None:
    """Raise unless `raw` is the key's signature of `signed`."""
    kind, _ = _text(blob)
    key = load_ssh_public_key(kind.encode() + b" " + base64.b64encode(blob))
    if isinstance(key, ed25519.Ed25519PublicKey) and algorithm == "ssh-ed25519":
        key.verify(raw, signed)
    elif isinstance(key, ec.EllipticCurvePublicKey) and algorithm == kind and algorithm in _CURVES:
        r, rest = _string(raw)
        s, rest = _string(rest)
        if rest:
            raise ValueError("something follows it")
        pair = encode_dss_signature(int.from_bytes(r, "big"), int.from_bytes(s, "big"))
        key.verify(pair, signed, ec.ECDSA(_CURVES[algorithm]))
    elif isinstance(key, rsa.RSAPublicKey) and algorithm in _RSA:
        if key.key_size < _LEAST_RSA_BITS:
            raise ValueError(f"an RSA key of {key.key_size} bits is too small")
        key.verify(raw, signed, padding.PKCS1v15(), _RSA[algorithm])
    else:
        raise ValueError(f"the algorithm `{algorithm}` with a key of the type `{kind}` is not supported")


def _string(data: bytes) -> tuple[bytes, bytes]:
    """A string with its length before it, and what follows."""
    (length,) = struct.unpack(">I", data[:4])
    if length > len(data) - 4:
        raise ValueError("it is cut off")
    return data[4 : 4 + length], data[4 + length :]


def _text(data: bytes) -> tuple[str, bytes]:
    found, rest = _string(data)
    return found.decode("ascii"), rest


def _packed(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data
