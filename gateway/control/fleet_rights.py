"""What an operator may do with a fleet file: nothing but what its role and token would let it do one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from gateway.control.callers import Caller, check_access
from gateway.identity import operator_roles
from gateway.registry.fleet.plan import NAMED_ONLY, Noun, Step

SECTIONS: Final = {
    "settings": "organizations",
    "teams": "teams",
    "agents": "agents",
    "spiffe_ids": "keys",
    "public_keys": "keys",
    "upstreams": "upstreams",
    "routes": "routes",
    "bindings": "bindings",
    "limits": "limits",
}
"""What one must be for, to read a section or to compare with it."""

_NOUNS: Final[dict[Noun, str]] = {
    "team": "teams",
    "agent": "agents",
    "key": "keys",
    "SPIFFE ID": "keys",
    "public key": "keys",
    "upstream": "upstreams",
    "route": "routes",
    "binding": "bindings",
    "limit": "limits",
    "organization": "organizations",
}


def check_comparison(caller: Caller, document: Mapping[str, Any], *, keys: bool) -> None:
    """Raise `Problem` 403 unless the operator may read everything that this document is compared with."""
    nouns = [noun for section, noun in SECTIONS.items() if section in document] + ["keys"] * keys
    for noun in dict.fromkeys(nouns):
        check_access(caller, noun, write=False)


def check_steps(caller: Caller, steps: Sequence[Step]) -> None:
    """Raise `Problem` 403 unless the operator may take each step.

    A team that is made because something names it needs no right of its own: naming it is a step that is checked, and
    makes the team in requests for one thing as well.
    """
    nouns = [_NOUNS[each.noun] for each in steps if each.noun != "team" or each.changes != NAMED_ONLY]
    for noun in dict.fromkeys(nouns):
        check_access(caller, noun, write=True)


def may_change(caller: Caller, noun: str) -> bool:
    return operator_roles.may(caller.operator.role, noun, write=True) and operator_roles.within(
        caller.token.scopes, noun, write=True
    )
