"""Tokens of outside issuers: whether one is valid, and which agent it is for (tokens.md; RFC 7523, section 3).

An issuer is a party that an organization trusts to say who a program is: GitHub Actions, a Kubernetes cluster, any
OpenID Connect provider. A rule says which of its tokens are an agent: those in which every claim that the rule names
has exactly this value. Only its registered issuer, with keys that were fetched from there or given by an operator, can
make such a token; nothing in the token itself says where keys are. For issuers that say who a person is see
`persons.py`.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from gateway.identity import jose
from gateway.identity.jose import ALGORITHMS, Compact, InvalidTokenError, Key

Purpose: TypeAlias = Literal["workloads", "persons"]

SKEW: Final = 30
"""Seconds by which an issuer's clock may be ahead."""

TYPES = ("", "jwt", "at+jwt")
_MAX_AUDIENCES = 32


class WorkloadIssuer(NamedTuple):
    """An issuer as the registry has it. Its keys are in `jwks`, if that is not empty, or at `jwks_url`, or where its
    discovery document says.

    Its tokens are either programs' or persons'. Of persons' tokens there is also said which kind they are, how many
    seconds old they may be, which claims are kept, and with which algorithms they may be signed.
    """

    id: str
    organization: str
    name: str
    issuer: str
    audience: str
    jwks_url: str
    jwks: str
    purpose: Purpose = "workloads"
    accepts: str = "id_token"
    max_age: int = 3600
    claims: tuple[str, ...] = ()
    algorithms: tuple[str, ...] = ALGORITHMS
    # The addresses that the host of its keys may have (`outbound/addresses.py`).
    reach: str = "public"


class Rule(NamedTuple):
    """The claims that make a token an agent's."""

    id: str
    agent: str
    claims: Mapping[str, str]


class Workload(NamedTuple):
    """The content of a verified token: its claims, and when it ends, in seconds since 1970."""

    claims: Mapping[str, Any]
    expires: int


def issuer_of(compact: Compact) -> str:
    """The issuer that a token names, which is not verified yet."""
    found = compact.claims.get("iss")
    if not isinstance(found, str) or not found:
        raise InvalidTokenError("issuer")
    return found


def verify(
    compact: Compact, issuer: WorkloadIssuer, keys: Iterable[Key], now: float, types: Container[str] = TYPES
) -> Workload:
    """The content of an issuer's token; raises `InvalidTokenError`, `unknown_key` if none of `keys` is the token's."""
    if compact.typ not in types:
        raise InvalidTokenError("type")
    jose.verify(compact, keys)
    claims = compact.claims
    if claims.get("iss") != issuer.issuer:
        raise InvalidTokenError("issuer")
    if not for_audience(compact, issuer.audience):
        raise InvalidTokenError("audience")
    expires = _time(claims, "exp")
    if expires is None:
        raise InvalidTokenError("claims")
    if expires <= now:
        raise InvalidTokenError("expired")
    for name in ("nbf", "iat"):
        begins = _time(claims, name)
        if begins is not None and begins > now + SKEW:
            raise InvalidTokenError("not_yet_valid")
    if not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise InvalidTokenError("claims")
    return Workload(claims, int(min(expires, 2**53 - 1)))


def for_audience(compact: Compact, audience: str) -> bool:
    """True if a token is for this audience. It may be for others as well (RFC 7519, section 4.1.3)."""
    found = compact.claims.get("aud")
    if isinstance(found, list):
        return len(found) <= _MAX_AUDIENCES and audience in [each for each in found if isinstance(each, str)]
    return isinstance(found, str) and found == audience


def matching(rules: Iterable[Rule], claims: Mapping[str, Any]) -> Rule:
    """The rule that a token meets: the oldest, if several name the same agent.

    Raises `InvalidTokenError`: `no_rule`, or `several_agents`, since a guess would give one agent's rights to another.
    """
    found = sorted(each for each in rules if each.claims and _meets(each.claims, claims))
    if not found:
        raise InvalidTokenError("no_rule")
    if len({each.agent for each in found}) > 1:
        raise InvalidTokenError("several_agents")
    return found[0]


def _meets(wanted: Mapping[str, str], claims: Mapping[str, Any]) -> bool:
    return all(name in claims and text_of(claims[name]) == value for name, value in wanted.items())


def text_of(value: Any) -> str | None:
    """A claim as rules write it; None for one that no rule can name: a list, an object, a number with a fraction."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int) else None


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise InvalidTokenError("claims")
    return value
