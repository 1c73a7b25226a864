"""Persons on whose behalf agents act: what a token must be to name one, and what is kept of it (persons.md).

An issuer is registered either for programs (`workload.py`) or for persons. A token of a person is no credential: the
agent that acts presents its own beside it, and a rule must give that agent the right to act for such persons. The
gateway's own token then has of the person the subject, the claims that the operator chose, and that rule.
Sources: OpenID Connect Core 1.0, section 2; RFC 8693; RFC 9068; RFC 7800.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from gateway.identity import workload
from gateway.identity.jose import Compact, InvalidTokenError, Key, ascii_lower
from gateway.identity.workload import Rule, WorkloadIssuer

ClaimValue: TypeAlias = str | int | bool | list[str]

ASSERTION: Final = "id_jag"
TOKEN_KINDS: Final = ("id_token", "access_token", ASSERTION)
ASSERTION_TYPE: Final = "oauth-id-jag+jwt"
"""The `typ` of an assertion of a person's identity for one client (draft-ietf-oauth-identity-assertion-authz-grant)."""
EMAIL_DOMAIN: Final = "email_domain"
"""A claim that the gateway makes of `email`, if the issuer says that it has verified the address."""
MAX_CLAIMS_LENGTH: Final = 1024
"""Characters of JSON, so that a token with the longest scope and chain still fits into a header."""

_SUBJECT = re.compile(r"[!-~]([ -~]{0,253}[!-~])?")
_JTI = re.compile(r"[!-~]{1,256}")
_RIGHT = re.compile(r"rul_[0-9a-f-]{36}")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.:/-]{0,126}")
_MAX_TEXT = 256
_MAX_LIST = 64
# Such a token is bound to a key that nobody proves here (RFC 7800), or is somebody's who acts for the person already.
_NOT_BEARER = ("cnf", "act", "may_act")
# The marks of a token that a program got for itself, at the providers that set one.
_PROGRAM = {"idtyp": "app", "gty": "client-credentials"}
_CLIENTS = ("azp", "client_id", "cid", "appid")


class Person(NamedTuple):
    """A person as a token of the gateway names one. `right` is the rule by which an agent may act for them."""

    right: str
    subject: str
    claims: Mapping[str, ClaimValue]


class Right(NamedTuple):
    """A rule in force that lets an agent act for persons of an issuer."""

    organization: str
    agent: str
    issuer: str


def verify(compact: Compact, issuer: WorkloadIssuer, keys: Iterable[Key], now: float, kind: str) -> workload.Workload:
    """The content of a person's token; raises `InvalidTokenError`.

    `kind` is what the agent says that it is: `id_token`, `access_token` or, for either, `jwt`; or an assertion. Only
    the kind counts that the issuer is registered for.
    """
    asserted = issuer.accepts == ASSERTION
    if kind != issuer.accepts and (asserted or kind != "jwt"):
        raise InvalidTokenError("kind")
    if compact.algorithm not in issuer.algorithms:
        raise InvalidTokenError("algorithm")
    if issuer.accepts == "id_token" and compact.typ == "at+jwt":
        raise InvalidTokenError("type")
    found = workload.verify(compact, issuer, keys, now, (ASSERTION_TYPE,) if asserted else workload.TYPES)
    claims = found.claims
    issued = claims.get("iat")
    if issued is None:
        raise InvalidTokenError("claims")
    if issued < now - issuer.max_age:
        raise InvalidTokenError("too_old")
    if not _SUBJECT.fullmatch(claims["sub"]) or any(name in claims for name in _NOT_BEARER):
        raise InvalidTokenError("claims")
    if _is_program(claims):
        raise InvalidTokenError("no_person")
    if issuer.accepts == "id_token":
        _check_party(claims, issuer.audience)
    return found


def once(claims: Mapping[str, Any], clients: Collection[str]) -> str:
    """The id of an assertion, which is used once; raises `InvalidTokenError` unless it was made for one of `clients`.

    These are the names of one agent.
    """
    if claims.get("client_id") not in clients:
        raise InvalidTokenError("client")
    identifier = claims.get("jti")
    if not isinstance(identifier, str) or not _JTI.fullmatch(identifier):
        raise InvalidTokenError("claims")
    return identifier


def resource(claims: Mapping[str, Any]) -> str:
    """The resource that an assertion is for, empty if it names none; raises `InvalidTokenError`, also for several."""
    found = claims.get("resource", "")
    if isinstance(found, list) and len(found) == 1:
        [found] = found
    if not isinstance(found, str):
        raise InvalidTokenError("claims")
    return found


def _check_party(claims: Mapping[str, Any], audience: str) -> None:
    """An id_token is for one application. With several audiences `azp` says which (OpenID Connect Core, 3.1.3.7)."""
    several = isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if (several or "azp" in claims) and claims.get("azp") != audience:
        raise InvalidTokenError("party")


def _is_program(claims: Mapping[str, Any]) -> bool:
    """True if the subject is the client itself: a token that a program got with its own secret."""
    if any(claims.get(name) == value for name, value in _PROGRAM.items()):
        return True
    subject = claims["sub"]
    clients = [claims[name] for name in _CLIENTS if isinstance(claims.get(name), str)]
    if any(subject in (each, f"{each}@clients") for each in clients):
        return True
    # Keycloak gives each client a user of its own: by its name, or by what only such a token says of the client.
    user = claims.get("preferred_username")
    return "clientHost" in claims or any(user == f"service-account-{each}".lower() for each in clients)


def right_of(rules: Iterable[Rule], agent: str, claims: Mapping[str, Any]) -> Rule:
    """The oldest rule by which an agent may act for the person with these claims; raises `InvalidTokenError`."""
    for rule in sorted(rules):
        if rule.agent == agent and all(_meets(claims, name, value) for name, value in rule.claims.items()):
            return rule
    raise InvalidTokenError("no_right")


def _meets(claims: Mapping[str, Any], name: str, wanted: str) -> bool:
    """True if a claim has a value, or is a list that holds it."""
    found = _value(claims, name)
    values = found if isinstance(found, list) else [found]
    return wanted in [text for each in values if (text := workload.text_of(each)) is not None]


def chosen(names: Iterable[str], claims: Mapping[str, Any]) -> dict[str, ClaimValue]:
    """The claims that an operator chose, as far as the token has them; raises `InvalidTokenError`.

    Nothing is cut: a policy may deny because of a group, so half of a list would be worse than none.
    """
    found = {name: value for name in names if (value := _value(claims, name)) is not None}
    if not all(_is_value(each) for each in found.values()):
        raise InvalidTokenError("claim_value")
    if len(json.dumps(found, separators=(",", ":"))) > MAX_CLAIMS_LENGTH:
        raise InvalidTokenError("claims_too_long")
    return found


def _value(claims: Mapping[str, Any], name: str) -> Any:
    if name != EMAIL_DOMAIN:
        return claims.get(name)
    address = claims.get("email")
    if not isinstance(address, str) or claims.get("email_verified") is not True:
        return None
    _, mark, domain = address.rpartition("@")
    return ascii_lower(domain) if mark and domain else None


def _is_value(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) <= _MAX_LIST and all(isinstance(each, str) and len(each) <= _MAX_TEXT for each in value)
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    return isinstance(value, int) and abs(value) < 2**53


def claim(person: Person) -> dict[str, Any]:
    """The claim `person` of a token of the gateway."""
    return {"sub": person.subject, "cid": person.right, "claims": dict(person.claims)}


def of_claim(value: Any) -> Person | None:
    """The person that this claim names; None if there is no claim. Raises `InvalidTokenError`."""
    if value is None:
        return None
    if not isinstance(value, dict) or value.keys() != {"sub", "cid", "claims"}:
        raise InvalidTokenError("claims")
    subject, right, claims = value["sub"], value["cid"], value["claims"]
    if not isinstance(subject, str) or not _SUBJECT.fullmatch(subject):
        raise InvalidTokenError("claims")
    if not isinstance(right, str) or not _RIGHT.fullmatch(right) or not isinstance(claims, dict):
        raise InvalidTokenError("claims")
    if not all(_NAME.fullmatch(name) and _is_value(each) for name, each in claims.items()):
        raise InvalidTokenError("claims")
    return Person(right, subject, claims)


def document(person: Person, right: Right) -> dict[str, Any]:
    """The input document's `on_behalf_of` member."""
    return {"issuer": right.issuer, "subject": person.subject, "claims": dict(person.claims)}
