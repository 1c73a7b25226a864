"""Invariants that hold after every round, whatever happened: computed from the log, the provider and the clients."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gateway.audit import decision, signer, verify
from gateway.audit.decision import State
from gateway.audit.entry import commitment
from gateway.data_directory import DataDirectory
from tests.gateway.crash.load import Clients, Provider


@dataclass
class Outcome:
    """One round: its violations, and how its requests and decisions have ended."""

    violations: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    decisions: Counter[State] = field(default_factory=Counter)


@dataclass(frozen=True)
class _Decision:
    entry: dict[str, Any]
    salt: bytes
    closing: dict[str, Any] | None

    def is_of(self, body: bytes) -> bool:
        return commitment(self.salt, "request_body", body) == self.entry["request_commitment"]


def check(data: Path, first_row: int, clients: Clients, provider: Provider) -> Outcome:
    """Judge a round whose entries come after `first_row`. The gateway has been stopped."""
    outcome = Outcome()
    say = outcome.violations.append
    directory = DataDirectory(data)
    key = signer.load_verifier(signer.public_key_path(directory))
    report = verify.verify(directory.audit_db, key, live_boots=(), known=signer.load_state(directory).values())
    for finding in report.findings:
        say(f"the log does not verify: {finding}")
    if any(log.open for log in report.logs):
        say("a decision is still open")
    if report.status == "incomplete":
        say("the log is not signed to its end")
    decisions = _read(directory.audit_db, first_row)
    for each in decisions.values():
        outcome.decisions[decision.closed(each.closing) if each.closing else decision.recorded(each.entry)] += 1
    told_of: set[str] = set()
    for told in clients.told:
        found = decisions.get(told.decision or "")
        outcome.answers[_kind(told.status, told.complete)] += 1
        if told.decision is not None:
            told_of.add(told.decision)
            if found is None:
                say(f"{told.decision} was told to a client and is not in the log")
                continue
            if not found.is_of(told.body):
                say(f"{told.decision} is about another request")
            if told.status == 200 and not found.entry["allow"]:
                say(f"{told.decision} is a denial, and its client got an answer")
            closing = found.closing or {}
            if told.status == 200 and told.complete and (closing.get("outcome") != "ok" or closing.get("late")):
                say(f"a client saw the end of {told.decision}, which ended as {closing}")
        elif told.status == 200:
            say(f"a client got an answer without a decision ({told.mark})")
        elif told.status == 403:
            say(f"a client was denied, and no decision says so ({told.mark})")
    # Each call that reached the provider has its decision, and reached it once.
    others = [each for identifier, each in decisions.items() if identifier not in told_of and each.entry["allow"]]
    by_mark = {told.mark: told for told in clients.told}
    for mark, times in provider.seen.items():
        told = by_mark[mark]
        if times > 1:
            say(f"a request reached the provider {times} times")
        known = decisions.get(told.decision or "")
        if not (known and known.entry["allow"]) and not any(each.is_of(told.body) for each in others):
            say(f"a request reached the provider without a decision in the log ({told.status})")
    return outcome


def _kind(status: int | None, complete: bool) -> str:
    if status is None:
        return "no answer"
    return f"{status}" if complete else f"{status}, cut off"


def _read(path: Path, first_row: int) -> dict[str, _Decision]:
    """The decisions after this row, with their salts and closings."""
    with closing(sqlite3.connect(path)) as db:
        rows = db.execute(
            "SELECT leaf, salt FROM entry LEFT JOIN private ON entry_id = id WHERE id > ? AND kind = 'decided'",
            (first_row,),
        ).fetchall()
        closings = db.execute("SELECT leaf FROM entry WHERE id > ? AND kind = 'completed'", (first_row,)).fetchall()
    ended = {entry["decision"]: entry for entry in (json.loads(leaf) for (leaf,) in closings)}
    entries = [(json.loads(leaf), salt) for leaf, salt in rows]
    return {entry["id"]: _Decision(entry, salt, ended.get(entry["id"])) for entry, salt in entries}


def last_row(path: Path) -> int:
    with closing(sqlite3.connect(path)) as db:
        return int(db.execute("SELECT max(id) FROM entry").fetchone()[0] or 0)
