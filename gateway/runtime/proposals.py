"""The calls of tools that models have proposed to agents in the last minutes: the decision behind a call of a tool.

A row is written before the client sees the end of the answer that proposes the call, so it is there when the call
comes, also through another worker. Arguments and persons are kept as hashes under a pepper. A lost row makes a call one
that nobody has proposed. Rows are forgotten after `KEEP_SECONDS`.
Specification: docs/reference/policies.md, "The answer that proposed a call".
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principal
from gateway.runtime.store import RuntimeStore, denied, seen

logger = logging.getLogger("gateway.runtime.proposals")

KEEP_SECONDS: Final = 900
COUNTED_SECONDS: Final = 86_400
"""For so long after the last one it is known how many calls nobody had proposed."""

_MOST: Final = 200  # of one agent: the newest are looked at
_LONGEST: Final = 256  # characters of a name
_SEPARATORS: Final = "_.-/:"
_ADD: Final = "INSERT OR IGNORE INTO proposal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND: Final = """
SELECT name, arguments, decision, model, time_ns FROM proposal
 WHERE organization = ? AND agent = ? AND person = ? AND time_ns > ? ORDER BY time_ns DESC LIMIT ?
"""
_COUNT: Final = """
INSERT INTO unproposed_call VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT (organization, agent)
DO UPDATE SET calls = calls + 1, decision = excluded.decision, last_ns = max(last_ns, excluded.last_ns)
"""
_COUNTED: Final = "SELECT organization, agent, calls, decision, first_ns FROM unproposed_call ORDER BY last_ns DESC"
_FORGET_COUNTS: Final = """
DELETE FROM unproposed_call WHERE (organization, agent) IN (
  SELECT organization, agent FROM unproposed_call WHERE last_ns < ? LIMIT ?
)
"""
_FORGET: Final = """
DELETE FROM proposal WHERE (organization, agent, decision, number) IN (
  SELECT organization, agent, decision, number FROM proposal WHERE time_ns < ? LIMIT ?
)
"""


class Unproposed(NamedTuple):
    """How many calls of tools of an agent (its id) no model had proposed since a time; the last of these decisions."""

    organization: str
    agent: str
    calls: int
    decision: str
    first_ns: int


class Proposals:
    """Call `remember` and `find` on an event loop."""

    def __init__(self, store: RuntimeStore, peppers: Peppers) -> None:
        self._store = store
        self._peppers = peppers

    async def remember(
        self, principal: Principal, decision: str, model: str | None, calls: Iterable[tuple[str, str]]
    ) -> None:
        """Record the calls, each with its name and its arguments as JSON, that the answer of a decision proposes."""
        now, pepper = time.time_ns(), self._peppers.current
        whose = principal.organization, principal.agent_id
        rows = [
            (*whose, decision, number, self._person(principal, pepper), name[:_LONGEST], digest, model or "", now)
            for number, (name, text) in enumerate(calls)
            if (digest := _of_text(text, pepper)) is not None
        ]
        try:
            await self._store.note(self._add, rows)
        except GatewayError as error:
            logger.error("%s: %s", decision, error.message)

    async def find(
        self, principal: Principal, name: str, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any] | None, bool]:
        """The answer that proposed a call of a tool, as policies see it; None if nobody has. Raises `Denied`.

        It is the newest that has the same arguments or, if there is none, the newest with that name. A client may put
        the name of the server before that of the tool. It is also told whether models propose calls to this agent.
        """
        now, pepper = time.time_ns(), self._peppers.current
        whose = principal.organization, principal.agent_id, self._person(principal, pepper)
        try:
            rows = await self._store.look(self._store.rows, _FIND, (*whose, now - KEEP_SECONDS * 10**9, _MOST))
        except GatewayError as error:
            raise denied("proposals", error) from error
        named = [row for row in rows if _means(row[0], name)]
        if not named:
            return None, rows != []
        digest = _digest(arguments, pepper)
        row = next((row for row in named if row[1] == digest), named[0])
        found = {
            "decision": row[2],
            "model": row[3] or None,
            "same_arguments": row[1] == digest,
            "seconds": max(0, now - row[4]) // 10**9,
        }
        return found, True

    async def count(self, principal: Principal, decision: str) -> None:
        """Count a call that was let through although no model has proposed it, as models do propose this agent's."""
        now = time.time_ns()
        try:
            whose = principal.organization, principal.agent_id
            await self._store.note(self._store.run, _COUNT, (*whose, decision, now, now))
        except GatewayError as error:
            logger.error("%s: %s", decision, error.message)

    def _add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._store.transaction() as made:
            made.run_for(_ADD, rows)

    def _person(self, principal: Principal, pepper: bytes) -> str:
        """The person for whom the agent acts: what was proposed to one is not another's."""
        person = principal.person
        return "" if person is None else _hashed(pepper, f"{person['issuer']}\0{person['subject']}".encode())


def forget_old(store: RuntimeStore, now_ns: int) -> int:
    """Forget what is older than `KEEP_SECONDS`; returns how much that was. Blocks."""
    counts = store.forget(_FORGET_COUNTS, (now_ns - COUNTED_SECONDS * 10**9,))
    return counts + store.forget(_FORGET, (now_ns - KEEP_SECONDS * 10**9,))


def counted(path: Path) -> list[Unproposed]:
    """The agents with calls that nobody had proposed, those with the newest first. Blocks."""
    return [Unproposed(*row) for row in seen(path, _COUNTED)]


def _means(proposed: str, name: str) -> bool:
    """True if a name that was proposed is that of a tool, perhaps with its server's before it."""
    if proposed == name:
        return True
    return proposed.endswith(name) and proposed[-len(name) - 1] in _SEPARATORS


def _of_text(text: str, pepper: bytes) -> str | None:
    """The digest of arguments as a model wrote them; None if they are no JSON object."""
    try:
        found = json.loads(text or "{}")
        return _digest(found, pepper) if isinstance(found, dict) else None
    except (ValueError, RecursionError):
        return None


def _digest(arguments: Mapping[str, Any], pepper: bytes) -> str:
    """A digest that does not depend on the order of members, nor on how a number is written."""
    # Not orjson: arguments may have any whole number, and half of a surrogate pair.
    return _hashed(pepper, json.dumps(_plain(arguments), sort_keys=True, separators=(",", ":")).encode())


def _plain(value: Any) -> Any:
    """The same value with numbers as most clients write them again: 1.0 is 1."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def _hashed(pepper: bytes, text: bytes) -> str:
    return hmac.new(pepper, b"proposal\0" + text, hashlib.sha256).hexdigest()
