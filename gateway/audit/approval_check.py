"""Verification of approvals: nothing ran without its own, none was used more often than it says or for other calls than
the policies call alike, and people had really given it.

`verify.py` hands over every entry in the order of the log. Everything is compared with what the log itself says: the
request and what was demanded, who reviewed it, the grant, its use.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.audit import approval_scope, clock, grants, over_limits
from gateway.audit.entry import Entry
from gateway.audit.over_limits import Excess

MAX_SECONDS = 7 * 24 * 3600
"""The longest time that a request waits, whatever a policy says."""
APPROVED = "approved"
"""The member `verdict` of a review that approves."""


@dataclass(slots=True)
class _Request:
    """One request for approval, as far as the log has told of it."""

    asked: Entry
    # The people who have approved, for each requirement by its number.
    approved: dict[int, set[str]] = field(default_factory=dict)
    denied: dict[int, set[str]] = field(default_factory=dict)
    # The requirements that others may review, too.
    escalated: set[int] = field(default_factory=set)
    # The least that anybody who approved has allowed: how often, and if for all calls that are alike.
    uses: int | None = None
    for_pattern: bool = True
    revoked: bool = False
    grant: Entry | None = None
    # How often it was used, the decision that did so last, and if an entry says so of this one.
    used: int = 0
    decision: str = ""
    told: bool = True


class ApprovalCheck:
    """All requests of all logs. The methods return the fault of an entry, or an empty text."""

    def __init__(self) -> None:
        self._requests: dict[tuple[str, str], _Request] = {}

    def decided(self, entry: Entry, excesses: Sequence[Excess] = ()) -> str:
        """`excesses` are the limits that the decision has gone over."""
        fault = self._used(entry) if grants.needs_one(entry) else ""
        return fault or self._beyond(entry, excesses)

    def _beyond(self, entry: Entry, excesses: Sequence[Excess]) -> str:
        """A call goes over no limit but those that the approval which it uses names."""
        request = self._of(entry)
        grant = None if request is None else request.grant
        named = () if request is None or grant is None else over_limits.raised(request.asked, grant, entry)
        for scope, counter, value, used, needed in excesses:
            if not over_limits.may_exceed(named, scope, counter, value, needed):
                return (
                    f"it needs {needed} of {counter} of `{scope}`, of which {used} of {value} were used, "
                    "and no approval names that limit"
                )
        return ""

    def _used(self, entry: Entry) -> str:
        request = self._of(entry)
        if request is None:
            return "the call ran, and the approval that it needed was never asked for"
        if not request.told:
            return f"no entry says that `{request.decision}` has used the approval `{entry['approval']}` before it"
        if request.used >= (1 if request.grant is None else grants.uses_of(request.grant)):
            return f"it uses the approval `{entry['approval']}`, which `{request.decision}` has used up"
        request.decision, request.used, request.told = str(entry["id"]), request.used + 1, False
        if request.grant is None:
            return f"it uses the approval `{entry['approval']}`, which was not given before"
        if request.revoked:
            return f"it uses the approval `{entry['approval']}`, which was revoked before"
        if fault := grants.mismatch(request.grant, entry, int(str(entry["time"]))):
            return f"it uses the approval `{entry['approval']}`: {fault}"
        asked = _list(request.asked.get("approvals_json"))
        if any(each not in asked for each in _list(entry.get("approvals_json"))):
            return f"its policies demanded more than people approved in `{entry['approval']}`"
        return ""

    def changed(self, entry: Entry) -> str:
        what, request = entry["what"], self._of(entry)
        if what == grants.REQUESTED:
            if request is not None:
                return f"the approval `{entry.get('approval')}` was asked for before"
            self._requests[str(entry["org"]), str(entry.get("approval"))] = _Request(entry)
            return ""
        if what not in (grants.ESCALATED, grants.REVIEWED, grants.DECIDED, grants.REVOKED, grants.USED):
            return ""
        if request is None:
            return f"the approval `{entry.get('approval')}` was never asked for"
        if what == grants.ESCALATED:
            return self._escalated(request, entry)
        if what == grants.REVIEWED:
            return self._reviewed(request, entry)
        if what == grants.DECIDED:
            return self._granted(request, entry) if entry.get("outcome") == grants.GRANTED else ""
        if what == grants.REVOKED:
            request.revoked = True
            return ""
        if request.decision != entry.get("decision") or request.told:
            return f"it tells of a use of `{entry.get('approval')}` by `{entry.get('decision')}` that there was not"
        request.told = True
        if entry.get("number", 1) != request.used:
            return f"it is the use number {request.used} of `{entry.get('approval')}`, and says another number"
        return ""

    def unused(self) -> Iterator[tuple[str, str]]:
        """Organizations with a decision whose use of an approval has no entry; to be asked at the end."""
        for (organization, approval), request in self._requests.items():
            if not request.told:
                yield organization, f"`{request.decision}` used `{approval}`, and no entry says so"

    def _of(self, entry: Entry) -> _Request | None:
        return self._requests.get((str(entry["org"]), str(entry.get("approval"))))

    def _escalated(self, request: _Request, entry: Entry) -> str:
        """Others may review a requirement if its policy says so, and not before the time that it says."""
        approval, number = entry.get("approval"), entry.get("requirement")
        demanded = _list(request.asked.get("approvals_json"))
        if type(number) is not int or not 0 <= number < len(demanded):
            return f"it has others review `{approval}` for a requirement that there is not"
        try:
            after = int(demanded[number]["escalate"]["after_seconds"])
            shortest = min(MAX_SECONDS, *(int(each["expires_seconds"]) for each in demanded))
            asked_ns = int(str(request.asked["expires_ns"])) - shortest * 10**9
        except (KeyError, TypeError, ValueError):
            return f"it has others review `{approval}`, and the policy does not say so"
        if int(str(entry["time"])) + clock.BACKWARD_NS < asked_ns + after * 10**9:
            return f"it has others review `{approval}` before {after} s are over"
        request.escalated.add(number)
        return ""

    def _reviewed(self, request: _Request, entry: Entry) -> str:
        if request.asked.get("agent") != entry.get("agent"):
            return "it is a review of another agent's request"
        if any(each not in request.escalated for each in _list(entry.get("escalated_json"))):
            return "it counts for a requirement that others could not review yet"
        approves = entry.get("verdict") == APPROVED
        people = request.approved if approves else request.denied
        for number in _list(entry.get("meets_json")):
            if type(number) is not int:
                return "it does not say what it approves or denies"
            people.setdefault(number, set()).add(str(entry["actor"]))
        if approves:
            uses = grants.uses_of(entry)
            request.uses = uses if request.uses is None else min(uses, request.uses)
            request.for_pattern = request.for_pattern and entry.get("for_pattern") is True
        return ""

    def _granted(self, request: _Request, entry: Entry) -> str:
        approval = entry.get("approval")
        if entry["id"] != grants.grant_id(str(approval)):
            return f"its id is not that of the grant of `{approval}`"
        for name in ("agent", "approval_commitment"):
            if entry.get(name) != request.asked.get(name):
                return f"it grants another call than `{approval}` asked for"
        demanded = _list(request.asked.get("approvals_json"))
        if not demanded:
            return f"it grants `{approval}`, of which nothing says who has to approve it"
        for number, each in enumerate(demanded):
            quorum, denials = (each.get("quorum"), each.get("denials", 1)) if isinstance(each, dict) else (None, 1)
            if not isinstance(denials, int) or len(request.denied.get(number, ())) >= denials:
                return f"it grants `{approval}`, which somebody had denied"
            if not isinstance(quorum, int) or len(request.approved.get(number, ())) < quorum:
                return f"it grants `{approval}`, and too few people had approved that"
        if too_much := self._too_much(request, entry, demanded):
            return f"it grants `{approval}` {too_much}"
        request.grant = entry
        return ""

    def _too_much(self, request: _Request, grant: Entry, demanded: list[Any]) -> str:
        """The part of a grant that policies or those who approved have not allowed; empty if there is none."""
        try:
            widest = approval_scope.widest(demanded)
        except TypeError:
            return "for a scope that nobody knows"
        uses, pattern = grants.uses_of(grant), grant.get("pattern_commitment")
        if not 1 <= uses <= widest.uses:
            return f"for {uses} uses, and the policies allow {widest.uses}"
        if request.uses is not None and uses > request.uses:
            return f"for {uses} uses, and somebody approved {request.uses}"
        expires = str(grant.get("expires_ns"))
        longest_ns = max(widest.seconds, approval_scope.GRANT_SECONDS) * 10**9 + clock.BACKWARD_NS
        if expires.isdecimal() and int(expires) > int(str(grant["time"])) + longest_ns:
            return f"for longer than the {widest.seconds} s that the policies allow"
        if pattern is not None:
            if not widest.pattern or pattern != request.asked.get("pattern_commitment"):
                return "for a pattern that the policies did not name"
            if not request.for_pattern:
                return "for a pattern, and somebody approved a single call"
        return ""


def _list(text: Any) -> list[Any]:
    try:
        found = json.loads(str(text))
    except ValueError:
        return []
    return found if isinstance(found, list) else []
