"""A data worker's side of approvals: find the request of a call, add one, and say that it was used.

A worker writes to the registry itself here, and nowhere else, with the entry beside the row as every change has it. So
what a client was told of is durable, and found by every process. Rows are read anew for each call that needs one: such
calls are few, and nothing may be stale. The log decides whether an approval can be used (`gateway/audit/grants.py`).
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson

from gateway.approvals.calls import RawCall, committed, committed_pattern, committed_person
from gateway.audit import grants
from gateway.audit.approval_check import MAX_SECONDS
from gateway.audit.draft import draft
from gateway.audit.entry import SALT_BYTES
from gateway.audit.errors import AuditError
from gateway.audit.intents import Changed, Fields
from gateway.errors import Denied
from gateway.identifiers import new_id
from gateway.policy.approvals import Requirement, documents, escalation_times
from gateway.registry import approvals
from gateway.secrets.vault import Vault

MAX_OF_AGENT: Final = 100
MAX_OF_ORGANIZATION: Final = 10_000
"""Requests that wait at a time."""

_BUSY_SECONDS: Final = 10.0
_COLUMNS: Final = "SELECT id, state, salt, requirements, expires_ns, decision_id, left_ns FROM approval_request"
_FOUND: Final = f"{_COLUMNS} WHERE agent_id = ? AND digest = ?"
_ALIKE: Final = f"""
{_COLUMNS} WHERE agent_id = ? AND pattern = ? AND for_pattern AND state = 'approved' AND expires_ns > ?
 ORDER BY id LIMIT 1
"""
_REVIEWERS: Final = "SELECT actor FROM approval_review WHERE request_id = ? AND verdict = 'approved' ORDER BY actor"
_RESPONSIBLE: Final = "SELECT owner, team FROM agent WHERE id = ?"
_DETACH: Final = "UPDATE approval_request SET digest = NULL WHERE agent_id = ? AND digest = ? AND expires_ns <= ?"
_COUNT: Final = """
SELECT count(*), count(*) FILTER (WHERE agent_id = ?) FROM approval_request INDEXED BY approval_request_unsettled
 WHERE organization_id = ? AND state IN ('waiting', 'approved') AND state = 'waiting'
"""
_INSERT: Final = """
INSERT INTO approval_request (id, organization_id, agent_id, key_id, digest, salt, commitment, state,
                              requirements, call, sealed, decision_id, created_ns, expires_ns, escalates_ns, reason,
                              pattern, pattern_commitment, person_commitment, uses, used, for_pattern)
VALUES (?, ?, ?, ?, ?, ?, ?, 'waiting', ?, ?, ?, ?, ?, ?, ?, '', ?, ?, ?, 1, 0, false)
"""
_OUTBOX: Final = """
INSERT INTO outbox (event_id, organization, kind, entry, epoch, created_ns)
VALUES (?, ?, 'change', ?, (SELECT value FROM epoch), ?)
"""
_JOIN: Final = "UPDATE approval_request SET left_ns = 0 WHERE id = ? AND state = 'waiting'"
_LEAVE: Final = "UPDATE approval_request SET left_ns = ? WHERE id = ? AND state = 'waiting' AND left_ns IS NULL"
_COUNT_USE: Final = "UPDATE approval_request SET used = max(used, ?) WHERE id = ? AND state = 'approved'"
_SETTLED: Final = """
SELECT asked.value, coalesce(request.state, '')
  FROM json_each(?) AS asked LEFT JOIN approval_request AS request ON request.id = asked.value
 WHERE request.state IS NOT 'waiting'
"""
_USED: Final = """
UPDATE approval_request SET state = 'used', settled_ns = ?, settled_by = ?, digest = NULL, pattern = NULL, sealed = NULL
 WHERE id = ? AND state = 'approved' AND used >= uses
"""


class AskedRequest(NamedTuple):
    """The request of a call, as a worker sees it."""

    id: str
    state: str
    salt: bytes
    requirements: list[dict[str, Any]]
    expires_ns: int
    # The decision that has asked for it.
    decision_id: str
    # When the client has left that asked, if no other one knows of it; 0 if one does.
    left_ns: int | None = None

    def stands(self, now_ns: int) -> bool:
        """True while it says something about the call; one whose time is over says nothing."""
        return now_ns < self.expires_ns and self.state in ("waiting", "approved", "denied")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """A call that needs an approval, and the decision that found that."""

    call: RawCall = field(repr=False)
    digest: bytes
    # Of what it has in common with calls that are alike; None if an approval is for this call only.
    pattern: bytes | None
    requirements: tuple[Requirement, ...]
    key_id: str
    decision_id: str
    # The facts that lists and entries may show: no content.
    about: Fields

    @property
    def seconds(self) -> int:
        """How long it waits: the shortest time that a policy wants."""
        return min(MAX_SECONDS, *(each.expires_seconds for each in self.requirements))


class Askings:
    """The requests in one registry; threads may share it. `boot` is the process, as entries name it."""

    def __init__(self, path: Path, vault: Vault, boot: str) -> None:
        self._path = path
        self._vault = vault
        self._boot = boot
        self._turn = threading.Lock()

    def find(self, agent_id: str, digest: bytes, pattern: bytes | None, now_ns: int) -> AskedRequest | None:
        """The request of this call of an agent, if there is one that stands or could; or an approval of calls alike."""
        with self._opened() as db:
            return _one(db, agent_id, digest, pattern, now_ns)

    def approval(self, request: AskedRequest) -> dict[str, Any]:
        """The member `approval` of the input document of a call that uses this request."""
        with self._opened() as db:
            reviewers = [actor for (actor,) in db.execute(_REVIEWERS, (request.id,))]
        return {
            "id": request.id,
            "requirements": request.requirements,
            "reviewers": reviewers,
            "expires_ns": request.expires_ns,
        }

    def ask(self, asking: Asking, now_ns: int) -> AskedRequest:
        """The request of this call: the one that stands, or a new one. Raises `Denied` if too many wait."""
        agent = asking.call.agent_id
        with self._opened() as db:
            # Whoever asks again, or has asked for too much, must not make others wait for the registry.
            found = _one(db, agent, asking.digest, asking.pattern, now_ns)
            if found is not None and found.stands(now_ns):
                return found
            if found is None:
                _check_room(db, asking.call)
        with self._writing() as db:
            db.execute(_DETACH, (agent, asking.digest, now_ns))
            found = _one(db, agent, asking.digest, asking.pattern, now_ns)
            if found is not None:
                return found
            return self._add(db, asking, _check_room(db, asking.call), now_ns)

    def join(self, request: AskedRequest) -> bool:
        """Another client waits for this request, so it stays if the first one leaves. False if it waits no more."""
        if request.left_ns == 0 or request.state != "waiting":
            return True
        with self._writing() as db:
            return db.execute(_JOIN, (request.id,)).rowcount == 1

    def leave(self, request: str, now_ns: int) -> None:
        """The client has gone that asked; the control process closes the request if no other one comes soon."""
        with self._writing() as db:
            db.execute(_LEAVE, (now_ns, request))

    def used(self, request: str, decision: str, number: int, now_ns: int) -> None:
        """The log has it that this decision has used the approval, as the first, the second…: say so where people look.

        Uses may be noted in another order than they were made.
        """
        with self._writing() as db:
            db.execute(_COUNT_USE, (number, request))
            db.execute(_USED, (now_ns, decision, request))

    def settled(self, requests: Collection[str]) -> dict[str, str]:
        """The states of those of these requests that wait no more; that of one which is gone is empty."""
        with self._opened() as db:
            return dict(db.execute(_SETTLED, (orjson.dumps([*requests]).decode(),)))

    def _add(self, db: sqlite3.Connection, asking: Asking, organization_id: str, now_ns: int) -> AskedRequest:
        call, identifier = asking.call, new_id("apr")
        salt = os.urandom(SALT_BYTES)
        promise = committed(salt, asking.digest)
        expires_ns = now_ns + asking.seconds * 10**9
        demanded = documents(asking.requirements)
        owner, team = db.execute(_RESPONSIBLE, (call.agent_id,)).fetchone()
        about = {**asking.about, "owner": owner, "team": team}
        fields: dict[str, Any] = {
            **about,
            "agent": call.agent_id,
            "approval": identifier,
            "approval_commitment": promise,
            "approvals_json": _text(demanded),
            "decision": asking.decision_id,
            "expires_ns": str(expires_ns),
        }
        if alike := committed_pattern(salt, asking.pattern):
            fields["pattern_commitment"] = alike
        intent = Changed(
            organization=call.organization,
            event_id=identifier,
            actor=call.agent_id,
            what=grants.REQUESTED,
            fields=fields,
        )
        entry = {"actor": intent.actor, "what": intent.what, "fields": fields}
        try:
            draft(intent, self._boot)  # an entry that the log cannot hold would block the outbox for ever
        except AuditError as error:
            raise Denied("policy_error", f"the request for approval cannot be recorded: {error.message}") from error
        sealed = self._vault.seal(call.shown(), approvals.place(call.organization, identifier))
        db.execute(
            _INSERT,
            (
                *(identifier, organization_id, call.agent_id, asking.key_id, asking.digest, salt, promise),
                *(_text(demanded), _text(about), sealed, asking.decision_id, now_ns, expires_ns),
                min(escalation_times(demanded, now_ns).values(), default=None),
                *(asking.pattern, alike, committed_person(salt, call.person)),
            ),
        )
        db.execute(_OUTBOX, (identifier, call.organization, _text(entry), now_ns))
        return AskedRequest(identifier, "waiting", salt, demanded, expires_ns, asking.decision_id)

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self._path.absolute().as_uri()}?mode=rw"  # a missing file is an error, not an empty database
        try:
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None, timeout=_BUSY_SECONDS)) as db:
                db.execute("PRAGMA synchronous = FULL")
                db.execute("PRAGMA secure_delete = ON")
                db.execute("PRAGMA foreign_keys = ON")
                yield db
        except (sqlite3.Error, TypeError) as error:  # TypeError: a row is gone
            raise Denied("registry_unavailable", f"approvals: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction; all of it is durable when the block has ended, or nothing."""
        with self._turn, self._opened() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")


def _check_room(db: sqlite3.Connection, call: RawCall) -> str:
    """The id of the call's organization, where another call may wait."""
    (organization_id,) = db.execute("SELECT id FROM organization WHERE name = ?", (call.organization,)).fetchone()
    of_all, of_agent = db.execute(_COUNT, (call.agent_id, organization_id)).fetchone()
    if of_agent >= MAX_OF_AGENT or of_all >= MAX_OF_ORGANIZATION:
        whose = "this agent" if of_agent >= MAX_OF_AGENT else "this organization"
        raise Denied(grants.REASON, reasons=[f"too many calls of {whose} wait for an approval already"])
    return str(organization_id)


def _one(
    db: sqlite3.Connection, agent_id: str, digest: bytes, pattern: bytes | None, now_ns: int
) -> AskedRequest | None:
    """The word of people on this very call goes before an approval of calls that are like it."""
    row = db.execute(_FOUND, (agent_id, digest)).fetchone()
    is_decided = row is not None and row[1] in ("approved", "denied") and now_ns < row[4]
    if pattern is not None and not is_decided:
        row = db.execute(_ALIKE, (agent_id, pattern, now_ns)).fetchone() or row
    if row is None:
        return None
    identifier, state, salt, requirements, expires_ns, decision_id, left_ns = row
    return AskedRequest(identifier, state, salt, orjson.loads(requirements), expires_ns, decision_id, left_ns)


def _text(value: Any) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
