"""What decides over an agent beside its own state: its team, its organization, emergency stops (docs/revocation.md).

Each has a state of its own. An agent is let in only if all of them let it in.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Standing(NamedTuple):
    """The states above an agent. `team` is None without a team, `stopped` is `all` or `organization` during a stop."""

    organization: str = "active"
    team: str | None = None
    stopped: str | None = None

    @property
    def revoked(self) -> str:
        """What ended the agent for good, as the log's detail; empty if nothing has."""
        if self.organization == "revoked":
            return "organization_revoked"
        return "team_revoked" if self.team == "revoked" else ""

    @property
    def suspended(self) -> str:
        """What keeps the agent out for now, as the log's detail, the widest first; empty if nothing does."""
        if self.stopped is not None:
            return f"{self.stopped}_stopped"
        if self.organization != "active":
            return "organization_suspended"
        return "team_suspended" if self.team not in (None, "active") else ""


TEXTS: Final = {
    "all_stopped": "all agents are stopped",
    "organization_stopped": "all agents of its organization are stopped",
    "organization_suspended": "its organization is suspended",
    "team_suspended": "its team is suspended",
    "organization_revoked": "its organization is revoked",
    "team_revoked": "its team is revoked",
    "review_overdue": "nobody has confirmed it in time",
}
"""What each of these words means, in a sentence about an agent."""
