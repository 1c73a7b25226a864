"""Shared by registering and changing an agent: the rules of its members, and its next version.

Everything here works inside the transaction of a change.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import insert
from sqlmodel import Session, col, select

from gateway.audit.intents import Fields
from gateway.errors import ConflictError, GatewayError, Hint
from gateway.registry import change_entries as entries
from gateway.registry import outbox
from gateway.registry.agents import states as agent_states
from gateway.registry.models import Agent, AgentVersion, NewAgent, Organization, table
from gateway.registry.queries import find_agent, find_living

MAX_REVIEW_DAYS: Final = 3660
MAX_PARENTS: Final = 8
"""The longest line of parents."""

_TOGETHER: Final = 500  # values of one statement
# The columns of an agent that its versions have, too.
_KEPT: Final = tuple(AgentVersion.model_fields.keys() & NewAgent.model_fields.keys())


@dataclass(frozen=True, slots=True)
class Predecessor:
    """The agent that had a name last and has ended."""

    id: str
    name: str
    status: str
    ended_ns: int

    def __str__(self) -> str:
        day = datetime.fromtimestamp(self.ended_ns / 1e9, UTC).date()
        return f"{self.id} of this name was {self.status} on {day}"

    def fields(self) -> Fields:
        """The text about it in the entry of the agent that gets the name."""
        return {"replaced": self.id, "replaced_status": self.status}


def predecessors(session: Session, tenant: Organization, wanted: Sequence[str]) -> dict[str, Predecessor]:
    """By name, the agents that had these names last, of those that have ended."""
    return {each.name: each for each in _ended(session, tenant, wanted)}


def _ended(session: Session, tenant: Organization, wanted: Sequence[str]) -> Iterator[Predecessor]:
    for start in range(0, len(wanted), _TOGETHER):
        some = select(Agent.id, Agent.name, Agent.status, Agent.updated_ns).where(
            Agent.organization_id == tenant.id,
            col(Agent.status).in_(agent_states.ENDED),
            col(Agent.name).in_(wanted[start : start + _TOGETHER]),
        )
        for row in session.exec(some.order_by(col(Agent.updated_ns), col(Agent.id))):
            yield Predecessor(*row)


def check_return(before: Predecessor | None, *, meant: bool | str) -> None:
    """Raise if a revoked agent's name would come back and nobody has said so.

    The writer of a name may not know of the revocation: a file that is applied every night does not. `meant` is
    true, or the id of the revoked agent.
    """
    if before is not None and before.status == "revoked" and meant is not True and meant != before.id:
        message = f"agent `{before.name}` was revoked ({before.id}), and another one must not get its name unnoticed"
        hint = Hint(
            f"add --replace-revoked if that is meant, or in a file `replaces: {before.id}`",
            api='send "replace_revoked": true if that is meant',
        )
        raise ConflictError("name_revoked", message, subject=before.id, hint=hint)


def check_free(session: Session, tenant: Organization, name: str) -> None:
    """Raise unless an agent may be called this."""
    mine = select(Agent).where(Agent.organization_id == tenant.id, Agent.name == name)
    if session.exec(mine.where(col(Agent.status).not_in(agent_states.ENDED))).first() is not None:
        raise taken(name)


def taken(name: str) -> GatewayError:
    hint = "choose another name, or revoke or retire that agent first"
    return ConflictError("agent_exists", f"agent `{name}` exists already", subject=name, hint=hint)


def check_expiry(expires_ns: int | None, now_ns: int) -> int | None:
    if expires_ns is not None and not now_ns < expires_ns < 2**63:
        hint = Hint("to stop an agent now: `gateway agents suspend`, `retire` or `revoke`")
        raise GatewayError("invalid_expiry", "an agent must expire in the future", hint=hint)
    return expires_ns


def check_review_days(days: int | None) -> int | None:
    if days is not None and not 1 <= days <= MAX_REVIEW_DAYS:
        raise GatewayError("invalid_review_days", f"agents are reviewed every 1 to {MAX_REVIEW_DAYS} days")
    return days


def parent_of(session: Session, tenant: Organization, reference: str, child: Agent | None = None) -> str:
    """The id of the agent of this name or id, if it can be the parent of `child`, which has none of its own yet."""
    line = line_of(session, tenant, reference)
    found = line[0]
    if child is not None and child.id in [each.id for each in line]:
        message = f"agent `{found.name}` cannot be the parent of `{child.name}`: it would be its own"
        raise GatewayError("invalid_parent", message, subject=found.id, hint=Hint("see `gateway agents show`"))
    if len(line) > MAX_PARENTS:
        raise line_too_long(found.name, found.id)
    return found.id


def line_of(session: Session, tenant: Organization, reference: str) -> list[Agent]:
    """The agent of this name or id, which has not ended, its parent, the parent of that and so on.

    The part of a line that shows that it is too long.
    """
    line = [find_living(session, tenant, reference)]
    while line[-1].parent is not None and len(line) <= MAX_PARENTS:
        line.append(find_agent(session, tenant, line[-1].parent))
    return line


def line_too_long(name: str, agent_id: str) -> GatewayError:
    message = f"agent `{name}` has {MAX_PARENTS} parents above it already"
    return GatewayError("invalid_parent", message, subject=agent_id)


def add_version(
    session: Session,
    tenant: Organization,
    row: Agent,
    actor: str,
    what: str,
    reason: str,
    before: Predecessor | None = None,
) -> None:
    """The agent as `row` has it now becomes its next version, with its entry. `before` had its name, if that is new."""
    row.version += 1
    row.updated_ns = time.time_ns()
    remember_all(session, tenant, [row], actor, what, reason, {} if before is None else {row.name: before})


def remember_all(
    session: Session,
    tenant: Organization,
    rows: Sequence[NewAgent],
    actor: str,
    what: str,
    reason: str,
    before: Mapping[str, Predecessor],
) -> None:
    """The same for many agents, whose rows may be new. `before` has, by name, those whose names they take."""
    session.flush()  # the agents' rows first: the history refers to them
    # Plain rows: an object for each would take most of the time where they are many.
    session.execute(insert(table(AgentVersion)), [_version(row, actor, reason) for row in rows])
    fields = [{**entries.agent(row), **(before[row.name].fields() if row.name in before else {})} for row in rows]
    outbox.add_changes(session, tenant, actor, what, fields, reason)


def _version(row: NewAgent, actor: str, reason: str) -> dict[str, Any]:
    return {
        **{name: getattr(row, name) for name in _KEPT},
        "agent_id": row.id,
        "actor": actor,
        "reason": reason,
        "since_ns": row.updated_ns,
    }
