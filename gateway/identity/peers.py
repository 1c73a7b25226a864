"""Calls between agents of two gateways: how each vouches for what it says to the other (`statements.py`).

The caller's gateway sends its assertion in a header of a request that it signs as agents do (`message_signatures.py`),
so an assertion is good for one request only. Each side keeps in its log what the other has said. Neither says anything
of the content, of policies or of reasons.

An operator declares another gateway as a *peer*: its keys, and the organizations that it may speak for. Nothing that a
request says adds to that, and no peer can vouch for another.
Specification: docs/how-to/identity/two-gateways.md.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import secrets
import time
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final, Literal, NamedTuple, Protocol

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from yarl import URL

from gateway.body import Body
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.identity import jose, message_signatures, organization_keys
from gateway.identity.credentials import Method
from gateway.identity.jose import InvalidTokenError, Key
from gateway.identity.message_signatures import PEER_TAG, thumbprint
from gateway.identity.principals import CredentialRow, Found, Principal
from gateway.identity.signatures import Nonces, Signed
from gateway.identity.statements import Assertion, read_assertion, signed, verify

PEER: Final = "peer"
"""The method of such a credential, and the kind of credentials of an upstream at another gateway."""
ASSERTION_HEADER: Final = "gateway-assertion"
RECEIPT_HEADER: Final = "gateway-receipt"
SECONDS: Final = 60
"""The life of an assertion."""

_AGENT: Final = re.compile(rb"/a2a/[A-Za-z0-9._-]+/[A-Za-z0-9._-]+")
_SIGNED_HEADERS: Final = ("accept", "a2a-version", "a2a-extensions", "content-type")


class PeerRow(NamedTuple):
    """A peer that is in force. `jwks` has its keys, each under its thumbprint."""

    id: str
    name: str
    jwks: str
    speaks_for: frozenset[str]


# ---- the side that is called


@dataclass(frozen=True, slots=True, kw_only=True)
class Asserted(Signed):
    """A request that another gateway has signed, with its assertion. Nothing of it is verified yet."""

    method: ClassVar[Method] = PEER

    assertion: Assertion
    text: str
    path: str

    @property
    def lookup(self) -> Hashable:
        said = self.assertion
        return self.keyid, said.organization, said.agent, said.agent_name, said.agent_version


def presented(found: Signed, headers: Iterable[tuple[bytes, bytes]], path: bytes) -> Signed:
    """The credential that a signature is: an agent's own, or another gateway's assertion. Raises `Denied`."""
    if found.tag != PEER_TAG:
        return found
    if _AGENT.fullmatch(path) is None:
        # Nothing else here is for somebody who is not registered: no token, no list and no model.
        raise _malformed("another gateway calls agents, and nothing else")
    if ASSERTION_HEADER.encode() not in found.covered:
        raise _malformed(f"the signature of a gateway must cover {ASSERTION_HEADER}")
    text = next(value for name, value in headers if name == ASSERTION_HEADER.encode()).strip(b" \t").decode("latin-1")
    try:
        said = read_assertion(text)
    except InvalidTokenError as error:
        raise _malformed(f"{ASSERTION_HEADER} is no assertion: {error.message}") from None
    if (said.nonce, said.created, said.expires) != (found.nonce, found.created, found.expires):
        raise _malformed(f"{ASSERTION_HEADER} belongs to another request")
    members = {each.name: getattr(found, each.name) for each in fields(found)}
    return Asserted(**members, assertion=said, text=text, path=path.decode("latin-1"))


def _malformed(why: str) -> Denied:
    return Denied("bad_credentials", "assertion_malformed", reasons=[why])


class PeerSource(Protocol):
    """The part of the registry in which peers are looked up; `gateway.registry.port.RegistryPort` has it."""

    async def peers(self) -> list[PeerRow]: ...

    async def has_organization(self, name: str) -> bool: ...

    async def named(self, credential: str) -> CredentialRow | None: ...


@functools.lru_cache(maxsize=256)
def keys(jwks: str) -> tuple[Key, ...]:
    """The keys of a peer. They are parsed once, not for each call."""
    return jose.key_set(jwks)


def key_of(peers: Iterable[PeerRow], keyid: str) -> tuple[PeerRow, Key] | None:
    """The peer that has this key."""
    for peer in peers:
        if keyid in peer.jwks:
            for key in keys(peer.jwks):
                if key.kid == keyid:
                    return peer, key
    return None


@frozen()
class _Proof:
    key: Key
    # The reason why the peer may not speak for this caller; empty if it may.
    fault: str


class Peers:
    """A `CredentialKind`: callers whose gateway vouches for them. They are not in the registry, and have no rights in
    it: who may reach an agent is said by its own policies.
    """

    method: ClassVar[Literal["peer"]] = PEER

    def __init__(self, source: PeerSource, nonces: Nonces, base: str) -> None:
        """`base` is the URL of this gateway's data plane, for which an assertion must be."""
        self._source = source
        self._nonces = nonces
        self._base = base

    async def find(self, lookup: tuple[str, str, str, str, int]) -> Found | None:
        keyid, organization, agent, name, version = lookup
        if (known := key_of(await self._source.peers(), keyid)) is None:
            return None
        peer, key = known
        fault = ""
        if organization not in peer.speaks_for:
            fault = "peer_organization"
        elif await self._source.has_organization(organization):
            fault = "own_organization"
        elif await self._source.named(agent) is not None:
            fault = "own_agent"
        row = CredentialRow(
            key_id=peer.id, digest=b"", pepper=0, expires_ns=None, revoked_ns=1 if fault else None,
            agent_id=agent, organization=organization, name=name, version=version, owner="", team="",
            environment="", status="active", capabilities="[]", labels="{}", bindings="[]",
        )  # fmt: skip
        return Found(row, _Proof(key, fault))

    def check(self, presented: Asserted, proof: _Proof | None) -> None:
        if proof is None:
            raise Denied("bad_credentials", "unknown_peer")
        try:
            verify(presented.text, [proof.key])
        except InvalidTokenError:
            raise Denied("bad_credentials", "wrong_signature") from None
        public: Any = proof.key.key.raw_value
        if presented.algorithm != "ed25519" or not message_signatures.verify(
            public, presented.signature, presented.base
        ):
            raise Denied("bad_credentials", "wrong_signature")
        if proof.fault:
            raise Denied("peer_refused", proof.fault)
        if presented.assertion.audience != self._base + presented.path:
            reasons = [f"the assertion is for another address than {self._base}{presented.path}"]
            raise Denied("peer_refused", "other_audience", reasons=reasons)

    async def admit(self, presented: Asserted, principal: Principal) -> None:
        if not await self._nonces.use(principal.key_id, presented.nonce, presented.expires):
            reasons = ["this signature was used before: sign each request anew"]
            raise Denied("bad_credentials", "replayed", reasons=reasons)


# ---- the side that calls


class Vouching:
    """Signs what this gateway says to others. `directory` is that of its keys."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._read: tuple[int, Key] | None = None

    def key(self) -> Key:
        """The key that signs. Raises `GatewayError` if there is none that can be read."""
        changed = self._directory.stat().st_mtime_ns
        if self._read is None or self._read[0] != changed:
            self._read = changed, organization_keys.gateway_keys(self._directory)[0]
        return self._read[1]

    def assertion(
        self, principal: Principal, *, decision: str, leaf: str, action: str, audience: str, checkpoint: str = ""
    ) -> Assertion:
        now = int(time.time())
        return Assertion(
            organization=principal.organization,
            agent=principal.agent_id,
            agent_name=principal.name,
            agent_version=principal.version,
            decision=decision,
            leaf=leaf,
            action=action,
            audience=audience,
            nonce=secrets.token_urlsafe(18),
            created=now,
            expires=now + SECONDS,
            checkpoint=checkpoint,
        )

    def headers(self, said: Assertion, method: str, url: URL, headers: Mapping[str, str], body: Body) -> dict[str, str]:
        """The further headers of a request that carries an assertion, with the signature over all of it."""
        key = self.key()
        text = signed(said, key)
        hashed = hashlib.sha256()
        for piece in (body,) if isinstance(body, bytes) else body.windows():
            hashed.update(piece)
        content = message_signatures.digest_field(hashed.digest())
        given = {name.lower(): value for name, value in headers.items()}
        covered: list[tuple[str, str]] = [(name, given[name]) for name in _SIGNED_HEADERS if name in given]
        covered.append((ASSERTION_HEADER, text))
        private = key.key.raw_value
        assert isinstance(private, Ed25519PrivateKey)
        params = message_signatures.parameters(
            created=said.created,
            expires=said.expires,
            nonce=said.nonce,
            keyid=thumbprint(private.public_key()),
            algorithm="ed25519",
            further=[name for name, _ in covered],
            tag=PEER_TAG,
        )
        base = message_signatures.request_base(
            method, url.host_port_subcomponent or "", url.raw_path, url.raw_query_string, content, params, covered
        )
        signature = base64.b64encode(message_signatures.sign(private, base)).decode()
        return {
            ASSERTION_HEADER: text,
            "Content-Digest": content,
            "Signature-Input": f"sig={params}",
            "Signature": f"sig=:{signature}:",
        }

    def public(self) -> bytes:
        """The keys to hand over to those who are to trust this gateway, as a JWK set."""
        return organization_keys.public(organization_keys.gateway_keys(self._directory))


def canonical_keys(text: str) -> str:
    """A JWK set as a peer is kept with: public Ed25519 keys, each under its thumbprint. Raises `invalid_jwks`."""
    found = [each for each in jose.key_set(text) if each.algorithm == "EdDSA"]
    documents = []
    for each in found:
        document = each.key.as_dict(private=False)
        documents.append({"kty": "OKP", "crv": "Ed25519", "x": document["x"], "kid": each.key.thumbprint()})
    if not documents:
        raise jose.unusable("none of its keys is an Ed25519 key", "type `gateway peers keys` at the other gateway")
    return orjson.dumps({"keys": documents}).decode()
