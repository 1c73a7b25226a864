"""Checks the operator's token of a request to the control API, and limits how often an address may fail at that.

All wrong tokens get the same answer, and it takes the same work, whether their id exists or not. After some failures an
address is refused for a while without a look at the registry, except with a token that was right from there before: a
stranger beside an operator must not lock the operator out.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from sqlmodel import Session

from gateway.control.callers import Caller
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.identity import credentials
from gateway.identity.credentials import Credential, Peppers
from gateway.registry.database import Registry
from gateway.registry.models import OperatorToken
from gateway.registry.operators import operators
from gateway.registry.records import OperatorRecord, OperatorTokenRecord
from gateway.shares import network_of

logger = logging.getLogger("gateway.control.gate")

FAILURES: Final = 10
"""The number of times that an address may fail within `WINDOW_SECONDS`."""
WINDOW_SECONDS: Final = 60.0
_ADDRESSES: Final = 10_000
_GOOD: Final = 1024
_LONGEST: Final = 512

_CHALLENGE: Final = ("www-authenticate", 'Bearer realm="gateway control API"')


class Gate:
    """Owned by the control process; threads share it. `caller` blocks: call it from a thread."""

    def __init__(
        self,
        registry: Registry,
        peppers: Peppers,
        clock: Callable[[], float] = time.monotonic,
        later: Callable[[Callable[[], None]], None] = lambda work: work(),
    ) -> None:
        """`later` has a change made for which no caller waits."""
        self._registry = registry
        self._peppers = peppers
        self._failures = Failures(clock)
        self._later = later
        self._renewing: set[str] = set()

    def caller(self, headers: Iterable[tuple[bytes, bytes]], address: str) -> Caller:
        """Who asks. Raises `Problem` with 401, or 429 if the address has failed too often."""
        try:
            presented = _presented(headers)
        except Problem:
            self._failures.count(address)
            raise
        seen = hashlib.sha256(presented.material).digest()
        self._failures.check(address, seen)
        with self._registry.read() as session:
            row, found = self._find(session, presented)
        if found is None:
            self._failures.count(address)
            raise _unauthenticated("the token is unknown, wrong, revoked or expired")
        self._failures.succeeded(address, seen)
        if row is not None and row.pepper < self._peppers.newest and presented.id not in self._renewing:
            # Not now: it waits for whoever changes the registry.
            self._renewing.add(presented.id)
            self._later(lambda: self._renew(presented))
        return found

    def check_again(self, session: Session, caller: Caller) -> None:
        """Raise unless the operator still is what it was when its request began. For the transaction of a change."""
        found = operators.by_credential(session, caller.token.token_id.removeprefix(credentials.label("operator", "")))
        if found is None or not _works(found[1], found[2]) or found[1].role != caller.operator.role:
            raise _unauthenticated("the token is unknown, wrong, revoked or expired")

    def _find(self, session: Session, presented: Credential) -> tuple[OperatorToken | None, Caller | None]:
        found = operators.by_credential(session, presented.id)
        row = None if found is None else found[0]
        right = self._matches(presented, row)
        if found is None or not right or not _works(found[1], found[2]):
            return row, None
        return row, Caller(operator=found[1], token=found[2])

    def _renew(self, presented: Credential) -> None:
        """Move the hash of a token that was right to the newest pepper."""
        try:
            with self._registry.write() as session:
                found = operators.by_credential(session, presented.id)
                if found is not None and found[0].pepper < self._peppers.newest:
                    found[0].digest = credentials.digest(presented, self._peppers.current)
                    found[0].pepper = self._peppers.newest
        except GatewayError as error:
            logger.warning("the hash of a token stays with an older pepper for now: %s", error)
        finally:
            self._renewing.discard(presented.id)

    def _matches(self, presented: Credential, row: OperatorToken | None) -> bool:
        pepper = None if row is None else self._peppers.get(row.pepper)
        if row is None or pepper is None:
            # The same work as for a known token, so that the time does not tell which ids exist.
            credentials.matches(presented, bytes(32), self._peppers.current)
            return False
        return credentials.matches(presented, row.digest, pepper)


class Failures:
    """Counts how often addresses have failed lately, or done something else that is limited. Threads share it."""

    def __init__(self, clock: Callable[[], float], what: str = "wrong tokens", most: int = FAILURES) -> None:
        self._clock = clock
        self._what = what
        self._most = most
        self._guard = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()  # a count, and the time it began
        self._good: OrderedDict[tuple[str, bytes], None] = OrderedDict()

    def check(self, address: str, token: bytes) -> None:
        """Raise `Problem` 429 if the address has failed too often, unless it had this token and it was right."""
        key = network_of(address)
        with self._guard:
            count, since = self._counts.get(key, (0, 0.0))
            left = since + WINDOW_SECONDS - self._clock()
            if count < self._most or left <= 0 or (key, token) in self._good:
                return
        raise self._too_many(left)

    def count(self, address: str) -> None:
        """A failure. Raises `Problem` 429 if it is one too many."""
        key, now = network_of(address), self._clock()
        with self._guard:
            count, since = self._counts.pop(key, (0, now))
            if now - since >= WINDOW_SECONDS:
                count, since = 0, now
            self._counts[key] = count + 1, since
            if len(self._counts) > _ADDRESSES:
                self._counts.popitem(last=False)
        if count + 1 == self._most:
            logger.warning("%d %s came from %s; more are refused for a while", self._most, self._what, address)
        if count >= self._most:
            raise self._too_many(since + WINDOW_SECONDS - now)

    def succeeded(self, address: str, token: bytes) -> None:
        with self._guard:
            self._good[network_of(address), token] = None
            self._good.move_to_end((network_of(address), token))
            if len(self._good) > _GOOD:
                self._good.popitem(last=False)

    def _too_many(self, seconds: float) -> Problem:
        wait = str(max(1, round(seconds)))
        detail = f"too many {self._what} came from this address"
        return Problem(429, "too_many_failures", detail, hint=f"wait {wait} s", headers=[("retry-after", wait)])


def _presented(headers: Iterable[tuple[bytes, bytes]]) -> Credential:
    """The token in the one Authorization header, well-formed but not looked up."""
    values = [value for name, value in headers if name == b"authorization"]
    if not values:
        raise _unauthenticated("no operator's token was sent")
    if len(values) > 1:
        raise Problem(400, "bad_request", "the request has several Authorization headers", hint="send one")
    scheme, _, text = values[0].partition(b" ")
    if scheme.lower() != b"bearer" or len(text) > _LONGEST:
        raise _unauthenticated("the Authorization header is not of the form `Bearer aig_op_…`")
    presented = credentials.parse(text.strip(b" \t").decode("latin-1"))
    if presented is None:
        raise _unauthenticated("what was sent is not a token of this gateway")
    if presented.kind != "operator":
        raise _unauthenticated("an agent's key opens nothing here")
    return presented


def _works(holder: OperatorRecord, token: OperatorTokenRecord) -> bool:
    return holder.status == "active" and token.status(time.time_ns()) == "active"


def _unauthenticated(detail: str) -> Problem:
    hint = "send `Authorization: Bearer aig_op_…`; `gateway operators token create NAME` makes a token"
    return Problem(401, "bad_credentials", detail, hint=hint, headers=[_CHALLENGE])
