"""Approvals in the log: the entries that grant, revoke and use one, and whether a decision may use it (pure).

The log decides. The decision of a call that runs names its approval, and the transaction that records it looks for the
entries of that approval, under the lock that all processes share. The id of the entry `approval.used` follows from that
of the request and the number of the use, and an event id is unique in the log: an approval is used as often as it says,
whatever crashes and however many processes write. A grant that is not in the log, or not any more, grants nothing.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from gateway.audit.entry import Entry

REQUESTED: Final = "approval.requested"
REVIEWED: Final = "approval.reviewed"
DECIDED: Final = "approval.decided"
REVOKED: Final = "approval.revoked"
VIEWED: Final = "approval.viewed"
USED: Final = "approval.used"
NOTICED: Final = "approval.noticed"
ESCALATED: Final = "approval.escalated"
"""The members `what` of their `change` entries."""

GRANTED: Final = "granted"
"""The outcome in the entry `approval.decided` of a request that was approved."""
REASON: Final = "approval_required"

PREFIX: Final = "apr_"
_UUID: Final = 36

Find: TypeAlias = Callable[[str], Mapping[str, Any] | None]
"""Gives the entry of the log with an event id."""


def grant_id(approval: str) -> str:
    """The event id of the entry that grants a request."""
    return "gnt_" + approval.removeprefix(PREFIX)


def revocation_id(approval: str) -> str:
    return "rvk_" + approval.removeprefix(PREFIX)


def use_id(approval: str, number: int = 1) -> str:
    """The event id of the entry that says that an approval was used for the first time, the second, …"""
    return f"use_{approval.removeprefix(PREFIX)}" + (f"_{number}" if number > 1 else "")


def uses_of(grant: Mapping[str, Any]) -> int:
    """How often a grant may be used: once, if it does not say."""
    uses = grant.get("uses", 1)
    return uses if type(uses) is int else 0


def times_used(find: Find, approval: str, uses: int) -> int:
    """How often an approval for so many uses was used. Each use takes the next number, so a few looks are enough."""
    return bisect.bisect_left(range(uses), True, key=lambda number: find(use_id(approval, number + 1)) is None)


def escalation_id(request: str, number: int) -> str:
    """The event id of the entry that has others review a request, too, for its requirement with this number."""
    return f"esc_{request.removeprefix(PREFIX)}-{number}"


def request_of(notice: str) -> str:
    """The request that an entry with this event id tells people of; empty if it does not."""
    return PREFIX + notice[4 : 4 + _UUID] if notice.startswith((PREFIX, "esc_")) else ""


def notices_of(request: str) -> str:
    """The beginning of the event ids of all notices about a request."""
    return f"ntc_{request.removeprefix(PREFIX)}-"


def notice_id(told: str, webhook: str) -> str:
    """The event id of the entry that says that a webhook has accepted the notice of the entry `told`: once, however
    often it was delivered. The end of a webhook's id is random.
    """
    return f"ntc_{told[4:]}-{webhook[-12:]}"


def needs_one(decision: Mapping[str, Any]) -> bool:
    """True if a `decided` entry is of a call that runs and that people had to approve, or that uses an approval."""
    return decision["open"] is True and ("approvals_json" in decision or "approval" in decision)


def mismatch(grant: Mapping[str, Any], decision: Mapping[str, Any], time_ns: int) -> str:
    """The reason why an entry does not grant the call of a decision at this time; empty if it does."""
    if grant.get("what") != DECIDED or grant.get("outcome") != GRANTED:
        return "the approval was not given"
    # A grant for a pattern is for all calls that the policies call alike, any other for the very call.
    call = "pattern_commitment" if grant.get("pattern_commitment") else "approval_commitment"
    for name in ("org", "agent", "approval", call):
        if grant.get(name) is None or grant.get(name) != decision.get(name):
            return "the approval is for another call"
    expires = str(grant.get("expires_ns"))
    if not expires.isdecimal() or time_ns >= int(expires):
        return "the approval has expired"
    return ""


def fault(find: Find, decision: Mapping[str, Any], time_ns: int) -> str:
    """The reason why a call may not use the approval that its decision names; empty if it may."""
    approval = decision.get("approval")
    if not isinstance(approval, str):
        return "no approval was named"
    if find(revocation_id(approval)) is not None:
        return "the approval was revoked"
    if (grant := find(grant_id(approval))) is None:
        return "the log has no such approval yet"
    if times_used(find, approval, uses_of(grant)) >= uses_of(grant):
        return "the approval was used already, as often as it says"
    return mismatch(grant, decision, time_ns)


def next_number(find: Find, decision: Mapping[str, Any]) -> int:
    """The number of the use that a decision makes, which `fault` has nothing against."""
    approval = str(decision["approval"])
    return times_used(find, approval, uses_of(find(grant_id(approval)) or {})) + 1


def use(find: Find, decision: Entry) -> Entry:
    """The members of the entry `approval.used` that belongs to a decision, without its time."""
    approval, number = str(decision["approval"]), int(str(decision["approval_use"]))
    members = {name: decision[name] for name in ("v", "org", "boot", "actor", "epoch", "agent", "approval")}
    return members | {
        "id": use_id(approval, number),
        "kind": "change",
        "what": USED,
        "decision": decision["id"],
        "approval_commitment": decision["approval_commitment"],
        "number": number,
        "uses": uses_of(find(grant_id(approval)) or {}),
    }
