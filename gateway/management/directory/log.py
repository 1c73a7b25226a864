"""The audit log of a data directory, or of a copy that has nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from gateway.audit import lookup, proofs, search, storage
from gateway.audit.proofs import Proof
from gateway.audit.search import Filters, Found
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management.port.log import Listed, LookedUp
from gateway.processes import local


@dataclass(slots=True)
class DirectoryListing:
    """`Listing` of `port/log.py`."""

    entries: Sequence[Listed]
    stopped_ns: int | None
    looked_at: int
    _db: sqlite3.Connection
    _filters: Filters
    _position: int
    _names: search.AgentNames

    def more(self) -> Sequence[Listed]:
        found, self._position = search.after(self._db, self._position, self._filters)
        return _named(self._db, found, self._names)


class DirectoryLog:
    """`AuditLog` of `port/log.py`, on a connection that the caller closes."""

    def __init__(self, db: sqlite3.Connection, data: DataDirectory) -> None:
        self._db = db
        self._data = data

    def listed(self, wanted: Filters, limit: int) -> DirectoryListing:
        agent = self._agent_id(wanted.agent, wanted.organization or "default")
        filters = replace(wanted, agent=agent, above=() if agent is None else self._above(agent))
        with storage.snapshot(self._db):
            position = search.last_position(self._db)
            page = search.matching(self._db, limit, filters)
            names = search.AgentNames()
            entries = _named(self._db, page.found, names)
        return DirectoryListing(entries, page.stopped_ns, page.looked_at, self._db, filters, position, names)

    def _agent_id(self, agent: str | None, organization: str) -> str | None:
        """The id of an agent. An id is returned as it is, so that a copy can be searched without a registry."""
        if agent is None or agent.startswith("agt_"):
            return agent
        from gateway.registry import queries

        with local.reading(self._data.path) as registry:
            return queries.agent(registry, organization, agent).id

    def _above(self, agent: str) -> tuple[str, ...]:
        """The subjects whose bindings and limits apply to an agent; none in a copy without a registry."""
        from gateway.registry import queries

        with suppress(GatewayError), local.reading(self._data.path) as registry:
            return queries.above(registry, agent)
        return ()

    def show(self, event_id: str, *, explained: bool = False) -> LookedUp:
        with storage.snapshot(self._db):
            found = lookup.event(self._db, event_id)
            if found.kind not in ("decided", "completed"):
                return LookedUp(found=found)
            decision = lookup.decision(self._db, found)
        from gateway.control import decisions, kept_requests
        from gateway.policy import reexecution
        from gateway.registry.vault import Vault

        decided = decision.decided
        if explained:  # values will be shown, and what was said is not for showing
            again = reexecution.judge_again(self._data.bundles, decided.entry, decision.input)
            return LookedUp(found=found, decision=decision, again=decisions.judged_again(again, explained=True))
        complete = kept_requests.completing(lambda: local.reading(self._data.path), lambda: Vault.load(self._data.keys))
        judged = replace(decision, input=complete(self._db, decided, decision.input))
        again = reexecution.judge_again(self._data.bundles, decided.entry, judged.input)
        return LookedUp(found=found, decision=decision, again=decisions.judged_again(again))

    def checkpoint(self, organization: str) -> str:
        return lookup.checkpoint(self._db, organization)

    def proof(self, organization: str | None, event_id: str | None, since: int | None) -> Proof:
        with storage.snapshot(self._db):
            return proofs.make(self._db, organization, event_id, since)


def _named(db: sqlite3.Connection, found: Sequence[Found], names: search.AgentNames) -> list[Listed]:
    return [Listed(each, name) for each, name in zip(found, names.of(db, found), strict=True)]
