"""Signed requests as a kind of credentials: the agent proves that it has a private key (docs/signatures.md).

A request is signed in one form only (`message_signatures.py` shows it): these components and parameters, in this order,
without further space, and one signature. What RFC 9421 leaves open has no meaning here and is refused, so that no two
readers can take a request for two.

The signature is verified before the body is read, and the body's digest after (`Signed.check_body`). A signature opens
the gateway once: `nonces.py` remembers those that were used, in all workers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from gateway.body import Body
from gateway.errors import Denied, PrincipalHint
from gateway.identity import message_signatures, public_keys
from gateway.identity.message_signatures import MAX_LIFETIME, PublicKey, algorithm_of
from gateway.identity.nonces import Nonces
from gateway.identity.principals import CredentialRow, Found, Principal

HEADERS: Final = frozenset({b"signature", b"signature-input"})
"""A request with one of these presents a signature."""

CLOCK_SKEW: Final = 5
"""How many seconds a client's clock may be ahead."""

_LABEL = rb"([a-z*][a-z0-9_.*-]{0,31})"
_SECONDS = rb"([1-9][0-9]{0,10})"
_COVERED = b" ".join(b'"%s"' % name.encode() for name in message_signatures.COMPONENTS)
_INPUT = re.compile(
    _LABEL + rb"=(\(" + _COVERED + rb"\);created=" + _SECONDS + rb";expires=" + _SECONDS + rb";"
    rb'nonce="([A-Za-z0-9_-]{16,64})";keyid="([A-Za-z0-9_-]{43})";alg="(ed25519|ecdsa-p256-sha256)";tag="aig")'
)
# The last digit before the padding is one whose unused bits are 0: there is one text for one value.
_SIGNATURE = re.compile(_LABEL + rb"=:([A-Za-z0-9+/]{85}[AQgw]==):")
_DIGEST = re.compile(rb"(?:(sha-256)=:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):|(sha-512)=:([A-Za-z0-9+/]{85}[AQgw]==):)")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that has the right form and time and was not verified yet. `base` is what it must be of."""

    method: ClassVar[Literal["signature"]] = "signature"

    keyid: str
    algorithm: str
    base: bytes
    signature: bytes
    nonce: str
    expires: int
    body_algorithm: str
    body_digest: bytes

    @property
    def lookup(self) -> str:
        return self.keyid

    def check_body(self, body: Body, principal: Principal) -> None:
        """Raise `Denied` unless this is the body that was signed. Reads all of it."""
        digest = hashlib.new(self.body_algorithm)
        for piece in (body,) if isinstance(body, bytes) else body.windows():
            digest.update(piece)
        if not hmac.compare_digest(digest.digest(), self.body_digest):
            hint = PrincipalHint.of(principal)
            reasons = ["the body is not the one that was signed"]
            raise Denied("bad_credentials", "body_differs", reasons=reasons, principal_hint=hint)


def parse(headers: Iterable[tuple[bytes, bytes]], method: str, path: bytes, query: bytes) -> Signed:
    """The signature of a request; `Denied` if it has not exactly the one form, or not the time."""
    wanted = {b"host", b"content-digest", *HEADERS}
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in wanted:
            if name in found:
                raise _malformed(f"the header {name.decode()} appears twice")
            found[name] = value.strip(b" \t")
    missing = sorted(wanted - found.keys())
    if missing:
        raise _malformed(f"a signed request has the header {missing[0].decode()}")
    given = _INPUT.fullmatch(found[b"signature-input"])
    if given is None:
        raise _malformed("Signature-Input does not have the components and parameters that are signed here")
    signature = _SIGNATURE.fullmatch(found[b"signature"])
    if signature is None or signature[1] != given[1]:
        raise _malformed("Signature must have the one signature that Signature-Input names")
    digest = _DIGEST.fullmatch(found[b"content-digest"])
    if digest is None:
        raise _malformed("Content-Digest must have one digest, sha-256 or sha-512")
    created, expires = int(given[3]), int(given[4])
    _check_time(created, expires)
    base = message_signatures.request_base(
        method,
        found[b"host"].decode("latin-1"),
        path.decode("latin-1"),
        query.decode("latin-1"),
        found[b"content-digest"].decode("latin-1"),
        given[2].decode("latin-1"),
    )
    return Signed(
        keyid=given[6].decode(),
        algorithm=given[7].decode(),
        base=base,
        signature=base64.b64decode(signature[2]),
        nonce=given[5].decode(),
        expires=expires,
        body_algorithm="sha256" if digest[1] else "sha512",
        body_digest=base64.b64decode(digest[2] or digest[4]),
    )


class KeySource(Protocol):
    """The part of the registry that `Signatures` needs; `gateway.registry.port.RegistryPort` has it."""

    async def credential(self, credential_id: str) -> CredentialRow | None: ...


class Uses(Protocol):
    """Keeps when keys are used; `gateway.dataplane.key_uses.KeyUses` does."""

    def note(self, key: str, expires_ns: int | None) -> None: ...


class Signatures:
    """A `CredentialKind`."""

    method: ClassVar[Literal["signature"]] = "signature"

    def __init__(self, source: KeySource, nonces: Nonces, uses: Uses | None = None) -> None:
        self._source = source
        self._nonces = nonces
        self._uses = uses

    async def find(self, lookup: str) -> Found | None:
        row = await self._source.credential(lookup)
        if row is None or row.public_key is None:
            return None
        return Found(row, public_keys.decode(row.public_key))

    def check(self, presented: Signed, proof: PublicKey | None) -> None:
        if proof is None:
            # Quicker than for a known key, which tells nothing: the name of a public key is no secret.
            raise Denied("bad_credentials", "unknown")
        if presented.algorithm != algorithm_of(proof) or not message_signatures.verify(
            proof, presented.signature, presented.base
        ):
            raise Denied("bad_credentials", "wrong_signature")

    async def admit(self, presented: Signed, principal: Principal) -> None:
        """Use the signature up. Only now: what nobody has signed must not fill the store."""
        if not await self._nonces.use(principal.key_id, presented.nonce, presented.expires):
            hint = PrincipalHint.of(principal)
            reasons = ["this signature was used before: sign each request anew"]
            raise Denied("bad_credentials", "replayed", reasons=reasons, principal_hint=hint)
        if self._uses is not None:
            self._uses.note(principal.key_id, principal.expires_ns)


def _check_time(created: int, expires: int) -> None:
    now = time.time()
    if not created < expires <= created + MAX_LIFETIME:
        raise _malformed(f"`expires` must be 1 to {MAX_LIFETIME} seconds after `created`")
    # Nobody is told more than the time, and no key was looked for yet.
    if created > now + CLOCK_SKEW:
        reasons = ["the signature was made in the future: the clock of the client is ahead of the gateway's"]
        raise Denied("bad_credentials", "signature_early", reasons=reasons)
    if expires <= now:
        reasons = ["the signature has expired, or the clock of the client is behind the gateway's"]
        raise Denied("bad_credentials", "signature_expired", reasons=reasons)


def _malformed(why: str) -> Denied:
    return Denied("bad_credentials", "signature_malformed", reasons=[why])
