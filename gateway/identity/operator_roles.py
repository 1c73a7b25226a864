"""The rights of operators: their roles, and the scopes of their tokens (control-api.md).

    owner     everything
    admin     changes everything but operators, organizations, the gateway's own keys and what is kept of calls
    auditor   reads everything, also audit entries and operators
    viewer    reads everything but audit entries and operators

A token may be for less than its operator's role: its scopes name what it is for, `read` for reading everything that the
role may read, or a noun with `read` or `write`: `agents:write`. A scope to write a noun also reads it. `mcp:write`
opens nothing by itself: it lets an assistant that has the token change what its other scopes are for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Final, Literal

from gateway.errors import GatewayError, did_you_mean

Role = Literal["owner", "admin", "auditor", "viewer"]

ROLES: Final[tuple[Role, ...]] = ("owner", "admin", "auditor", "viewer")

NOUNS: Final = (
    "organizations",
    "operators",
    "teams",
    "agents",
    "keys",
    "bindings",
    "limits",
    "mandates",
    "upstreams",
    "routes",
    "issuers",
    "peers",
    "adoptions",
    "webhooks",
    "approvals",
    "stops",
    "usage",
    "policies",
    "status",
    "token-keys",
    "secret-keys",
    "content",
    "audit",
)
"""The kinds of things to read and to change."""

_ONLY_READ: Final = ("usage", "status", "audit")

MCP_WRITE: Final = "mcp:write"
"""The scope without which an assistant changes nothing with a token, whatever else the token is for."""

SCOPES: Final = (
    "read",
    *(f"{noun}:read" for noun in _ONLY_READ),
    *(f"{noun}:{verb}" for noun in NOUNS if noun not in _ONLY_READ for verb in ("read", "write")),
    MCP_WRITE,
)

_OWNERS_ONLY = ("organizations", "operators", "token-keys", "secret-keys", "content")
_NOT_FOR_VIEWERS = ("operators", "secret-keys", "content", "audit")


def may(role: str, noun: str, *, write: bool) -> bool:
    """True if an operator of this role may read or change things of this kind."""
    if write:
        return role == "owner" or (role == "admin" and noun not in _OWNERS_ONLY)
    return role in ROLES and (role != "viewer" or noun not in _NOT_FOR_VIEWERS)


def within(scopes: Collection[str] | None, noun: str, *, write: bool) -> bool:
    """True if that is inside a token's scopes; None is everything."""
    if scopes is None or f"{noun}:write" in scopes:
        return True
    return not write and ("read" in scopes or f"{noun}:read" in scopes)


def only_reading(scopes: Collection[str] | None) -> list[str]:
    """The scopes for reading what these are for."""
    return ["read"] if scopes is None else sorted({re.sub(":write$", ":read", scope) for scope in scopes})


def narrower(scopes: Collection[str] | None, than: Collection[str] | None) -> bool:
    """True if everything in `scopes` is inside `than`."""
    if than is None or scopes is None:
        return than is None
    return all(
        "read" in than if scope == "read" else within(than, noun, write=verb == "write")
        for scope in scopes
        for noun, _, verb in [scope.partition(":")]
    )


def check_role(text: str) -> Role:
    for role in ROLES:
        if role == text:
            return role
    rule = f"the roles are {', '.join(ROLES)}"
    raise GatewayError("invalid_role", f"`{text[:64]}` is not a role", hint=did_you_mean(text, ROLES, rule))


def check_scopes(scopes: Iterable[str] | None) -> list[str] | None:
    """The distinct scopes in order; None for everything."""
    if scopes is None:
        return None
    found = sorted(set(scopes))
    for each in found:
        if each not in SCOPES:
            rule = "write read, or a noun with read or write: agents:write"
            raise GatewayError("invalid_scope", f"`{each[:64]}` is not a scope", hint=did_you_mean(each, SCOPES, rule))
    if not found:
        raise GatewayError("invalid_scope", "a token without any scope opens nothing", hint="leave the scopes out")
    return found
