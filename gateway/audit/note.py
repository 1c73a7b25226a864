"""C2SP signed notes with Ed25519 (pure: text and keys in memory, no files).

A note is a text that ends in a newline, a blank line, and signature lines; a key is known by its name and a 32-bit id
derived from name and key. Keys are written as Go's sumdb writes them: `<name>+<id>+<base64>` for verifying and
`PRIVATE+KEY+<name>+<id>+<base64>` for signing.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.audit.errors import AuditError

ED25519: Final = b"\x01"
MAX_NOTE: Final = 64 * 1024  # room for far more than the 16 signatures that every verifier must accept
_DASH: Final = "\u2014 "
_PRIVATE: Final = "PRIVATE+KEY+"


def check_name(name: str) -> str:
    """`name`, if it may name a key: not empty, no space of any kind, no plus, nothing unprintable."""
    if not name or "+" in name or any(character.isspace() or not character.isprintable() for character in name):
        raise AuditError("bad_key", f"`{name}` cannot name a key: it must not be empty and not contain spaces or `+`")
    return name


def key_id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + ED25519 + public).digest()[:4]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A known key: what it is called and what its signatures are checked with."""

    name: str
    public: bytes

    def named(self, name: str) -> Verifier:
        """The same key under another name (a log signs under its own origin)."""
        return Verifier(name, self.public)

    def __str__(self) -> str:
        encoded = base64.b64encode(ED25519 + self.public).decode()
        return f"{self.name}+{key_id(self.name, self.public).hex()}+{encoded}"


@dataclass(frozen=True, slots=True, repr=False)
class NoteSigner:
    """A private key and its name. It has no repr: a key must not reach a log by accident."""

    name: str
    seed: bytes

    @classmethod
    def generate(cls, name: str) -> NoteSigner:
        return cls(check_name(name), Ed25519PrivateKey.generate().private_bytes_raw())

    def named(self, name: str) -> NoteSigner:
        return NoteSigner(check_name(name), self.seed)

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, Ed25519PrivateKey.from_private_bytes(self.seed).public_key().public_bytes_raw())

    def encode(self) -> str:
        """The key as text, to be kept in a file of mode 0600."""
        encoded = base64.b64encode(ED25519 + self.seed).decode()
        return f"{_PRIVATE}{self.name}+{key_id(self.name, self.verifier.public).hex()}+{encoded}"


def parse_verifier(text: str) -> Verifier:
    """The key written as `<name>+<id>+<base64>`."""
    name, public, identifier = _parse_key(text.strip(), "a verifier key is written `<name>+<id>+<base64>`")
    if key_id(name, public) != identifier:
        raise AuditError("bad_key", "the verifier key's id does not belong to its name and key")
    return Verifier(name, public)


def parse_signer(text: str) -> NoteSigner:
    """The key written as `PRIVATE+KEY+<name>+<id>+<base64>`. No part of it ever appears in an error."""
    problem = "the signing key is not written `PRIVATE+KEY+<name>+<id>+<base64>`"
    text = text.strip()
    if not text.startswith(_PRIVATE):
        raise AuditError("bad_key", problem)
    name, seed, identifier = _parse_key(text.removeprefix(_PRIVATE), problem)
    signer = NoteSigner(name, seed)
    if key_id(name, signer.verifier.public) != identifier:
        raise AuditError("bad_key", "the signing key's id does not belong to its name and key")
    return signer


def _parse_key(text: str, problem: str) -> tuple[str, bytes, bytes]:
    parts = text.split("+", 2)  # base64 may contain plus signs, names and ids cannot
    data = _base64(parts[2]) if len(parts) == 3 else None
    if data is None or len(data) != 33 or data[:1] != ED25519 or not _is_hex(parts[1]):
        raise AuditError("bad_key", problem)
    return check_name(parts[0]), data[1:], bytes.fromhex(parts[1])


def sign(text: str, signers: Sequence[NoteSigner]) -> str:
    """The note: `text` and one signature line per signer."""
    _check_text(text)
    lines = []
    for signer in signers:
        signature = Ed25519PrivateKey.from_private_bytes(signer.seed).sign(text.encode())
        blob = key_id(signer.name, signer.verifier.public) + signature
        lines.append(f"{_DASH}{signer.name} {base64.b64encode(blob).decode()}\n")
    return f"{text}\n{''.join(lines)}"


def verify(note: str, verifiers: Sequence[Verifier]) -> str:
    """The text of a note that at least one of these keys signed.

    Signatures of unknown keys are ignored, so that witnesses can add theirs; a wrong one of a known key spoils it.
    """
    text, signatures = split(note)
    known = {(each.name, key_id(each.name, each.public)): each for each in verifiers}
    verified = False
    for name, identifier, signature in signatures:
        verifier = known.get((name, identifier))
        if verifier is None:
            continue
        try:
            Ed25519PublicKey.from_public_bytes(verifier.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError) as error:
            raise AuditError("bad_proof", f"the signature of `{name}` does not verify") from error
        verified = True
    if not verified:
        names = ", ".join(f"`{name}`" for name, _, _ in signatures)
        raise AuditError("bad_proof", f"the note is not signed by a known key, only by {names}")
    return text


def split(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """Text and signature lines (name, key id, signature) of a note, unverified: for looking, not for trusting."""
    if len(note) > MAX_NOTE:
        raise AuditError("bad_proof", f"the note is longer than {MAX_NOTE} characters")
    text, separator, tail = note.rpartition("\n\n")
    text += "\n"
    if not separator or not tail.endswith("\n"):
        raise AuditError("bad_proof", "the note has no signatures, or does not end in a newline")
    _check_text(text)
    signatures = []
    for line in tail[:-1].split("\n"):
        name, space, encoded = line.removeprefix(_DASH).partition(" ")
        blob = _base64(encoded)
        if not line.startswith(_DASH) or not space or blob is None or len(blob) < 5:
            raise AuditError("bad_proof", "the note has a malformed signature line")
        try:
            check_name(name)
        except AuditError as error:
            raise AuditError("bad_proof", "the note has a signature without a proper key name") from error
        signatures.append((name, blob[:4], blob[4:]))
    return text, signatures


def _check_text(text: str) -> None:
    if not text.endswith("\n") or any(character < " " and character != "\n" for character in text):
        raise AuditError("bad_proof", "a note's text ends in a newline and has no other control characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise AuditError("bad_proof", "a note's text must be expressible in UTF-8")


def _base64(text: str) -> bytes | None:
    """Strict base64: one spelling per value, or None."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def _is_hex(text: str) -> bool:
    return len(text) == 8 and all(character in "0123456789abcdef" for character in text)
