"""Agent cards: what an agent says of itself to those who may call it, signed by its organization.

A card is the document of A2A 1.0. The signature is a JWS over the card's canonical form (RFC 8785) without its
signatures. A verifier has the keys of organizations that it trusts from elsewhere: a card's own words about keys
(`jku`, `jwk`) decide nothing, because whoever makes a card could name keys of their own.
Specification: https://a2a-protocol.org/v1.0/specification, sections 4.4 and 8.4; RFC 7515, RFC 8037, RFC 8785.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.errors import GatewayError
from gateway.frozen import frozen
from gateway.identity import jose
from gateway.identity.jose import Key

PROVIDER: Final = "a2a"
"""The provider of an upstream that is a published agent."""
PROTOCOL: Final = "1.0"
"""The version of the protocol that cards offer."""
PRICE: Final = "urn:agent-identity-gateway:a2a-price:1"
"""The extension of a card that says what a message costs."""
MAX_BYTES: Final = 64 * 1024
"""The largest card that is verified."""
MAX_SKILLS: Final = 50
_MAX_SIGNATURES: Final = 8
_NAME: Final = r"([A-Za-z0-9][A-Za-z0-9._-]{0,62})"
_AT_A_GATEWAY: Final = re.compile(rf"https?://[^/?#@]+/a2a/{_NAME}/{_NAME}")
_MODES: Final = ["text/plain", "application/json"]


@frozen()
class Skill:
    """Something that an agent can be asked for."""

    id: str
    name: str
    description: str
    tags: tuple[str, ...] = ()


@frozen()
class Published:
    """A published agent as it is stored: its id, and the rest of its card."""

    agent: str
    description: str
    skills: tuple[Skill, ...] = ()
    # For each message that it takes, in millionths of a dollar.
    price_microusd: int = 0


def dump(published: Published) -> str:
    """Its text in the registry."""
    skills = [_skill(each) for each in published.skills]
    document: dict[str, Any] = {"agent": published.agent, "description": published.description, "skills": skills}
    if published.price_microusd:
        document["price_microusd"] = published.price_microusd
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


def load(text: str) -> Published:
    """The inverse of `dump`."""
    document = orjson.loads(text)
    skills = tuple(
        Skill(each["id"], each["name"], each["description"], tuple(each["tags"])) for each in document["skills"]
    )
    return Published(document["agent"], document["description"], skills, document.get("price_microusd", 0))


def path(organization: str, name: str) -> str:
    """The path at which a gateway serves a published agent to all organizations."""
    return f"/a2a/{organization}/{name}"


def remote(url: str) -> tuple[str, str] | None:
    """The organization and the name of the agent that another gateway serves at a URL; None if it is no such URL."""
    found = _AT_A_GATEWAY.fullmatch(url)
    return None if found is None else (found[1], found[2])


def card(published: Published, *, organization: str, name: str, version: int, base: str) -> dict[str, Any]:
    """The card, unsigned. `base` is the URL of the gateway's data plane, `version` that of the agent.

    Members with the values that they have by default are left out, as the canonical form demands.
    """
    capabilities: dict[str, Any] = {"streaming": True}
    if published.price_microusd:
        params = {"microusd_per_message": published.price_microusd}
        capabilities["extensions"] = [{"uri": PRICE, "description": "What a message to it costs.", "params": params}]
    return {
        "name": name,
        "description": published.description,
        "version": str(version),
        "provider": {"organization": organization, "url": base},
        "supportedInterfaces": [
            {"url": base + path(organization, name), "protocolBinding": "JSONRPC", "protocolVersion": PROTOCOL}
        ],
        "capabilities": capabilities,
        "defaultInputModes": _MODES,
        "defaultOutputModes": _MODES,
        "securitySchemes": {"gateway": {"httpAuthSecurityScheme": {"scheme": "Bearer"}}},
        "securityRequirements": [{"schemes": {"gateway": {"list": []}}}],
        "skills": [_skill(each) for each in published.skills],
    }


def canonical(document: Mapping[str, Any]) -> bytes:
    """The bytes that a signature is over: RFC 8785, without the signatures.

    Raises `invalid_card` for what has no such form here: numbers that are not whole.
    """
    kept = {name: value for name, value in document.items() if name != "signatures"}
    try:
        _check_form(kept)
        return orjson.dumps(kept, option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONEncodeError, RecursionError, ValueError) as error:
        raise invalid(f"the card has no canonical form: {error}") from None


def digest(document: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical form, in hex."""
    return hashlib.sha256(canonical(document)).hexdigest()


def sign(document: Mapping[str, Any], key: Key) -> dict[str, Any]:
    """A new card with this signature and no other."""
    protected = _encoded(orjson.dumps({"alg": key.algorithm, "kid": key.kid, "typ": "JOSE"}))
    text = jose.sign_bytes(protected, canonical(document), key)
    signature = {"protected": protected, "signature": text.rpartition(".")[2]}
    return {**{name: value for name, value in document.items() if name != "signatures"}, "signatures": [signature]}


def verify(document: Mapping[str, Any], keys: Sequence[Key]) -> Key:
    """The key, of those that the caller trusts, that has signed this card.

    Raises `GatewayError`: `invalid_card` if it is no signed card, `untrusted_card` if none of the keys has signed it.
    """
    signatures = document.get("signatures")
    if not isinstance(signatures, list) or not 0 < len(signatures) <= _MAX_SIGNATURES:
        raise invalid(f"the card has no `signatures`, or more than {_MAX_SIGNATURES}")
    payload = canonical(document)
    named = False
    for each in signatures:
        protected, signature = (each.get("protected"), each.get("signature")) if isinstance(each, dict) else (0, 0)
        if not isinstance(protected, str) or not isinstance(signature, str):
            raise invalid("a signature of the card has no `protected` or no `signature`")
        header = _header(protected)
        for key in _candidates(header, keys):
            named = True
            if jose.is_signed(f"{protected}.{_encoded(payload)}.{signature}", key):
                return key
    why = "it was changed after it was signed" if named else "none of the keys that were given has signed it"
    raise GatewayError("untrusted_card", f"the card cannot be trusted: {why}", hint="ask its organization for its keys")


def invalid(why: str) -> GatewayError:
    return GatewayError("invalid_card", why, hint="it must be the whole document that `gateway agents card` shows")


def _candidates(header: Mapping[str, Any], keys: Iterable[Key]) -> list[Key]:
    """The trusted keys that a header can mean. Its algorithm must be that of the key."""
    if "crit" in header:
        return []
    kid = header.get("kid")
    return [each for each in keys if kid in (None, each.kid) and header.get("alg") == each.algorithm]


def _header(protected: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(base64.urlsafe_b64decode(protected + "=" * (-len(protected) % 4)))
    except (binascii.Error, ValueError):
        raise invalid("the header of a signature is not readable") from None
    if not isinstance(found, dict):
        raise invalid("the header of a signature is not readable")
    return found


def _check_form(value: Any) -> None:
    """Raise `ValueError` for values whose canonical form `orjson` does not write."""
    if isinstance(value, float):
        raise ValueError("a number is not whole")
    if isinstance(value, dict):
        if not all(name.isascii() for name in value):
            raise ValueError("the name of a member is not ASCII")
        for each in value.values():
            _check_form(each)
    elif isinstance(value, list):
        for each in value:
            _check_form(each)


def _skill(skill: Skill) -> dict[str, Any]:
    return {"id": skill.id, "name": skill.name, "description": skill.description, "tags": list(skill.tags)}


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
