"""Approvals for going over limits: which limits the log lets a call go over (pure).

The entry `approval.requested` names the limits that had no room (`limits_json`), and people decide about that. A call
that runs by the approval may go over these limits and no others, for what it asked of them then. It counts in all of
them. Only limits of policies are named so: what operators have set they alone raise.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from gateway.audit import grants
from gateway.audit.balance import COUNTERS, METRIC_OF, OPEN, unit
from gateway.audit.balances import reservation_of

_OF_POLICY: Final = "policy"
_VALUED: Final = 5  # the length of what was read of a limit, with its value


class RaisedLimit(NamedTuple):
    """A limit that a call may go over. `most` is what it may need of it at most; None for any amount."""

    scope: str
    counter: str
    value: int
    most: int | None


class Excess(NamedTuple):
    """A limit that a call has gone over: what it needed when so much was used."""

    scope: str
    counter: str
    value: int
    used: int
    needed: int


def of_decision(find: grants.Find, decision: Mapping[str, Any]) -> tuple[RaisedLimit, ...]:
    """The limits that the decision of a call which uses an approval may go over, as the log has them."""
    approval = str(decision.get("approval"))
    request, grant = find(approval), find(grants.grant_id(approval))
    return () if request is None or grant is None else raised(request, grant, decision)


def raised(
    request: Mapping[str, Any], grant: Mapping[str, Any], decision: Mapping[str, Any]
) -> tuple[RaisedLimit, ...]:
    """The same from the entries that ask for the approval and give it.

    Nothing if the policies of the decision have not demanded an approval for that. Calls that are alike may need more
    than the one that people have looked at; the very call needs what it needed then.
    """
    if not is_demanded(decision):
        return ()
    alike = bool(grant.get("pattern_commitment"))
    found = []
    for each in _objects(request.get("limits_json")):
        name, value, needed = each.get("limit"), each.get("value"), each.get("needed")
        if each.get("set_by") != _OF_POLICY or name not in COUNTERS or type(value) is not int:
            continue
        counter, factor = COUNTERS[name], unit(name)
        # Without a number, nothing: every call needs more.
        most = needed * factor if type(needed) is int else 0
        scope = f"agent:{request.get('agent')}"
        found.append(RaisedLimit(scope, counter, value * factor, None if alike else most))
    return tuple(found)


def is_demanded(decision: Mapping[str, Any]) -> bool:
    """True if the policies of a decision demanded an approval because limits had no room."""
    return any(each.get("over_limit") is True for each in _objects(decision.get("approvals_json")))


def may_exceed(named: Sequence[RaisedLimit], scope: str, counter: str, value: int, needed: int) -> bool:
    """True if one of these lets a call go over a limit."""
    return any(
        (each.scope, each.counter, each.value) == (scope, counter, value) and (each.most is None or needed <= each.most)
        for each in named
    )


def excesses(decision: Mapping[str, Any]) -> Iterator[Excess]:
    """The limits that a decision has gone over, according to its own reservation."""
    reservation = reservation_of(decision.get("reservation_json"))
    if reservation is None:
        return
    amounts = 1, reservation["tokens"], reservation["spend_nanousd"]
    for read in reservation.get("read", ()):
        if len(read) < _VALUED:
            continue  # entries of former versions do not say the value
        scope, counter, used, value = read[0], read[1], int(read[2]), int(read[4])
        needed = 1 if counter == OPEN else amounts[METRIC_OF[counter]]
        if used + needed > value:
            yield Excess(scope, counter, value, used, needed)


def _objects(text: object) -> list[dict[str, Any]]:
    try:
        found = json.loads(text) if isinstance(text, str) else []
    except ValueError:
        return []
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []
