"""Signed requests as a kind of credentials: the agent proves that it has a private key (signatures.md).

A request is signed in one form only (`message_signatures.py` shows it): these components in this order, perhaps with
the names of headers behind them, the six parameters, each once, no further space, and one signature. Parts that RFC
9421 leaves open have no meaning here and are refused, so that no two readers can take a request for two. The order of
the parameters is the signer's: they are signed as they stand.

If headers are signed, only those of them go on to a provider. A form's parts are where its `Content-Type` says, so that
one must be signed where the body is a form.

The signature is verified before the body is read, and the body's digest after (`Signed.check_body`). A signature opens
the gateway once: `runtime/nonces.py` remembers those that were used, in all workers.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Hashable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, Protocol

from gateway.body import Body
from gateway.errors import Denied, PrincipalHint
from gateway.identity import message_signatures, public_keys
from gateway.identity.credentials import Method
from gateway.identity.message_signatures import MAX_LIFETIME, PEER_TAG, PublicKey, algorithm_of
from gateway.identity.principals import CredentialSource, Found, Principal, Uses

HEADERS: Final = frozenset({b"signature", b"signature-input"})
"""A request with one of these presents a signature."""

CLOCK_SKEW: Final = 5
"""The seconds that a client's clock may be ahead."""
PEER_SKEW: Final = 60
"""Those of another gateway's: nobody there looks at one call that fails."""

_LABEL = rb"([a-z*][a-z0-9_.*-]{0,31})"
_SECONDS = rb"([1-9][0-9]{0,10})"
_COVERED = b" ".join(b'"%s"' % name.encode() for name in message_signatures.COMPONENTS)
_INPUT = re.compile(_LABEL + rb"=(\(" + _COVERED + rb'((?: "[a-z0-9-]{1,64}"){0,16})\)((?:;[a-z]{1,7}=[^;]{1,66}){6}))')
_PARAMETERS = {
    b"created": re.compile(_SECONDS),
    b"expires": re.compile(_SECONDS),
    b"nonce": re.compile(rb'"([A-Za-z0-9_-]{16,64})"'),
    b"keyid": re.compile(rb'"([A-Za-z0-9_-]{43})"'),
    b"alg": re.compile(rb'"(ed25519|ecdsa-p256-sha256)"'),
    b"tag": re.compile(rb'"(aig|aig-peer)"'),
}
# The last digit before the padding is one whose unused bits are 0: there is one text for one value.
_SIGNATURE = re.compile(_LABEL + rb"=:([A-Za-z0-9+/]{85}[AQgw]==):")
_DIGEST = re.compile(rb"(?:(sha-256)=:([A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=):|(sha-512)=:([A-Za-z0-9+/]{85}[AQgw]==):)")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that has the right form and time and was not verified yet. `base` is what it must be of."""

    method: ClassVar[Method] = "signature"

    keyid: str
    algorithm: str
    base: bytes
    signature: bytes
    nonce: str
    created: int
    expires: int
    tag: str
    body_algorithm: str
    body_digest: bytes
    # The further headers that it covers.
    covered: frozenset[bytes] = frozenset()

    @property
    def lookup(self) -> Hashable:
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


def passed_on(names: frozenset[bytes], presented: object) -> frozenset[bytes]:
    """The headers among those that a route passes on that nobody on the way can have added to a signed request."""
    if not isinstance(presented, Signed) or not presented.covered:
        return names
    begins = tuple(each[:-1] for each in names if each.endswith(b"*"))
    return frozenset(each for each in presented.covered if each in names or each.startswith(begins))


def parse(headers: Iterable[tuple[bytes, bytes]], method: str, path: bytes, query: bytes) -> Signed:
    """The signature of a request; `Denied` if it has not exactly the one form, or not the time."""
    headers = list(headers)
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
    values = None if given is None else _parameters(given[4])
    if given is None or values is None:
        raise _malformed("Signature-Input does not have the components and parameters that are signed here")
    further = _further(given[3], headers)
    signature = _SIGNATURE.fullmatch(found[b"signature"])
    if signature is None or signature[1] != given[1]:
        raise _malformed("Signature must have the one signature that Signature-Input names")
    digest = _DIGEST.fullmatch(found[b"content-digest"])
    if digest is None:
        raise _malformed("Content-Digest must have one digest, sha-256 or sha-512")
    created, expires = int(values[b"created"]), int(values[b"expires"])
    tag = values[b"tag"].decode()
    _check_time(created, expires, PEER_SKEW if tag == PEER_TAG else CLOCK_SKEW)
    base = message_signatures.request_base(
        method,
        found[b"host"].decode("latin-1"),
        path.decode("latin-1"),
        query.decode("latin-1"),
        found[b"content-digest"].decode("latin-1"),
        given[2].decode("latin-1"),
        further,
    )
    return Signed(
        keyid=values[b"keyid"].decode(),
        algorithm=values[b"alg"].decode(),
        base=base,
        signature=base64.b64decode(signature[2]),
        nonce=values[b"nonce"].decode(),
        created=created,
        expires=expires,
        tag=tag,
        body_algorithm="sha256" if digest[1] else "sha512",
        body_digest=base64.b64decode(digest[2] or digest[4]),
        covered=frozenset(name.encode() for name, _ in further),
    )


def _parameters(text: bytes) -> dict[bytes, bytes] | None:
    """The values of the six parameters, in whatever order; None if one is missing, twice there or of another form."""
    values: dict[bytes, bytes] = {}
    for each in text[1:].split(b";"):
        name, _, value = each.partition(b"=")
        form = _PARAMETERS.get(name)
        found = None if form is None else form.fullmatch(value)
        if found is None or name in values:
            return None
        values[name] = found[1]
    return values


def _further(text: bytes, headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    """The further headers that are signed, with their values. Each is there once."""
    names = [each.strip(b'"') for each in text.split()]
    if len(set(names)) < len(names) or {b"host", b"content-digest", *HEADERS} & set(names):
        raise _malformed("Signature-Input names a header twice, or one that is signed anyway")
    given: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        given.setdefault(name, []).append(value.strip(b" \t"))
    found = []
    for name in names:
        values = given.get(name, [])
        if len(values) != 1:
            raise _malformed(f"the header {name.decode()} is signed, so it must be there, once")
        found.append((name.decode(), values[0].decode("latin-1")))
    if b"content-type" not in names and any(_is_form(each) for each in given.get(b"content-type", [])):
        raise _malformed("the signature of a form must cover content-type, which says where its parts are")
    return found


def _is_form(content_type: bytes) -> bool:
    return content_type.partition(b";")[0].strip(b" \t").lower().startswith(b"multipart/")


class Nonces(Protocol):
    """Remembers nonces that were used, in all workers; `gateway.runtime.nonces.UsedNonces` does."""

    async def use(self, key: str, nonce: str, expires: int) -> bool: ...


class Signatures:
    """A `CredentialKind`."""

    method: ClassVar[Literal["signature"]] = "signature"

    def __init__(self, source: CredentialSource, nonces: Nonces, uses: Uses | None = None) -> None:
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


def _check_time(created: int, expires: int, skew: int) -> None:
    now = time.time()
    if not created < expires <= created + MAX_LIFETIME:
        raise _malformed(f"`expires` must be 1 to {MAX_LIFETIME} seconds after `created`")
    # Nobody is told more than the time, and no key was looked for yet.
    if created > now + skew:
        reasons = ["the signature was made in the future: the clock of the client is ahead of the gateway's"]
        raise Denied("bad_credentials", "signature_early", reasons=reasons)
    if expires <= now:
        reasons = ["the signature has expired, or the clock of the client is behind the gateway's"]
        raise Denied("bad_credentials", "signature_expired", reasons=reasons)


def _malformed(why: str) -> Denied:
    return Denied("bad_credentials", "signature_malformed", reasons=[why])
