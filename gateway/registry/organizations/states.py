"""The states of organizations and teams, which decide over all agents in them (revocation.md).

    active ⇄ suspended        every agent in it is refused for now; each keeps its own state
    both → revoked            every agent in it is refused for good

Nothing can come back from a revoked one: it takes no new agents and keys, and lets none of its agents go.
"""

from __future__ import annotations

from typing import Final

from gateway.errors import ConflictError, GatewayError
from gateway.registry.models import Organization, Team

TRANSITIONS: Final[dict[str, tuple[str, ...]]] = {
    "active": ("suspended", "revoked"),
    "suspended": ("active", "revoked"),
    "revoked": (),
}


def check_transition(row: Organization | Team, after: str) -> None:
    """Raise unless this organization or team may go into that state."""
    if after not in TRANSITIONS[row.status]:
        raise _revoked(row)


def check_alive(*rows: Organization | Team | None) -> None:
    """Raise if one of them is revoked: what would give an agent in it something must not be done."""
    for row in rows:
        if row is not None and row.status == "revoked":
            raise _revoked(row)


def _revoked(row: Organization | Team) -> GatewayError:
    what = "team" if isinstance(row, Team) else "organization"
    hint = f"a revoked {what} and its agents cannot come back: begin with another one"
    return ConflictError(f"{what}_revoked", f"{what} `{row.name}` is revoked", subject=row.id, hint=hint)
