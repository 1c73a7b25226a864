"""The gateway's own tokens: short-lived, signed, and naming every credential that they came from (tokens.md).

There are two sorts, and neither is taken for the other:

- An *access token* (`typ: at+jwt`, RFC 9068) is a credential of the data plane. It says which agent acts, and on whose
  behalf: `sub` is the agent that began the chain, `act` the one that acts, and an `act` inside it the one before it
  (RFC 8693, section 4.1).
- A *delegation grant* (`typ: delegation+jwt`) is what an agent gives to another one: `may_act` names that one, and only
  that one can exchange it, with a credential of its own. It opens nothing on the data plane, so it is worth nothing to
  a thief.

`cid` beside each agent names the credential by which it came to the token. All of them must be alive when the token is
used, so that revoking any link ends the chain at the next request. Its rights are looked up then as well; only its
scope and its end stand in it.

`person` names the person on whose behalf the first agent of the chain acts, if there is one, and the right by which it
does (`persons.py`). The right must be in force, too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from gateway.errors import GatewayError, Hint
from gateway.identity import jose, persons, token_scope
from gateway.identity.jose import InvalidTokenError
from gateway.identity.key_scope import KeyScope
from gateway.identity.persons import Person
from gateway.identity.token_keys import TokenKeys

ACCESS: Final = "at+jwt"
GRANT: Final = "delegation+jwt"
MAX_CHAIN: Final = 11
"""Agents in a chain, whatever the settings say, so that a token fits into a header."""

_AGENT = re.compile(r"agt_[0-9a-f-]{36}")
_CREDENTIAL = re.compile(r"[a-z]{3}_[0-9a-f-]{36}")
_ID = re.compile(r"tok_[0-9a-f-]{36}")


class Link(NamedTuple):
    """An agent of a chain, and the credential by which it came into it."""

    agent: str
    credential: str


@dataclass(frozen=True, slots=True)
class Token:
    """The content of a token. `chain` begins with the agent on whose behalf the others act, and ends with the one that
    acts.

    `actor` is the agent that a delegation grant is for; None makes it an access token. Times are seconds since 1970.
    """

    id: str
    chain: tuple[Link, ...]
    scope: KeyScope
    issued: int
    expires: int
    actor: str | None = None
    # On whose behalf the first agent of the chain acts, if that is a person.
    person: Person | None = None
    # The name of the key that signed it; empty for one that is to be signed.
    kid: str = field(default="", compare=False)


def is_token(text: str) -> bool:
    """True if a credential has the form of a signed token, rather than that of a key."""
    return text.startswith("eyJ") and text.count(".") == 2


def issue(token: Token, deployment: str, keys: TokenKeys) -> str:
    """The text of a token. Raises `GatewayError` if there is no key to sign with."""
    key = keys.newest
    if key is None:
        raise GatewayError("no_token_key", "there is no key that signs tokens", hint=Hint("restart `gateway up`"))
    first, *others = token.chain
    claims: dict[str, Any] = {
        "iss": deployment,
        "aud": _audience(deployment, token.actor),
        "sub": first.agent,
        "client_id": token.chain[-1].agent,
        "cid": first.credential,
        "scope": token_scope.text(token.scope),
        "iat": token.issued,
        "exp": token.expires,
        "jti": token.id,
    }
    act: dict[str, Any] | None = None
    for link in others:
        act = {"sub": link.agent, "cid": link.credential} | ({"act": act} if act else {})
    if act:
        claims["act"] = act
    if token.person:
        claims["person"] = persons.claim(token.person)
    if token.actor:
        claims["may_act"] = {"sub": token.actor}
    return jose.sign({"typ": GRANT if token.actor else ACCESS}, claims, key)


def read(text: str, deployment: str, keys: TokenKeys) -> Token:
    """The token of this deployment that a text is, of either sort; raises `InvalidTokenError`.

    It may have expired: that is for the caller to check, at every use. Raises `GatewayError` if the keys
    cannot be read.
    """
    compact = jose.parse(text)
    if compact.algorithm != "EdDSA" or compact.kid is None:
        raise InvalidTokenError("algorithm")
    jose.verify(compact, keys.named(compact.kid))
    claims = compact.claims
    if claims.get("iss") != deployment:
        raise InvalidTokenError("issuer")
    actor = _actor(claims.get("may_act"))
    if compact.typ != (GRANT if actor else ACCESS):
        raise InvalidTokenError("type")
    if claims.get("aud") != _audience(deployment, actor):
        raise InvalidTokenError("audience")
    issued, expires, identifier, scope = (claims.get(name) for name in ("iat", "exp", "jti", "scope"))
    if type(issued) is not int or type(expires) is not int or not 0 < expires < 2**33 or not isinstance(scope, str):
        raise InvalidTokenError("claims")
    if not isinstance(identifier, str) or not _ID.fullmatch(identifier):
        raise InvalidTokenError("claims")
    try:
        permitted = token_scope.parse(scope)
    except GatewayError:
        raise InvalidTokenError("claims") from None
    person = persons.of_claim(claims.get("person"))
    return Token(identifier, _chain(claims), permitted, issued, expires, actor, person, compact.kid)


def _audience(deployment: str, actor: str | None) -> str:
    return f"{deployment}/token" if actor else f"{deployment}/data"


def _chain(claims: Mapping[str, Any]) -> tuple[Link, ...]:
    links: list[Link] = []
    act = claims.get("act")
    while act is not None:
        if len(links) == MAX_CHAIN or not isinstance(act, dict) or not act.keys() <= {"sub", "cid", "act"}:
            raise InvalidTokenError("claims")
        links.append(_link(act))
        act = act.get("act")
    return (_link(claims), *reversed(links))


def _link(claims: Mapping[str, Any]) -> Link:
    agent, credential = claims.get("sub"), claims.get("cid")
    if not isinstance(agent, str) or not isinstance(credential, str):
        raise InvalidTokenError("claims")
    if not _AGENT.fullmatch(agent) or not _CREDENTIAL.fullmatch(credential):
        raise InvalidTokenError("claims")
    return Link(agent, credential)


def _actor(claim: Any) -> str | None:
    if claim is None:
        return None
    if not isinstance(claim, dict) or claim.keys() != {"sub"} or not isinstance(claim["sub"], str):
        raise InvalidTokenError("claims")
    if not _AGENT.fullmatch(claim["sub"]):
        raise InvalidTokenError("claims")
    return str(claim["sub"])
