"""Logs with calls at any time: what is read is as the gateway writes it, but for hashes and signatures."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.audit import entry as entries
from gateway.audit import storage
from gateway.data_directory import DataDirectory

NS = 10**9


@dataclass(frozen=True, slots=True)
class Call:
    """One call that has ended; a cost of None is unknown."""

    time_ns: int
    organization: str = "default"
    agent: str = "agt_1"
    team: str = ""
    model: str = "gpt-4o"
    response_model: str | None = None
    upstream: str = "openai"
    input: int | None = 10
    output: int = 5
    cached: int = 0
    cost: int | None = 1000


_LOG = "INSERT OR IGNORE INTO log (organization, epoch, origin, size, frontier, time_ns) VALUES (?, 1, ?, 0, x'', 0)"
_ENTRY = "INSERT INTO entry (log_id, seq, event_id, kind, time_ns, agent, leaf) VALUES (?, ?, ?, ?, ?, ?, ?)"
_HEAD = "SELECT id, size FROM log WHERE organization = ?"


@dataclass
class Log:
    """A log that calls are added to."""

    data: DataDirectory
    calls: int = 0

    def add(self, calls: Iterable[Call]) -> None:
        with closing(sqlite3.connect(self.data.audit_db)) as db, db:
            for call in calls:
                self._add(db, call)

    def _add(self, db: sqlite3.Connection, call: Call) -> None:
        self.calls += 1
        number = f"{self.calls:08d}"
        common = {"v": 1, "org": call.organization, "boot": "boot_1", "actor": call.agent, "epoch": 1}
        decided: entries.Entry = {
            **common,
            "id": f"dec_{number}",
            "kind": "decided",
            "time": str(call.time_ns - NS),
            "agent": call.agent,
            "key": "key_1",
            "allow": True,
            "open": True,
            "reason": "allowed",
            "reasons_json": "[]",
            "agent_name": f"name of {call.agent}",
            "team": call.team,
            "model": call.model,
            "upstream": call.upstream,
            "provider": "openai",
        }
        completed: entries.Entry = {
            **common,
            "id": f"end_{number}",
            "kind": "completed",
            "time": str(call.time_ns),
            "agent": call.agent,
            "decision": f"dec_{number}",
            "outcome": "ok",
            "status": 200,
            "input_tokens": call.input,
            "output_tokens": None if call.input is None else call.output,
        }
        if call.input is not None:
            completed |= {"cached_tokens": call.cached, "reasoning_tokens": 0}
        if call.response_model is not None:
            completed["response_model"] = call.response_model
        if call.cost is not None:
            completed |= {"cost_nanousd": call.cost, "price": "openai/gpt-4o@1"}
        self._write(db, call.organization, (decided, completed))

    def refuse(self, time_ns: int, kind: str, organization: str = "default", **members: entries.Scalar) -> None:
        """Add a denial (`decided`) or refusals before a decision (`refused`)."""
        self.calls += 1
        entry: entries.Entry = {"v": 1, "id": f"{'dec' if kind == 'decided' else 'rfs'}_{self.calls:08d}", "kind": kind}
        entry |= {"time": str(time_ns), "org": organization, "boot": "boot_1", "actor": "gateway", "epoch": 1}
        entry |= {"agent": "agt_1", "key": None, "reason": "policy_denied"}
        if kind == "decided":
            entry |= {"allow": False, "open": False, "reasons_json": "[]", "model": "gpt-4o"}
        else:
            entry |= {"count": 1, "first_ns": str(time_ns), "last_ns": str(time_ns)}
        with closing(sqlite3.connect(self.data.audit_db)) as db, db:
            self._write(db, organization, (entry | members,))

    def _write(self, db: sqlite3.Connection, organization: str, added: Iterable[entries.Entry]) -> None:
        db.execute(_LOG, (organization, f"test/{organization}"))
        for entry in added:
            (log_id, size) = db.execute(_HEAD, (organization,)).fetchone()
            leaf = entries.encode(entry)
            row = (log_id, size, entry["id"], entry["kind"], int(str(entry["time"])), entry["agent"], leaf)
            db.execute(_ENTRY, row)
            db.execute("UPDATE log SET size = size + 1 WHERE id = ?", (log_id,))


@pytest.fixture
def log(tmp_path: Path) -> Log:
    data = DataDirectory(tmp_path / "data")
    data.create()
    storage.create(data)
    return Log(data)
