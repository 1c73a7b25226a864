"""`Idempotency-Key`: a POST that is sent again with the same key is not carried out again.

The key is recorded in the transaction of the change, so either both are there or neither. The answer follows; if the
process dies in between, a repeated request is told that the change was made. Secrets are not kept: a repeated answer
says that there was one, and has null in its place. Only what was carried out is recorded; a refused request may be
sent again with the same key. An operator with more than its share of the room for answers loses its own oldest ones.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson
from sqlmodel import Session, col, delete, func, select

from gateway.control.callers import Caller
from gateway.control.operation import Answer, Operation
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.registry.database import Registry, Step
from gateway.registry.documents import plain
from gateway.registry.models import Operator, RepeatableRequest
from gateway.shares import Kind, has_room

logger = logging.getLogger("gateway.control.repeats")

KEPT_NS: Final = 24 * 3600 * 10**9

PIECES: Final = 8192
"""Room for the answers of all operators, in pieces; the smallest answer takes one."""
_PIECE: Final = 4096
_SIZE: Final = 1 + func.coalesce(func.length(col(RepeatableRequest.answer)), 0).op("/")(_PIECE)

_KEY: Final = re.compile(r"[!-~]{1,128}")


class Repeats:
    """Recognizes requests with the same idempotency key of one operator. Does nothing without a key."""

    def __init__(self, operator: str, key: str | None, digest: bytes) -> None:
        self._operator = operator
        self._key = key
        self._digest = digest

    @classmethod
    def of(
        cls,
        headers: Mapping[bytes, bytes],
        operation: Operation,
        caller: Caller,
        path: Mapping[str, str],
        query: bytes,
        body: bytes,
    ) -> Repeats:
        given = headers.get(b"idempotency-key")
        if given is None or not operation.repeatable:
            return cls(caller.operator.id, None, b"")
        key = given.decode("latin-1")
        if not _KEY.fullmatch(key):
            raise Problem(400, "bad_request", "Idempotency-Key must be 1 to 128 printable characters")
        what = orjson.dumps([operation.method, operation.path, dict(path), query.decode("latin-1")])
        return cls(caller.operator.id, key, hashlib.sha256(what + b"\0" + body).digest())

    @property
    def before(self) -> list[Step]:
        return [] if self._key is None else [self._refuse]

    @property
    def after(self) -> list[Step]:
        return [] if self._key is None else [self._record]

    def answered(self, registry: Registry) -> tuple[int, bytes] | None:
        """The answer of the request that was carried out with this key; None if there was none."""
        if self._key is None:
            return None
        with registry.read() as session:
            row = self._row(session)
            if row is None:
                return None
            if row.status is None or row.answer is None:
                raise _unknown_answer()
            return row.status, row.answer

    def remember(self, registry: Registry, operation: Operation, answer: Answer) -> None:
        """Keep the answer for repeated requests. It is given whether that succeeds or not."""
        if self._key is None:
            return
        try:
            self._keep(registry, operation, answer)
        except GatewayError as error:
            logger.warning("an answer is not kept for repeated requests: %s", error)

    def _keep(self, registry: Registry, operation: Operation, answer: Answer) -> None:
        body = answer.body if operation.once is None else {**answer.body, operation.once: None}
        with registry.write() as session:
            row = self._row(session)
            if row is not None:
                row.status, row.answer = operation.status, orjson.dumps(plain(body))
                self._make_room(session)

    def _row(self, session: Session) -> RepeatableRequest | None:
        """The request with this key, if it is not too old; raises `Problem` if it was another one."""
        assert self._key is not None
        row = session.get(RepeatableRequest, (self._operator, self._key))
        if row is None or row.created_ns < time.time_ns() - KEPT_NS:
            return None
        if row.digest != self._digest:
            hint = "use a new key for each request, and the same one only to repeat it"
            raise Problem(422, "idempotency_mismatch", "this Idempotency-Key belongs to another request", hint=hint)
        return row

    def _refuse(self, session: Session) -> None:
        """At the beginning of the change: another request with this key may have come first."""
        if self._row(session) is not None:
            raise _unknown_answer()

    def _record(self, session: Session) -> None:
        now = time.time_ns()
        old = col(RepeatableRequest.created_ns) < now - KEPT_NS
        session.exec(delete(RepeatableRequest).where(old))
        assert self._key is not None
        session.add(RepeatableRequest(operator_id=self._operator, key=self._key, digest=self._digest, created_ns=now))
        self._make_room(session)

    def _make_room(self, session: Session) -> None:
        """Forget the oldest answers of this operator, and of its organization, beyond their shares."""
        operator, home = col(Operator.id), col(Operator.organization_id)
        kept = col(RepeatableRequest.operator_id) == operator
        session.flush()
        groups = session.exec(select(operator, home, func.sum(_SIZE)).where(kept).group_by(operator)).all()
        free = PIECES - sum(size for _, _, size in groups)
        mine = next(organization for identifier, organization, _ in groups if identifier == self._operator)
        sides: list[tuple[Kind, Any, str | None]] = [
            ("operator", operator, self._operator),
            ("organization", home, mine),
        ]
        for kind, column, holder in sides:
            if holder is None:
                continue  # an operator of the whole gateway
            held = sum(size for *of, size in groups if holder in of)
            if has_room(kind, held, free, 0):
                continue
            key = col(RepeatableRequest.key)
            rows = select(operator, key, _SIZE).where(kept, column == holder)
            for owner, name, size in session.exec(rows.order_by(col(RepeatableRequest.created_ns))).all():
                if has_room(kind, held, free, 0) or (owner, name) == (self._operator, self._key):
                    break  # the newest one stays, however large it is
                of_row = col(RepeatableRequest.operator_id) == owner
                session.exec(delete(RepeatableRequest).where(of_row, key == name))
                held, free = held - size, free + size


def _unknown_answer() -> Problem:
    detail = "the request with this Idempotency-Key was carried out, but its answer is not known here yet"
    return Problem(409, "already_carried_out", detail, hint="read what it made or changed")
