"""Comparison of the logs of two gateways whose agents call each other: each half in the one has its half in the other.

Verify both logs before (`verify.py`): this reads their entries and trusts them. A half of the side that is called needs
the other one always, because the caller's gateway records its decision before it sends anything. A call that got no
receipt may have no other half: the other gateway was down, or this one was killed before the answer came.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.audit import entry as entries
from gateway.audit import merkle
from gateway.audit.border_check import ASSERTION, RECEIPT, differing, is_call, told_of
from gateway.audit.entry import Entry
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import LogReader
from gateway.identity import statements

_STEP: Final = 2000


@dataclass(slots=True)
class Matched:
    """`pairs` are calls with a half in each log, `proven` those with a receipt, and `alone` those without a half of the
    side that was to be called.
    """

    pairs: int = 0
    proven: int = 0
    alone: int = 0
    # Of each log, those that the other one has kept.
    checkpoints: int = 0
    findings: list[str] = field(default_factory=list)


class _Half:
    """The leaf of a decision, and the entry."""

    __slots__ = ("entry", "leaf")

    def __init__(self, leaf: bytes, entry: Entry) -> None:
        self.leaf, self.entry = merkle.leaf_hash(leaf).hex(), entry


class _Side:
    """What the log of one gateway has of calls across the border."""

    def __init__(self, log: LogReader) -> None:
        self.organizations: set[str] = set()
        self.calls: dict[str, _Half] = {}
        self.received: dict[str, _Half] = {}
        self.receipts: dict[str, str] = {}
        for organization, leaf, entry in _entries(log):
            self.organizations.add(organization)
            if entry["kind"] == "decided" and is_call(entry) and entry["allow"] is True:
                self.calls[str(entry["id"])] = _Half(leaf, entry)
            elif entry["kind"] == "decided" and ASSERTION in entry:
                self.received[str(entry["id"])] = _Half(leaf, entry)
            elif entry["kind"] == "completed" and RECEIPT in entry:
                self.receipts[str(entry["decision"])] = str(entry[RECEIPT])


def match(one: LogReader, other: LogReader) -> Matched:
    """Compare the halves of both logs, in both directions."""
    mine, theirs = _Side(one), _Side(other)
    found = Matched()
    for caller, called in ((mine, theirs), (theirs, mine)):
        found.findings += _received(caller, called, found)
        found.findings += _answered(caller, called, found)
    return found


def checkpoints(log: LogReader, others: LogReader) -> list[str]:
    """The checkpoints of the other log that this one has kept: what the other gateway has said of it, call by call."""
    with others.snapshot():
        organizations = {head.organization for head in others.heads()}
    found: dict[str, None] = {}
    for _, _, entry in _entries(log):
        said: statements.Assertion | statements.Receipt
        if entry["kind"] == "completed" and RECEIPT in entry:
            said = statements.read_receipt(str(entry[RECEIPT]))
        elif entry["kind"] == "decided" and ASSERTION in entry:
            said = statements.read_assertion(str(entry[ASSERTION]))
        else:
            continue
        if said.checkpoint and said.organization in organizations:
            found[said.checkpoint] = None
    return list(found)


def _received(caller: _Side, called: _Side, found: Matched) -> Iterator[str]:
    """Each half of the side that is called has one of the caller's, and no two have the same."""
    taken: dict[str, str] = {}
    for identifier, half in called.received.items():
        said = statements.read_assertion(str(half.entry[ASSERTION]))
        if said.organization not in caller.organizations:
            continue  # of a third gateway
        mine = caller.calls.get(said.decision)
        if mine is None:
            yield f"`{identifier}` is about a call by `{said.decision}`, which `{said.organization}` has not made"
        elif mine.leaf != said.leaf:
            yield f"`{identifier}` is about a call by another `{said.decision}` than `{said.organization}` has"
        elif different := differing(half.entry, told_of(said)):
            yield f"`{identifier}` has another `{different}` than the caller's gateway has asserted"
        elif (before := taken.setdefault(said.decision, identifier)) != identifier:
            yield f"`{identifier}` and `{before}` are about the same call `{said.decision}`"
        else:
            wanted = {"callee_organization": half.entry["org"], "action": half.entry["action"]}
            if different := differing(mine.entry, wanted):
                yield f"`{identifier}` has another `{different}` than `{said.decision}`"
            found.pairs += 1
    of_them = (each for each in caller.calls.values() if each.entry["callee_organization"] in called.organizations)
    found.alone += sum(str(each.entry["id"]) not in taken for each in of_them)


def _answered(caller: _Side, called: _Side, found: Matched) -> Iterator[str]:
    """Each receipt is about a decision that the other side has, and says what that says."""
    for identifier, text in caller.receipts.items():
        said = statements.read_receipt(text)
        if said.organization not in called.organizations:
            continue
        half = called.received.get(said.decision)
        if half is None:
            yield f"`{identifier}` has a receipt for `{said.decision}`, which `{said.organization}` has not recorded"
        elif half.leaf != said.leaf:
            yield f"`{identifier}` has a receipt for another `{said.decision}` than `{said.organization}` has"
        elif half.entry["allow"] is not said.allow:
            yield f"`{said.organization}` has said something else of `{said.decision}` than it has recorded"
        elif statements.digest(str(half.entry[ASSERTION])) != said.assertion:
            yield f"`{identifier}` has a receipt for another assertion than `{said.organization}` has"
        else:
            found.proven += 1


def _entries(log: LogReader) -> Iterator[tuple[str, bytes, Entry]]:
    """All entries that can be read, with their organizations and leaves."""
    with log.snapshot():
        organizations = {head.id: head.organization for head in log.heads()}
        position, more = -(2**63), True
        while more:
            more = False
            with log.entries(position, _STEP) as rows:
                for row in rows:
                    position, more = row[0], True
                    try:
                        yield organizations[row[1]], row[7], entries.decode(row[7])
                    except AuditError:
                        continue  # verification has found it
