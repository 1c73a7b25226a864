"""Finds the organization that a request is about, and refuses operators who have nothing to do with it.

An operator of one organization can name only that one: any other is answered like one that is not there, without a look
at the registry, so that not even the time tells the two apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gateway.audit.intents import SYSTEM
from gateway.control.callers import Caller
from gateway.control.operation import Context, Operation
from gateway.control.problems import Problem
from gateway.errors import did_you_mean

if TYPE_CHECKING:
    from sqlmodel import Session

DEFAULT = "default"


def organization(context: Context, operation: Operation, caller: Caller, wanted: str | None) -> str | None:
    """The organization that is meant; None for the whole gateway, or if the operation is about none."""
    if operation.about == "gateway":
        caller.check_everywhere("has nothing to do with what belongs to the whole gateway")
    if not operation.of_an_organization:
        return caller.organization
    if caller.organization is not None:
        check_visible(caller, caller.organization if wanted is None else wanted)
        return caller.organization
    if wanted is None and operation.about == "home":
        return None
    name = DEFAULT if wanted is None else wanted
    if caller.is_here and operation.noun == "audit":  # a copy of the log has no registry to ask
        return name
    from gateway.registry import queries

    if caller.is_here:
        with context.registry.read() as session:
            queries.find_organization(session, name)
        return name
    known = queries.organizations(context.registry)
    if not (operation.noun == "audit" and name == SYSTEM) and name not in known:
        raise unknown(name, known)
    return name


def check_visible(caller: Caller, name: str) -> None:
    """Raise unless the operator may know whether there is an organization of this name."""
    if caller.organization not in (None, name):
        raise unknown(name)


def check_may_undo(session: Session, caller: Caller, actor: str, what: str) -> None:
    """Raise `Problem` 403 if an operator of one organization would undo what one of the whole gateway did to it."""
    from gateway.registry.operators import operators

    organization = caller.organization
    if organization is not None and not operators.is_of(session, organization, actor):
        detail = f"this organization was {what} by an operator of the whole gateway"
        raise Problem(403, "forbidden", detail, hint="an operator of the whole gateway can end that")


def unknown(name: str, known: Sequence[str] = ()) -> Problem:
    """`known` are the organizations that the operator may know of."""
    shown = name if name.isprintable() else ascii(name)
    detail = f"unknown organization `{shown[:80]}`"
    hint = did_you_mean(name, known, "GET /api/v1/organizations lists them")
    return Problem(404, "unknown_organization", detail, hint=hint)
