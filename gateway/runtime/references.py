"""The state at providers that agents have created. An agent may refer to its own state without a policy's permission.

Rows live in `runtime.db`. They are written before the client sees the end of the answer that created the state, so that
it can refer to it at once, also through another worker. The log lists the same state (`created_json` of a `completed`
entry). A lost row makes a reference foreign, which denies. Rows are forgotten after `KEEP_DAYS`, for which OpenAI keeps
answers; the control process sees to that. State that a provider keeps until it is deleted is never forgotten.
Specification: architecture.md, sections 6 and 13.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from gateway.call import Reference
from gateway.errors import GatewayError
from gateway.runtime.store import RuntimeStore, denied
from gateway.usage.bounds import KeptState

_ADD_USAGE = "INSERT OR IGNORE INTO response_usage VALUES (?, ?, ?, ?, ?, ?, ?)"
_FIND_USAGE = "SELECT agent, model, tokens FROM response_usage WHERE organization = ? AND upstream = ? AND id = ?"
_FORGET_USAGE = """
DELETE FROM response_usage WHERE (organization, upstream, id) IN (
  SELECT organization, upstream, id FROM response_usage WHERE created_ns < ? ORDER BY created_ns LIMIT ?
)
"""
_FIND = "SELECT agent FROM reference WHERE organization = ? AND upstream = ? AND kind = ? AND id = ?"
# The first agent created it: an id cannot be taken over.
_ADD = "INSERT OR IGNORE INTO reference VALUES (?, ?, ?, ?, ?, ?)"
_FORGET = """
DELETE FROM reference WHERE (organization, upstream, kind, id) IN (
  SELECT organization, upstream, kind, id FROM reference
  WHERE created_ns < ? AND kind NOT IN ('file', 'vector_store', 'conversation') ORDER BY created_ns LIMIT ?
)
"""

KEEP_DAYS = 30
_DAY_NS = 86_400_000_000_000


class References:
    """Call `foreign` and `usage_of` on an event loop. All else blocks, and raises `GatewayError`."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store

    async def foreign(
        self, organization: str, upstream: str, agent: str, references: Iterable[Reference]
    ) -> tuple[Reference, ...]:
        """The references to state that this agent did not create at this upstream (its id) through this gateway."""
        if not references:
            return ()

        def find() -> tuple[Reference, ...]:
            where = organization, upstream
            rows = self._store.rows
            return tuple(each for each in references if rows(_FIND, (*where, each.kind, each.id)) != [(agent,)])

        try:
            return await self._store.look(find)
        except GatewayError as error:
            raise denied("references", error) from error

    async def usage_of(self, organization: str, upstream: str, agent: str, response: str) -> KeptState | None:
        """The model that was asked for a response of this agent, and what that call has used; None if not known."""
        try:
            found = await self._store.look(self._store.rows, _FIND_USAGE, (organization, upstream, response))
        except GatewayError as error:
            raise denied("references", error) from error
        return KeptState(found[0][1], found[0][2]) if found and found[0][0] == agent else None

    def remember_usage(self, organization: str, upstream: str, agent: str, response: str, kept: KeptState) -> None:
        """Record what the call has used that made a response."""
        self._store.run(_ADD_USAGE, (organization, upstream, response, agent, *kept, time.time_ns()))

    def remember(self, organization: str, upstream: str, agent: str, created: Iterable[Reference]) -> None:
        """Record that an agent has created this state."""
        now = time.time_ns()
        with self._store.transaction() as made:
            made.run_for(_ADD, [(organization, upstream, each.kind, each.id, agent, now) for each in created])

    def forget_old(self, now_ns: int) -> int:
        """Forget what is older than `KEEP_DAYS`; returns how much that was."""
        before_ns = now_ns - KEEP_DAYS * _DAY_NS
        return self._store.forget(_FORGET, (before_ns,)) + self._store.forget(_FORGET_USAGE, (before_ns,))
