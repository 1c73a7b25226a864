"""Verification of a whole log, offline, with nothing but the database and a public key.

It trusts nothing that is stored. In one pass over the leaves, in the order in which they were written, it checks:

(0) the database and its schema are this program's, and each log's name belongs to the key's deployment
(1) every leaf is an entry in canonical form, of this log, at the next index, not before its predecessor
(2) the index columns beside the leaf say what the leaf says, and every value has its column's type
(3) the leaf's hash is the one in its tile
(4) at every checkpoint the signature is the key's, and the root over the leaves is the signed one
(5) a decision that was opened is closed once, by an entry of its own log, or is still listed as open
(6) a private row and kept content are those that their entry commits to, and what is gone was erased by an entry
    that says so
(7) what the system log says about checkpoints is true; it tells of every stored one but its own newest, and each that
    it tells of is stored, up to the size at which it is signed itself; a log has entries, and one of a later epoch
    begins with an entry that says so
(8) at the end every tile and the head are those of the tree, and nothing else is stored
(9) every balance is what the entries make of it, and so is each one that a decision says it has read; a threshold of a
    limit is told of where the entries reach it, and nowhere else
(10) SQLite finds its own structures intact
(11) a call that people had to approve ran with an approval that was given to it before, and each approval was used once
(12) a call between agents has both halves, and they say the same; of a half that is in the log of another gateway,
    what that gateway has signed of it

It cannot see that everything after some checkpoint is missing from all logs, with the checkpoints themselves: that is
how logs look that were not signed since. Checkpoints that were kept elsewhere (`known`) show it: see (4).

A log may grow while it is verified. It is read in transactions of `STEP` entries, because SQLite cannot reuse the
write-ahead log while a reader sees an old state. The last transaction also sees everything that is compared at the end.
Entries that are appended meanwhile are verified too.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from gateway.audit import checkpoint as checkpoints
from gateway.audit import decision, note, thresholds
from gateway.audit import entry as entries
from gateway.audit.approval_check import ApprovalCheck
from gateway.audit.balance_check import BalanceCheck
from gateway.audit.border_check import BorderCheck
from gateway.audit.checkpoint import Checkpoint
from gateway.audit.content_check import ContentCheck, RowsBeside
from gateway.audit.decision import State
from gateway.audit.errors import AuditError
from gateway.audit.halves_check import HalvesCheck
from gateway.audit.intents import SYSTEM, closing_id
from gateway.audit.log_files import opened_log
from gateway.audit.log_reader import LogReader, UnreadableError
from gateway.audit.report import MAX_FINDINGS, LogFault, OpenDecision, Report
from gateway.audit.tree_check import TreeCheck
from gateway.data_directory import DataDirectory

Progress = Callable[[int, int], None]
"""Called between two transactions with the number of entries that are done, and of all."""

STEP = 2000
_FIRST = -(2**63)  # the smallest row id


def verify(
    place: DataDirectory | Path,
    verifier: note.Verifier,
    *,
    live_boots: Collection[str] | None = None,
    known: Iterable[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify the log of a data directory, or a copy of its file.

    `known` are checkpoint notes from elsewhere that this log must contain.

    `live_boots` are the processes that are running, if that is known. Every fault of the log is in the report; raises
    only if there is none to verify, or if one of the `known` is not signed by this key.
    """
    # A changed byte can make a text undecodable. It must be a finding, not an exception.
    with opened_log(place, undecodable=True) as log:
        report = verify_log(log, verifier, live_boots=live_boots, known=known, progress=progress)
    if not report.logs and not report.findings:
        path = place.audit_db if isinstance(place, DataDirectory) else place
        raise AuditError("audit_missing", f"`{path}` holds no log: there is nothing to verify", subject=str(path))
    return report


def verify_log(
    log: LogReader,
    verifier: note.Verifier,
    *,
    live_boots: Collection[str] | None = None,
    known: Iterable[str] = (),
    progress: Progress | None = None,
) -> Report:
    """Verify a log, wherever it is kept; see `verify`."""
    by_origin: dict[str, list[Checkpoint]] = {}
    for text in known:
        origin = text.partition("\n")[0]
        by_origin.setdefault(origin, []).append(checkpoints.verify(text, verifier, origin))
    report = Report(str(verifier))
    work = _Verification(log, verifier, report, by_origin, live_boots)
    try:
        work.run(progress)
    except UnreadableError as error:
        report.add(LogFault(*work.place, f"the database is damaged: {error.why}"))
    except AuditError as error:  # a head that cannot be read as one; the subject is its log
        report.add(LogFault(error.subject or "", None, error.message))
    except (TypeError, ValueError) as error:
        # Only a changed file holds a value of another type than its column's. Most of these are found one by one.
        report.add(LogFault(*work.place, f"the database is damaged, a value has the wrong type: {error}"))
    work.explain()
    return report


class _Verification:
    """One run. The trees are checked by a `TreeCheck` each; what concerns several tables or logs is here."""

    def __init__(
        self,
        log: LogReader,
        verifier: note.Verifier,
        report: Report,
        known: dict[str, list[Checkpoint]],
        live_boots: Collection[str] | None,
    ) -> None:
        self._log = log
        self._verifier = verifier
        self._report = report
        self._known = known  # by origin, until its log is met
        self._live = live_boots
        self.place: tuple[str, int | None] = ("", None)  # the log and the entry that are looked at
        self._trees: dict[int, TreeCheck] = {}
        self._origins: dict[str, TreeCheck] = {}  # the same ones
        self._open: dict[str, tuple[int, int, entries.Entry]] = {}  # by decision: log, index, entry
        self._unreadable: set[str] = set()  # decisions that the index names, but whose leaves are no entries any more
        self._balances = BalanceCheck()
        self._gone: dict[tuple[int, str], int] = {}  # by log and decision: the entry whose private row is missing
        self._private, self._contents = RowsBeside("a private row"), RowsBeside("content")
        self._approvals = ApprovalCheck()
        self._halves = HalvesCheck()
        self._border = BorderCheck()
        self._content = ContentCheck()
        # Organizations whose entries are not all there or not all readable, and findings that this would explain.
        self._incomplete: set[str] = set()
        self._dependent: dict[str | None, list[LogFault]] = {}
        self._more_dependent: Counter[str | None] = Counter()  # beyond the first `MAX_FINDINGS` of each

    def run(self, progress: Progress | None) -> None:
        for difference in self._log.faults():  # (0)
            self._found(None, None, difference)
        total = self._log.entry_count()
        last, is_last = _FIRST, False
        while not is_last:
            # If a log grows faster than it is read, the rest is read in one transaction.
            limit = STEP if self._report.entries < 2 * total + STEP else -1
            with self._log.snapshot():
                self._look()
                last, count = self._read(last, limit)
                is_last = count != limit
                if is_last:
                    self._end()
            if progress:
                progress(self._report.entries, max(total, self._report.entries))
        # (10) In a transaction of its own.
        for text in self._log.damage():
            self._found(None, None, f"the database is damaged: {text}")

    def _look(self) -> None:
        """(0) Which logs there are at this moment; checkpoints from elsewhere are given to the log that they name."""
        for head in self._log.heads():
            if head.id in self._trees:
                self._trees[head.id].look(head)
                continue
            tree = TreeCheck(self._log, head, self._verifier, self._known.pop(head.origin, ()), self._report)
            self._trees[head.id] = tree
            self._origins[head.origin] = tree
            self._report.logs.append(tree.log)
            try:
                proper = checkpoints.origin(self._verifier.name, head.organization, head.epoch)
            except AuditError:
                proper = ""
            if head.origin != proper:
                self._found(head.id, None, f"this is not a log of `{self._verifier.name}`, whose key was given")

    def _read(self, last: int, limit: int) -> tuple[int, int]:
        """The next entries after the row `last`, with their private rows; returns the new last row and their number."""
        count = 0
        log = self._log
        with log.entries(last, limit) as rows, log.private_rows(last) as private, log.content_rows(last) as content:
            self._private.begin(private)
            self._contents.begin(content)
            for row in rows:
                self._entry(*row)
                last = row[0]
                count += 1
                self._report.entries += 1
            if count != limit:
                self._strays_of(self._private, None)
                self._strays_of(self._contents, None)
        return last, count

    def _end(self) -> None:
        """The comparisons after the last leaf, in the same transaction."""
        self.place = ("", None)
        for origin, lost in self._known.items():
            if size := max(checkpoint.size for checkpoint in lost):
                self._report.add(LogFault(origin, 0, f"the log is missing; {size} entries of it are signed"))
        for tree in self._trees.values():
            tree.finish()
        self._signed()
        for (log_id, _), index in self._gone.items():  # (6)
            self._found(log_id, index, "its private row is missing, and no erasure says so")
        for (log_id, _), index in self._content.gone.items():
            self._found(log_id, index, "its content is missing, and no erasure says so")
        self._decisions()
        self._strays()
        # Without an entry that cannot be read the others do not add up; what is wrong is said already.
        if not self._unreadable:
            for organization, difference in self._balances.differences(self._log):  # (9)
                self._depends(organization, None, difference, "balances")
            for organization, fault in self._approvals.unused():  # (11)
                self._depends(organization, None, fault, "approvals")
            for organization, fault in self._balances.untold():
                self._depends(organization, None, fault, "thresholds")
            for organization, fault in (*self._halves.alone(), *self._border.rest()):
                self._depends(organization, None, fault, "calls between agents")

    def _entry(
        self, row_id: int, log_id: int, seq: Any, event_id: str, kind: str, time_ns: int, agent: str | None, leaf: Any
    ) -> None:
        for rows in (self._private, self._contents):
            self._strays_of(rows, row_id)
        private, content = self._private.take(row_id), self._contents.take(row_id)
        tree = self._trees.get(log_id)
        if tree is None:
            self._found(None, None, f"entry `{event_id}` belongs to no log")
            return
        # A changed byte can also change the type of a stored value. The value is verified all the same.
        if type(seq) is not int:
            self._found(log_id, tree.due, "its index is not stored as a number")
            seq = tree.due
        self.place = (tree.head.origin, seq)
        if type(leaf) is not bytes:
            self._found(log_id, seq, "its leaf is not stored as bytes")
            leaf = str(leaf).encode()
        index = tree.append(seq, leaf)  # (1) the index, (3), (4)
        try:
            entry = entries.decode(leaf)  # (1)
        except AuditError as error:
            self._found(log_id, index, f"its leaf is not an entry: {error.message}")
            self._unreadable.add(event_id)
            self._incomplete.add(tree.head.organization)
            return
        if entry["org"] != tree.head.organization:
            self._found(log_id, index, f"it was recorded for `{entry['org']}`, not for this log")
        entry_time = int(str(entry["time"]))
        tree.time(index, entry_time)
        columns = (event_id, kind, time_ns, agent)
        if columns != (entry["id"], entry["kind"], entry_time, entries.agent_of(entry)):  # (2)
            self._found(log_id, index, "the index columns beside its leaf say something else")
        if private is not None:
            self._check_private(log_id, index, entry, *private)
        elif "input_commitment" in entry:
            self._gone[log_id, str(entry["id"])] = index
        if fault := self._content.entry(log_id, index, entry, content):
            self._found(log_id, index, fault)
        self._follow(tree, log_id, index, entry, leaf)

    def _follow(self, tree: TreeCheck, log_id: int, index: int, entry: entries.Entry, leaf: bytes) -> None:
        """Check what an entry says about other entries."""
        kind = entry["kind"]
        if index == 0:
            tree.first_kind = str(kind)
        if kind == "decided":
            if decision.recorded(entry) is State.OPEN:
                self._open[str(entry["id"])] = (log_id, index, entry)
                if fault := self._balances.opened(entry):
                    self._depends(tree.head.organization, index, fault, "balances", log_id)
            else:
                tree.log.decisions[decision.recorded(entry)] += 1
            if fault := self._approvals.decided(entry, self._balances.excesses(entry)):
                self._depends(tree.head.organization, index, fault, "approvals", log_id)
            if (other := self._halves.decided(entry, leaf) or self._border.decided(entry, leaf)) is not None:
                self._depends(other.organization, index, other.text, "calls between agents", log_id)
        elif kind == "completed":
            self._close(log_id, index, entry)
            if (other := self._halves.completed(entry) or self._border.completed(entry)) is not None:
                self._depends(other.organization, index, other.text, "calls between agents", log_id)
        elif kind == "change":
            if entry["what"] == thresholds.WHAT and (fault := self._balances.told(entry)):
                self._depends(tree.head.organization, index, fault, "thresholds", log_id)
            if (other := self._border.changed(entry)) is not None:
                self._depends(other.organization, index, other.text, "calls between agents", log_id)
            if fault := self._approvals.changed(entry):
                self._depends(tree.head.organization, index, fault, "approvals", log_id)
        elif kind == "checkpoint":
            self._announced(log_id, index, entry)
        elif kind == "erasure":
            self._erased(log_id, index, entry)

    def _strays_of(self, rows: RowsBeside, before: int | None) -> None:
        for fault in rows.strays(before):
            self._depends(None, None, fault, "rows beside the log")

    def _check_private(self, log_id: int, index: int, entry: entries.Entry, salt: Any, value: Any) -> None:
        """(6)"""
        self._report.private_rows += 1
        commitment = entry.get("input_commitment")
        if type(salt) is not bytes or type(value) not in (bytes, type(None)):
            self._found(log_id, index, "its private row is not stored as bytes")
        elif commitment is None or len(salt) != entries.SALT_BYTES:
            self._found(log_id, index, "its private row is not one that it commits to")
        elif entries.commitment(salt, "input", value or b"") != commitment:
            self._found(log_id, index, "its private row was changed: it commits to another one")

    def _erased(self, log_id: int, index: int, entry: entries.Entry) -> None:
        """(6) Private rows that were erased."""
        try:
            erased = json.loads(str(entry["decisions_json"]))
        except ValueError:
            erased = None
        if not isinstance(erased, list) or len(erased) != entry["count"]:
            self._found(log_id, index, "it does not say what was erased")
            return
        if entry.get("what") == "content":
            owner = self._trees[log_id].head.organization
            self._content.erased(
                [each for each, tree in self._trees.items() if tree.head.organization == owner], erased
            )
            return
        for each in erased:
            self._gone.pop((log_id, str(each)), None)

    def _close(self, log_id: int, index: int, entry: entries.Entry) -> None:
        """(5) A closing ends exactly one open decision of the same log."""
        decision_id = str(entry["decision"])
        opened = self._open.get(decision_id)
        if decision_id in self._unreadable:
            return
        if opened is None or opened[0] != log_id or entry["id"] != closing_id(decision_id):
            owner = self._trees[log_id].head.organization
            self._depends(owner, index, f"it closes `{decision_id}`, which is not open here", "decisions", log_id)
        else:
            del self._open[decision_id]
            if fault := self._balances.closed(opened[2], entry):
                self._found(log_id, index, fault)
            self._trees[log_id].log.decisions[decision.closed(entry)] += 1

    def _announced(self, log_id: int, index: int, entry: entries.Entry) -> None:
        """(7) A checkpoint that the system log records."""
        if self._trees[log_id].head.organization != SYSTEM:
            self._found(log_id, index, "only the system log tells of checkpoints")
            return
        origin, size, root = str(entry["origin"]), int(entry["size"] or 0), str(entry["root"])
        tree = self._origins.get(origin)
        if tree is None:
            self._found(log_id, index, f"it tells of `{origin}`, a log that is missing")
        elif fault := tree.contradicts(size, root, index):
            said = f"{fault} (entry {index} of the system log)"
            self._depends(tree.head.organization, size - 1, said, "signed sizes", tree.head.id)

    def _signed(self) -> None:
        """(7) Checkpoints that the system log does not tell of, or that are gone; and logs that cannot be."""
        system = [each for each in self._trees.values() if each.head.organization == SYSTEM]
        others = [each for each in self._trees.values() if each.head.organization != SYSTEM]
        if not system and any(each.untold for each in others):
            self._incomplete.add(SYSTEM)
            origin = checkpoints.origin(self._verifier.name, SYSTEM, 1)
            if origin not in self._known:
                self._report.add(LogFault(origin, 0, "the log is missing: it tells of the checkpoints of all others"))
        signed = max((each.log.signed for each in system), default=0)
        for tree in self._trees.values():
            untold = sorted(tree.untold)
            if tree.head.organization == SYSTEM:
                # It tells of its own checkpoints one later, and those of an earlier version told of none.
                first = tree.first_told
                untold = [] if first is None else [size for size in untold if size > first][:-1]
            if untold:
                more = f", nor of {len(untold) - 1} later ones" if len(untold) > 1 else ""
                said = f"the system log does not tell of its checkpoint at size {untold[0]}{more}"
                self._depends(SYSTEM, untold[0] - 1, said, "checkpoints", tree.head.id)
            for size, index in tree.unstored.items():
                if index < signed:  # otherwise the signer was stopped between the two
                    said = f"its checkpoint at size {size} is gone: entry {index} of the system log tells of it"
                    self._found(tree.head.id, size - 1, said)
            self._begun(tree)

    def _begun(self, tree: TreeCheck) -> None:
        """(7) A log is made with its first entry, and one of a later epoch says so in it."""
        head = tree.head
        if not tree.log.size and not tree.is_incomplete:
            self._found(head.id, 0, "it has no entries, and no log is made without one")
        if head.epoch == 1:
            return
        if not any(
            (each.head.organization, each.head.epoch) == (head.organization, head.epoch - 1)
            for each in self._trees.values()
        ):
            self._found(head.id, 0, f"it is of epoch {head.epoch}, and the log of the epoch before it is missing")
        if tree.first_kind not in ("", "epoch"):
            self._found(head.id, 0, f"it is of epoch {head.epoch}, and its first entry does not say why")

    def _decisions(self) -> None:
        """(5) What is open according to the leaves is what the table of open decisions says."""
        for event_id, log_id, boot, agent, reservation in self._log.open_decisions():
            opened = self._open.pop(event_id, None)
            if opened is None and event_id in self._unreadable:
                continue
            if opened is None:
                log, index = self._log.place_of(event_id) or (log_id, None)
                owner = self._owner(log)
                said = f"`{event_id}` is listed as open, but is not an open decision"
                self._depends(owner, index, said, "decisions", log)
                continue
            log, index, entry = opened
            if (log_id, boot, agent, reservation) != (
                log,
                entry["boot"],
                entry["agent"],
                entry.get("reservation_json"),
            ):
                self._found(log, index, "the list of open decisions says something else about it")
            alive = None if self._live is None else boot in self._live
            self._trees[log].log.open.append(OpenDecision(event_id, index, boot, alive))
            self._trees[log].log.decisions[State.OPEN] += 1
        for log, index, entry in self._open.values():
            said = f"`{entry['id']}` was opened, and is neither closed nor listed as open"
            self._depends(self._owner(log), index, said, "decisions", log)

    def _strays(self) -> None:
        """(8) Rows that belong to no log."""
        for table, foreign in self._log.strays(list(self._trees)).items():
            if foreign:
                self._found(None, None, f"{foreign} rows of `{table}` belong to no log")

    def _owner(self, log_id: int) -> str | None:
        tree = self._trees.get(log_id)
        return None if tree is None else tree.head.organization

    def _depends(
        self, organization: str | None, index: int | None, message: str, about: str, log_id: int | None = None
    ) -> None:
        """A finding that entries of this organization would explain if they are missing (None: of any)."""
        tree = None if log_id is None else self._trees.get(log_id)
        finding = LogFault("" if tree is None else tree.head.origin, index, message, about)
        found = self._dependent.setdefault(organization, [])
        if len(found) < MAX_FINDINGS:
            found.append(finding)
        else:
            self._more_dependent[organization] += 1

    def explain(self) -> None:
        """Tell causes from consequences, now that all is known."""
        incomplete = self._incomplete | {each.head.organization for each in self._trees.values() if each.is_incomplete}
        for organization, findings in self._dependent.items():
            explained = organization in incomplete or (organization is None and bool(incomplete))
            more = self._more_dependent[organization]
            for each in findings:
                (self._report.follow if explained else self._report.add)(each)
            if explained:
                self._report.more_consequences += more
            else:
                self._report.more_findings += more
        for tree in self._trees.values():
            for each in tree.dependent:
                (self._report.follow if tree.is_incomplete else self._report.add)(each)

    def _found(self, log_id: int | None, index: int | None, message: str) -> None:
        tree = None if log_id is None else self._trees.get(log_id)
        self._report.add(LogFault("" if tree is None else tree.head.origin, index, message))
