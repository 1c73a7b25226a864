"""A log to try things on: a data directory with a key, its writers, and the full verification of what came out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import balances, note, signer, storage, verify
from gateway.audit.balance import MINUTE_NS, Balance
from gateway.audit.balances import Balances
from gateway.audit.intents import Changed, Completed, Decided, Denial, Fields
from gateway.audit.over_limits import RaisedLimit
from gateway.audit.report import Report
from gateway.audit.writer import AuditWriter
from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id

DEPLOYMENT = "test"


class Log:
    """One data directory. Writers made here are closed with it."""

    def __init__(self, path: Path) -> None:
        self.data = DataDirectory(path)
        self.data.create()
        storage.create(self.data)
        self.verifier: note.Verifier = signer.create_key(self.data, DEPLOYMENT)
        self._writers: list[AuditWriter] = []

    def writer(self, **options: Any) -> AuditWriter:
        options = {"boot": new_id("boot"), "deployment": DEPLOYMENT} | options
        writer = AuditWriter(self.data, **options)
        self._writers.append(writer)
        return writer

    def close(self) -> None:
        for writer in self._writers:
            writer.close()

    def sign(self) -> None:
        writer = self.writer()
        with signer.HeadSigner(self.data) as each:
            each.sign_all(writer)
        writer.close()

    def verify(self, **options: Any) -> Report:
        return verify.verify(self.data.audit_db, self.verifier, **options)

    def rows(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        db = sqlite3.connect(self.data.audit_db)
        try:
            return db.execute(query, parameters).fetchall()
        finally:
            db.close()

    def tamper(self, query: str, *parameters: object) -> None:
        """A change that somebody with write access to the file could make."""
        db = sqlite3.connect(self.data.audit_db)
        try:
            assert db.execute(query, parameters).rowcount > 0, "nothing was changed"
            db.commit()
        finally:
            db.close()

    def tamper_schema(self, statement: str) -> None:
        db = sqlite3.connect(self.data.audit_db, isolation_level=None)
        try:
            db.execute(statement)
        finally:
            db.close()

    def balances(self) -> dict[str, Balance]:
        """All balances by scope, as rows and entries make them."""
        return stored_balances(self.data.audit_db)

    def entries(self, organization: str = "default") -> list[dict[str, Any]]:
        query = "SELECT leaf FROM entry JOIN log ON log.id = log_id WHERE organization = ? ORDER BY seq"
        return [json.loads(leaf) for (leaf,) in self.rows(query, organization)]


def stored_balances(path: Path) -> dict[str, Balance]:
    """All balances of a log by scope, as rows and entries make them."""
    with closing(storage.connect_read_only(path)) as db, db.snapshot():
        return {scope: Balance(list(values or ())) for (_, scope), values in balances.read_all(db)}


def decided(**members: Any) -> Decided:
    """An allowed decision that stays open, unless told otherwise."""
    return Decided(
        **{
            "organization": "default",
            "event_id": new_id("dec"),
            "agent": "agt_one",
            "key": "key_one",
            "allow": True,
            "reason": "allowed",
            "open": True,
            "fields": {"model": "gpt-4o-mini"},
            "private": b'{"agent":{"id":"agt_one"}}',
        }
        | members
    )


def completed(decision: Decided, **members: Any) -> Completed:
    return Completed(
        **{
            "organization": decision.organization,
            "decision_id": decision.event_id,
            "agent": decision.agent,
            "outcome": "ok",
            "status": 200,
            "input_tokens": 12,
            "output_tokens": 34,
        }
        | members
    )


def change(**members: Any) -> Changed:
    return Changed(
        **{
            "organization": "default",
            "event_id": new_id("chg"),
            "actor": "local:1000",
            "what": "agent.created",
            "fields": {"name": "support-bot"},
        }
        | members
    )


@dataclass(frozen=True)
class AtMost:
    """The smallest real reservation: a decision is allowed while fewer than `limit` are open."""

    limit: int

    tokens: int = 0

    def take(self, balances: Balances, time_ns: int, raised: Sequence[RaisedLimit] = ()) -> Fields | Denial:
        used = balances.get("default", "all").open
        if used >= self.limit:
            reason = f"{used} requests are running, {self.limit} may"
            return Denial(reasons=[reason], fields={"limit": self.limit, "used": used})
        minute = max(time_ns // MINUTE_NS, balances.get("default", "all").minute)
        return {"reservation_json": reservation(minute, ["all"], tokens=self.tokens)}


def reservation(minute: int, scopes: list[str], *, tokens: int = 0, spend: int = 0) -> str:
    """The reservation of an open decision, as its entry says it."""
    return json.dumps({"minute": minute, "scopes": scopes, "tokens": tokens, "spend_nanousd": spend})


class Make:
    """The three intents that most tests need, with every member optional."""

    decided = staticmethod(decided)
    completed = staticmethod(completed)
    change = staticmethod(change)
    at_most = AtMost


@pytest.fixture(scope="session")
def make() -> type[Make]:
    return Make


@pytest.fixture
def new_log(tmp_path: Path) -> Iterator[Callable[[], Log]]:
    logs: list[Log] = []

    def create() -> Log:
        logs.append(Log(tmp_path / f"data-{len(logs)}"))
        return logs[-1]

    yield create
    for log in logs:
        log.close()


@pytest.fixture
def log(new_log: Callable[[], Log]) -> Log:
    return new_log()
