"""Logins of operators at an OpenID Connect provider: what an id_token must be, what its claims give (login.md).

The gateway gets the token from the provider itself, for a code that the person's browser has brought. A rule says
which claims make somebody an operator, of what and with which role.
Sources: OpenID Connect Core 1.0, section 3.1.3.7; RFC 7636.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from gateway.identity import persons, workload
from gateway.identity.jose import Compact, InvalidTokenError, Key, ascii_lower
from gateway.identity.operator_roles import ROLES, Role
from gateway.identity.persons import EMAIL_DOMAIN
from gateway.identity.workload import WorkloadIssuer

MAX_AGE: Final = 300
"""Seconds since an id_token was made: the gateway gets it when the code is exchanged."""
MAX_LENGTH: Final = 64 * 1024
"""Characters of an id_token, which may name many groups and need not fit into a header."""

VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)

_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")
_MAX_NAME = 40


class OperatorRule(NamedTuple):
    """The claims that make somebody an operator with a role; `organization` is None for one of the whole gateway."""

    id: str
    organization: str | None
    role: Role
    claims: Mapping[str, str]


class ManyPlacesError(Exception):
    """The person may be an operator of several organizations, and has not said of which."""

    def __init__(self, organizations: list[str]) -> None:
        super().__init__("several organizations")
        self.organizations = organizations


def challenge(verifier: str) -> str:
    """The code challenge of a verifier, by the method S256 (RFC 7636, section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).decode().rstrip("=")


def verify(compact: Compact, issuer: WorkloadIssuer, keys: Iterable[Key], now: float, nonce: str) -> Mapping[str, Any]:
    """The claims of an id_token that was made for the login with this nonce; raises `InvalidTokenError`.

    `issuer.audience` is the client id. Everything but the nonce is as for persons for whom agents act.
    """
    claims = persons.verify(compact, issuer, keys, now, "id_token").claims
    found = claims.get("nonce")
    if not isinstance(found, str) or not hmac.compare_digest(found.encode(), nonce.encode()):
        raise InvalidTokenError("nonce")
    return claims


def admitted(rules: Iterable[OperatorRule], claims: Mapping[str, Any]) -> dict[str | None, OperatorRule]:
    """The rules by which the claims make somebody an operator: for each place the rule with the highest role, the
    oldest of several.

    Roles are in an order: each may do what the next one may.
    """
    found: dict[str | None, OperatorRule] = {}
    for rule in sorted(rules, key=lambda each: (ROLES.index(each.role), each.id)):
        if rule.claims and all(_meets(claims, name, value) for name, value in rule.claims.items()):
            found.setdefault(rule.organization, rule)
    return found


def chosen(found: Mapping[str | None, OperatorRule], wanted: str | None) -> OperatorRule | None:
    """The rule that counts: for the organization that the person wants, if it wants one.

    Otherwise the one for the whole gateway, or else for the only organization. Raises `ManyPlacesError`.
    """
    if wanted is not None or None in found:
        return found.get(wanted)
    if len(found) > 1:
        raise ManyPlacesError(sorted(filter(None, found)))
    return next(iter(found.values()), None)


def missing(rules: Iterable[OperatorRule], claims: Mapping[str, Any]) -> list[str]:
    """The names of claims that rules ask for and the token lacks: the provider may have to be told to add them."""
    names = {name for rule in rules for name in rule.claims}
    return sorted(name for name in names if _value(claims, name) is None)


def suggested_name(claims: Mapping[str, Any], provider: str) -> str:
    """The name of a new operator: the first part of a verified address, or else the provider.

    Other claims, such as `preferred_username`, may be what the person likes.
    """
    address = _value(claims, "email")
    local = address.partition("@")[0] if isinstance(address, str) else ""
    return _NOT_IN_NAMES.sub("-", local).strip("._-")[:_MAX_NAME].strip("._-") or provider[:_MAX_NAME]


def _meets(claims: Mapping[str, Any], name: str, wanted: str) -> bool:
    """True if a claim has a value, or is a list that holds it. Addresses are compared without regard to case."""
    found = _value(claims, name)
    if name in ("email", EMAIL_DOMAIN):
        wanted = ascii_lower(wanted)
    values = found if isinstance(found, list) else [found]
    return wanted in [text for each in values if (text := workload.text_of(each)) is not None]


def _value(claims: Mapping[str, Any], name: str) -> Any:
    """A claim. An address counts only if the provider says that it has verified it."""
    if name not in ("email", EMAIL_DOMAIN):
        return claims.get(name)
    address = claims.get("email")
    if not isinstance(address, str) or claims.get("email_verified") is not True:
        return None
    address = ascii_lower(address)
    local, mark, domain = address.rpartition("@")
    if not (local and mark and domain):
        return None
    return domain if name == EMAIL_DOMAIN else address
