"""Verification of decisions that several sides make: each has a half in its own log, and they say the same.

A call to an agent needs the word of that agent's side, and a call under a mandate that of the side that has given it.
The other sides' halves come first. The caller's names them and has their leaf hashes, and the closing of each has the
leaf hash of the caller's. So no side can change its half without another's contradicting it.
`verify.py` hands over every entry in the order in which all logs were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.audit import entry as entries
from gateway.audit import merkle
from gateway.audit.decision import State, closed
from gateway.audit.entry import Entry

DIRECTION: Final = "direction"
"""The member of a half by which it says which side it is of (`Side.direction`); a caller's half has none."""
OTHER_DECISION: Final = "other_decision"
"""The member by which a half of another side names the caller's decision."""
OTHER_LEAF: Final = "other_leaf"
"""The member by which the closing of such a half names the leaf of the caller's decision."""


class Side(NamedTuple):
    """A side besides the caller's, and the members of the caller's decision that are about it."""

    direction: str
    organization: str
    agent: str
    name: str
    decision: str
    leaf: str
    # The reason code of the caller's decision if this side denies the call.
    refusal: str

    def refused(self, entry: Entry) -> str:
        """The reason that the caller is told: never the other side's own."""
        whom = f"{entry[self.organization]}/{entry[self.name]}"
        return f"`{whom}` has the decision {entry[self.decision]} about it"


CALLEE: Final = Side(
    "receive", "callee_organization", "callee", "callee_name", OTHER_DECISION, OTHER_LEAF, "callee_refused"
)
GRANTOR: Final = Side(
    *("mandate", "mandate_organization", "mandate_agent", "mandate_name", "mandate_decision", "mandate_leaf"),
    "mandate_refused",
)
SIDES: Final = {each.direction: each for each in (CALLEE, GRANTOR)}
OF_MANDATE: Final = entries.canonical({DIRECTION: GRANTOR.direction})[1:-1]
"""The bytes that only leaves of a grantor's half have: it is no call of its agent, and no policy was asked."""


class Fault(NamedTuple):
    """A contradiction; missing entries of `organization` would explain it."""

    organization: str
    text: str


class _Half(NamedTuple):
    leaf: str
    entry: Entry


class HalvesCheck:
    """The decisions of several sides in all logs. The methods return the faults of an entry."""

    def __init__(self) -> None:
        # Halves of other sides, until the caller's follows; and the leaf that their closing must have.
        self._others: dict[str, _Half] = {}
        self._closings: dict[str, str] = {}

    def decided(self, entry: Entry, leaf: bytes) -> Fault | None:
        hashed = merkle.leaf_hash(leaf).hex()
        abroad = "peer" in entry  # that half of a call between agents is in the log of another gateway
        if entry.get(DIRECTION) in SIDES:
            if not abroad:
                self._others[str(entry["id"])] = _Half(hashed, entry)
            return None
        found = [
            self._side(each, entry, hashed)
            for each in SIDES.values()
            if each.agent in entry and not (abroad and each is CALLEE)
        ]
        return next((each for each in found if each is not None), None)

    def _side(self, side: Side, entry: Entry, hashed: str) -> Fault | None:
        owner, named = str(entry.get(side.organization)), str(entry.get(side.decision, ""))
        theirs = self._others.pop(named, None)
        if theirs is None:
            if named:
                return Fault(owner, f"the decision `{named}` of `{owner}`, which it names, is not before it")
            if entry["allow"] is not True:
                return None
            return Fault(owner, f"the call ran, and `{entry[side.agent]}` of `{owner}` did not decide")
        if theirs.entry["allow"] is True:
            self._closings[named] = hashed
        if entry.get(side.leaf) != theirs.leaf:
            return Fault(owner, f"the decision `{named}` of `{owner}` is not the one that it names")
        if entry["allow"] is True and theirs.entry["allow"] is not True:
            return Fault(owner, f"the call ran, although `{owner}` denied it in `{named}`")
        told = {OTHER_DECISION: entry["id"], "caller_organization": entry["org"], "caller": entry["agent"]}
        told |= {"org": owner, "agent": entry[side.agent], "action": entry["action"], DIRECTION: side.direction}
        if different := [name for name, value in told.items() if theirs.entry.get(name) != value]:
            return Fault(owner, f"the decision `{named}` of `{owner}` has another `{different[0]}`")
        return None

    def completed(self, entry: Entry) -> Fault | None:
        expected = self._closings.pop(str(entry["decision"]), None)
        if expected is None or closed(entry) is State.CLOSED_BY_RECOVERY:
            return None
        if entry.get(OTHER_LEAF) != expected:
            return Fault(str(entry["org"]), "the caller's decision is not the one that it names")
        return None

    def alone(self) -> Iterator[Fault]:
        """Halves of other sides without the caller's; to be asked at the end."""
        for decision, half in self._others.items():
            owner, org = str(half.entry.get("caller_organization")), half.entry["org"]
            yield Fault(owner, f"`{decision}` of `{org}` is about a call that `{owner}` has no decision of")
