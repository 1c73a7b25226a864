"""Verification of calls between agents: each has a half in the log of either side, and the two say the same.

The half of the side that is called comes first. The caller's names it and has its leaf hash, and the closing of the
first has the leaf hash of the second. So neither side can change its half without the other's contradicting it.
`verify.py` hands over every entry in the order in which all logs were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from gateway.audit import merkle
from gateway.audit.decision import State, closed
from gateway.audit.entry import Entry

DIRECTION: Final = "direction"
"""The member of a decision by which the side that is called has judged: `receive`."""
OTHER_DECISION: Final = "other_decision"
OTHER_LEAF: Final = "other_leaf"


class Fault(NamedTuple):
    """A contradiction; missing entries of `organization` would explain it."""

    organization: str
    text: str


class _Half(NamedTuple):
    leaf: str
    entry: Entry


REFUSED: Final = "callee_refused"
"""The reason code of a caller's decision whose other side has denied the call."""


def refused(callee: str, decision: str) -> str:
    """The reason that the caller is told: never the other side's own."""
    return f"`{callee}` has the decision {decision} about it"


class HalvesCheck:
    """The calls between agents in all logs. The methods return the fault of an entry, or None."""

    def __init__(self) -> None:
        # Decisions of sides that were called, until the caller's follows; and the leaf that their closing must have.
        self._received: dict[str, _Half] = {}
        self._closings: dict[str, str] = {}

    def decided(self, entry: Entry, leaf: bytes) -> Fault | None:
        hashed = merkle.leaf_hash(leaf).hex()
        if "peer" in entry:
            return None  # the other half is in the log of another gateway
        if entry.get(DIRECTION) == "receive":
            self._received[str(entry["id"])] = _Half(hashed, entry)
            return None
        if "callee" not in entry:
            return None
        owner, named = str(entry.get("callee_organization")), str(entry.get(OTHER_DECISION, ""))
        theirs = self._received.pop(named, None)
        if theirs is None:
            if named:
                return Fault(owner, f"the decision `{named}` of `{owner}`, which it names, is not before it")
            if entry["allow"] is not True:
                return None
            return Fault(owner, "the call ran, and the agent that was called did not decide")
        if theirs.entry["allow"] is True:
            self._closings[named] = hashed
        if entry.get(OTHER_LEAF) != theirs.leaf:
            return Fault(owner, f"the decision `{named}` of `{owner}` is not the one that it names")
        if entry["allow"] is True and theirs.entry["allow"] is not True:
            return Fault(owner, f"the call ran, although `{owner}` denied it in `{named}`")
        told = {OTHER_DECISION: entry["id"], "caller_organization": entry["org"], "caller": entry["agent"]}
        told |= {"org": owner, "agent": entry["callee"], "action": entry["action"]}
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
        """Decisions of sides that were called without the caller's; to be asked at the end."""
        for decision, half in self._received.items():
            owner, org = str(half.entry.get("caller_organization")), half.entry["org"]
            yield Fault(owner, f"`{decision}` of `{org}` is about a call that `{owner}` has no decision of")
