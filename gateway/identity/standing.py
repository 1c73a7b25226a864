"""The states that decide whether an agent is let in, and the one refusal that follows from them (revocation.md).

Its key, the agent itself, its team, its organization and emergency stops each have a state of their own. An agent is
let in only if all of them let it in. Requests, dry runs and permissions all ask `refusal`.
"""

from __future__ import annotations

from typing import Final, NamedTuple, Protocol


class Standing(NamedTuple):
    """The states above an agent. `team` is None without a team, `stopped` is `all` or `organization` during a stop."""

    organization: str = "active"
    team: str | None = None
    stopped: str | None = None

    @property
    def revoked(self) -> str:
        """The cause that ended the agent for good, as the log's detail; empty if there is none."""
        if self.organization == "revoked":
            return "organization_revoked"
        return "team_revoked" if self.team == "revoked" else ""

    @property
    def suspended(self) -> str:
        """The cause that keeps the agent out for now, as the log's detail, the widest first; empty if there is none."""
        if self.stopped is not None:
            return f"{self.stopped}_stopped"
        if self.organization != "active":
            return "organization_suspended"
        return "team_suspended" if self.team not in (None, "active") else ""


class States(Protocol):
    """The states of a credential's row, of its agent, and of what is above that."""

    @property
    def revoked_ns(self) -> int | None: ...
    @property
    def expires_ns(self) -> int | None: ...
    @property
    def status(self) -> str: ...
    @property
    def agent_expires_ns(self) -> int | None: ...
    @property
    def suspends_ns(self) -> int | None: ...
    @property
    def organization_status(self) -> str: ...
    @property
    def team_status(self) -> str | None: ...
    @property
    def stopped(self) -> str | None: ...


def refusal(of: States, now_ns: int, *, expiry: bool = True) -> tuple[str, str] | None:
    """The reason code and the log's detail of the refusal that follows from these states; None if they let in.

    The first one counts: the key is revoked; the agent is revoked or retired; its organization or its team is revoked;
    the key has expired, the agent has; a stop is in force; the organization or the team is suspended; the agent's
    review is overdue; the agent is suspended. So the last ones, which somebody can undo, are told only of a credential
    that would be good otherwise. Without `expiry` the time counts only where it is written down already.
    """
    above = Standing(of.organization_status, of.team_status, of.stopped)
    ended = "revoked" if of.revoked_ns is not None else ""
    ended = ended or (f"agent_{of.status}" if of.status in ("revoked", "retired") else above.revoked)
    if not ended and expiry:
        ended = "expired" if _over(of.expires_ns, now_ns) else ""
        ended = ended or ("agent_expired" if _over(of.agent_expires_ns, now_ns) else "")
    if ended:
        return "bad_credentials", ended
    overdue = _over(of.suspends_ns, now_ns) and (expiry or of.status == "suspended")
    suspended = above.suspended or ("review_overdue" if overdue else of.status.removeprefix("active"))
    return ("agent_suspended", suspended) if suspended else None


def _over(end_ns: int | None, now_ns: int) -> bool:
    return end_ns is not None and end_ns <= now_ns


TEXTS: Final = {
    "all_stopped": "all agents are stopped",
    "organization_stopped": "all agents of its organization are stopped",
    "organization_suspended": "its organization is suspended",
    "team_suspended": "its team is suspended",
    "organization_revoked": "its organization is revoked",
    "team_revoked": "its team is revoked",
    "review_overdue": "nobody has confirmed it in time",
}
"""The meaning of each of these words, in a sentence about an agent."""
