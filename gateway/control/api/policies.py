"""Policies: what is in force, and what became of the newest commits (policies.md). They come from git only."""

from __future__ import annotations

from pydantic import Field

from gateway.control.operation import Answer, Ask, Operation, Query
from gateway.policy.rollout import state
from gateway.policy.rollout.state import PolicyState
from gateway.registry.documents import plain


class PoliciesQuery(Query):
    """How far back."""

    limit: int = Field(20, ge=1, le=500, description="The most attempts of the answer.")


@Operation("GET /policies", about="gateway", question="Which commit of the policies is in force, and what was refused?")
def policies(ask: Ask[None, PoliciesQuery]) -> Answer[PolicyState]:
    """Show which policies are in force, and which commits came into force or were refused, newest first.

    Of the whole gateway: one commit is in force for all organizations.
    """
    context = ask.context
    return Answer(body=plain(state.state(ask.registry, context.data, ask.query.limit, context.followed)))
