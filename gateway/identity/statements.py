"""What one gateway says to another about a call between their agents, signed: assertions and receipts.

An *assertion* is of the caller's gateway: who calls, by which decision, with the leaf of that decision in its log. A
*receipt* is of the gateway of the agent that is called: its decision, the leaf of that, and the digest of an assertion.
Both are JWS in compact form. Nothing here reads a clock, and a statement stays provable after it has expired.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import fields
from typing import Any, Final

from gateway.frozen import frozen
from gateway.identity import jose
from gateway.identity.jose import InvalidTokenError, Key

_LONGEST: Final = 3072
"""Characters of a statement: it must fit into a header, and into an entry of the log."""
_ASSERTION_TYPE: Final = "peer-assertion+jwt"
_RECEIPT_TYPE: Final = "peer-receipt+jwt"
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}"
_ID: Final = r"[a-z]{3,4}_[0-9a-f-]{1,64}"
_LEAF: Final = r"[0-9a-f]{64}"


@frozen()
class Assertion:
    """What the gateway of a caller says of a call. `audience` is the URL of the agent that is called."""

    organization: str
    agent: str
    agent_name: str
    agent_version: int
    decision: str
    leaf: str
    action: str
    audience: str
    nonce: str
    created: int
    expires: int
    # The newest signed checkpoint of the caller's log; empty if there is none yet.
    checkpoint: str = ""


@frozen()
class Receipt:
    """What the gateway of the agent that is called says of its decision on a call."""

    organization: str
    agent: str
    decision: str
    allow: bool
    leaf: str
    assertion: str
    created: int
    # The newest signed checkpoint of that side's log; empty if there is none yet.
    checkpoint: str = ""


_CLAIMS: Final = {
    "organization": "org", "agent": "sub", "agent_name": "name", "agent_version": "ver", "audience": "aud",
    "nonce": "jti", "created": "iat", "expires": "exp", "assertion": "assertion_sha256",
}  # fmt: skip
_FORMS: Final = {
    "organization": re.compile(_NAME),
    "agent": re.compile(_ID),
    "agent_name": re.compile(_NAME),
    "decision": re.compile(_ID),
    "leaf": re.compile(_LEAF),
    "assertion": re.compile(_LEAF),
    "action": re.compile(r"a2a\.[a-z.]{1,60}"),
    "audience": re.compile(r"https?://[!-~]{1,500}"),
    "checkpoint": re.compile(r"[ -~\u2014\n]{0,1024}"),
    "nonce": re.compile(r"[A-Za-z0-9_-]{16,64}"),
}


def signed(said: Assertion | Receipt, key: Key) -> str:
    """Its text: a JWS in compact form."""
    typ = _ASSERTION_TYPE if isinstance(said, Assertion) else _RECEIPT_TYPE
    claims = {_CLAIMS.get(each.name, each.name): getattr(said, each.name) for each in fields(said)}
    return jose.sign({"typ": typ}, claims, key)


def read_assertion(text: str) -> Assertion:
    """An assertion whose signature is not verified yet; raises `InvalidTokenError`."""
    return Assertion(**_members(text, Assertion, _ASSERTION_TYPE))


def read_receipt(text: str) -> Receipt:
    """A receipt whose signature is not verified yet; raises `InvalidTokenError`."""
    return Receipt(**_members(text, Receipt, _RECEIPT_TYPE))


def verify(text: str, keys: Iterable[Key]) -> Key:
    """The key, of those that the caller trusts, that has signed an assertion or a receipt; or `InvalidTokenError`."""
    compact = jose.parse(text, _LONGEST)
    if compact.kid is None:
        raise InvalidTokenError("unknown_key")
    return jose.verify(compact, keys)


def digest(text: str) -> str:
    """The digest by which a receipt names an assertion."""
    return hashlib.sha256(text.encode()).hexdigest()


def _members(text: str, kind: type[Assertion | Receipt], typ: str) -> dict[str, Any]:
    compact = jose.parse(text, _LONGEST)
    names = {each.name: _CLAIMS.get(each.name, each.name) for each in fields(kind)}
    if compact.typ != typ:
        raise InvalidTokenError("type")
    if compact.claims.keys() != set(names.values()):
        raise InvalidTokenError("claims")
    found = {name: compact.claims[claim] for name, claim in names.items()}
    for name, value in found.items():
        if form := _FORMS.get(name):
            fits = isinstance(value, str) and form.fullmatch(value) is not None
        elif name == "allow":
            fits = isinstance(value, bool)
        else:
            fits = type(value) is int and 0 < value < 2**53
        if not fits:
            raise InvalidTokenError("claims")
    return found
