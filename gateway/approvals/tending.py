"""The control process's care for requests: it writes down what has expired, was closed or used. It decides nothing.

Callers that need to know if a request stands look at the time and the log. So it does not matter when this runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from sqlalchemy import and_, or_, text
from sqlmodel import Session, col, select

from gateway.approvals import escalation, reviews
from gateway.approvals.status import UNDECIDED
from gateway.audit import entry as entries
from gateway.audit import grants
from gateway.audit.log_reader import LogIndex
from gateway.registry.approvals import UNSETTLED
from gateway.registry.database import Registry
from gateway.registry.models import Agent, ApiKey, ApprovalRequest, EmergencyStop, Organization, Team, table

SECONDS: Final = 2.0
_COMES_AGAIN_NS: Final = 10 * 10**9
"""The time that a client that has gone has for another try, as SDKs do by themselves."""
_BATCH: Final = 200
_ACTOR: Final = "gateway"
_ROWS: Final = table(ApprovalRequest)


def tend(registry: Registry, used_by: Callable[[str], str], now_ns: int) -> int:
    """Settle all requests that are over, and have those that wait too long go to others; returns how many.

    `used_by` is the decision that has used an approval.
    """
    ids = _candidates(registry, now_ns)
    done = 0
    for start in range(0, len(ids), _BATCH):
        part = ids[start : start + _BATCH]
        with registry.read() as session:
            due = [each for each in part if _outcome(session, each, used_by, now_ns) is not None]
        if due:
            with registry.write() as session:
                done += sum(_settle(session, each, used_by, now_ns) for each in due)
    return done + _forget(registry, now_ns) + escalation.escalate(registry, now_ns, reviews.fields_of)


def used_by(log: LogIndex) -> Callable[[str], str]:
    """Finds the decision in the entry with this id, which says that an approval was used; empty if there is none."""

    def find(event_id: str) -> str:
        row = log.execute("SELECT leaf FROM entry WHERE event_id = ?", (event_id,)).fetchone()
        return "" if row is None else str(entries.decode(row[0])["decision"])

    return find


def _candidates(registry: Registry, now_ns: int) -> list[str]:
    """The requests that may be over, found by one statement: thousands may wait."""
    stopped = select(EmergencyStop.id).where(
        col(EmergencyStop.ended_ns).is_(None),
        or_(col(EmergencyStop.organization_id).is_(None), col(EmergencyStop.organization_id) == Organization.id),
    )
    mine = (
        select(ApprovalRequest.id)
        .join(Agent, col(Agent.id) == ApprovalRequest.agent_id)
        .join(Organization, col(Organization.id) == ApprovalRequest.organization_id)
        .outerjoin(Team, and_(col(Team.organization_id) == Organization.id, col(Team.name) == Agent.team))
        .outerjoin(ApiKey, col(ApiKey.id) == ApprovalRequest.key_id)
        .where(
            text(f"approval_request.{UNSETTLED}"),
            or_(
                col(ApprovalRequest.state) == "approved",
                col(ApprovalRequest.expires_ns) <= now_ns,
                and_(col(ApprovalRequest.left_ns) > 0, col(ApprovalRequest.left_ns) <= now_ns - _COMES_AGAIN_NS),
                col(Agent.status) != "active",
                col(Agent.expires_ns) <= now_ns,
                col(Organization.status) != "active",
                col(Team.status) != "active",
                col(ApiKey.revoked_ns).is_not(None),
                col(ApiKey.expires_ns) <= now_ns,
                stopped.exists(),
            ),
        )
    )
    with registry.read() as session:
        return list(session.exec(mine).all())


def _outcome(
    session: Session, request: str, used_by: Callable[[str], str], now_ns: int
) -> tuple[ApprovalRequest, Organization, str, str, str] | None:
    """The state in which a request must be, by whom, and why; None if it is still open."""
    row = session.get(ApprovalRequest, request)
    if row is None or row.state not in ("waiting", "approved"):
        return None
    tenant = session.get(Organization, row.organization_id)
    assert tenant is not None
    if row.state == "approved" and (decision := used_by(grants.use_id(row.id, row.uses))):
        return row, tenant, "used", decision, ""
    if now_ns >= row.expires_ns:
        return row, tenant, "expired", _ACTOR, UNDECIDED if row.state == "waiting" else "it was not used"
    if row.state == "waiting" and row.left_ns and row.left_ns <= now_ns - _COMES_AGAIN_NS:
        return row, tenant, "closed", _ACTOR, "its client has gone"
    if why := reviews.why_closed(session, tenant, row, now_ns):
        return row, tenant, "closed", _ACTOR, why
    return None


def _settle(session: Session, request: str, used_by: Callable[[str], str], now_ns: int) -> bool:
    if (found := _outcome(session, request, used_by, now_ns)) is None:
        return False
    row, tenant, state, by, why = found
    was_approved = row.state == "approved"
    reviews.end(row, state, by, why)
    session.add(row)
    session.flush()
    if state == "closed" and was_approved:
        reviews.take_back(session, tenant, row, by, why)
    elif state != "used":  # the log told of a use when it happened
        reviews.settled(session, tenant, row, by, state, why)
    return True


def _forget(registry: Registry, now_ns: int) -> int:
    """Denials whose time is over say nothing about their calls any more."""
    over = (_ROWS.c.state == "denied") & _ROWS.c.digest.is_not(None) & (_ROWS.c.expires_ns <= now_ns)
    with registry.read() as session:
        if session.execute(_ROWS.select().where(over).limit(1)).first() is None:
            return 0
    with registry.write() as session:
        done: int = session.execute(_ROWS.update().where(over).values(digest=None)).rowcount  # type: ignore[attr-defined]
        return done
