"""The calls of tools that models have proposed to agents in the last minutes: the decision behind a call of a tool.

A row is written before the client sees the end of the answer that proposes the call, so it is there when the call
comes, also through another worker. Arguments and persons are kept as hashes under a pepper. A lost row makes a call one
that nobody has proposed. Rows are forgotten after `KEEP_SECONDS`.
Specification: docs/reference/policies.md, "The answer that proposed a call".
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principal
from gateway.runtime.store import RuntimeStore, denied

logger = logging.getLogger("gateway.runtime.proposals")

KEEP_SECONDS: Final = 900
_MOST: Final = 200  # of one agent: the newest are looked at
_LONGEST: Final = 256  # characters of a name
_SEPARATORS: Final = "_.-/:"
_ADD: Final = "INSERT OR IGNORE INTO proposal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_FIND: Final = """
SELECT name, arguments, decision, model, time_ns FROM proposal
 WHERE organization = ? AND agent = ? AND person = ? AND time_ns > ? ORDER BY time_ns DESC LIMIT ?
"""
_FORGET: Final = """
DELETE FROM proposal WHERE (organization, agent, decision, number) IN (
  SELECT organization, agent, decision, number FROM proposal WHERE time_ns < ? LIMIT ?
)
"""


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

    async def find(self, principal: Principal, name: str, arguments: Mapping[str, Any]) -> dict[str, Any] | None:
        """The answer that proposed a call of a tool, as policies see it; None if nobody has. Raises `Denied`.

        It is the newest that has the same arguments or, if there is none, the newest with that name. A client may put
        the name of the server before that of the tool.
        """
        now, pepper = time.time_ns(), self._peppers.current
        whose = principal.organization, principal.agent_id, self._person(principal, pepper)
        try:
            rows = await self._store.look(self._store.rows, _FIND, (*whose, now - KEEP_SECONDS * 10**9, _MOST))
        except GatewayError as error:
            raise denied("proposals", error) from error
        named = [row for row in rows if _means(row[0], name)]
        if not named:
            return None
        digest = _digest(arguments, pepper)
        row = next((row for row in named if row[1] == digest), named[0])
        return {
            "decision": row[2],
            "model": row[3] or None,
            "same_arguments": row[1] == digest,
            "seconds": max(0, now - row[4]) // 10**9,
        }

    def _add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with self._store.transaction() as made:
            made.run_for(_ADD, rows)

    def _person(self, principal: Principal, pepper: bytes) -> str:
        """The person for whom the agent acts: what was proposed to one is not another's."""
        person = principal.person
        return "" if person is None else _hashed(pepper, f"{person['issuer']}\0{person['subject']}".encode())


def forget_old(store: RuntimeStore, now_ns: int) -> int:
    """Forget what is older than `KEEP_SECONDS`; returns how much that was. Blocks."""
    return store.forget(_FORGET, (now_ns - KEEP_SECONDS * 10**9,))


def _means(proposed: str, name: str) -> bool:
    """True if a name that was proposed is that of a tool, perhaps with its server's before it."""
    if proposed == name:
        return True
    return proposed.endswith(name) and proposed[-len(name) - 1] in _SEPARATORS


def _of_text(text: str, pepper: bytes) -> str | None:
    """The digest of arguments as a model wrote them; None if they are no JSON object."""
    try:
        found = orjson.loads(text or "{}")
    except ValueError:
        return None
    return _digest(found, pepper) if isinstance(found, dict) else None


def _digest(arguments: Mapping[str, Any], pepper: bytes) -> str:
    """A digest that does not depend on the order of members, nor on how a number is written."""
    return _hashed(pepper, orjson.dumps(_plain(arguments), option=orjson.OPT_SORT_KEYS))


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
