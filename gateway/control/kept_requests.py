"""Kept content opened for judging a decision again (content.md). Nothing is shown, so no reading is recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

from gateway.audit import content
from gateway.audit.log_reader import LogIndex
from gateway.audit.search import FoundEntry
from gateway.errors import Denied, GatewayError
from gateway.registry import queries
from gateway.registry.agents import content_keys
from gateway.registry.database import Registry
from gateway.secrets.vault import Vault
from gateway.upstream import strict_json

Input: TypeAlias = dict[str, Any] | None
Complete: TypeAlias = Callable[[LogIndex, FoundEntry, Input], Input]


def completing(registry: Callable[[], AbstractContextManager[Registry]], vault: Callable[[], Vault]) -> Complete:
    """A function that puts the request into the input of a decision, where the log keeps it as it was judged.

    The registry and the vault are opened when they are needed. A request that cannot be opened is left out.
    """
    keys: dict[str, bytes | None] = {}

    def complete(db: LogIndex, decided: FoundEntry, document: Input) -> Input:
        entry = decided.entry
        if document is None or "content_commitment" not in entry or "content_redacted" in entry:
            return document
        try:
            agent = str(entry["agent"])
            if agent not in keys:
                with registry() as opened:
                    keys[agent] = key(vault, queries.content_key(opened, decided.organization, agent), decided)
            body = strict_json.parse(parts(db, decided, keys[agent])["request"].encode())
            return {**document, "request": {**document["request"], "body": body}}
        except (GatewayError, Denied, OSError, KeyError, TypeError):
            return document

    return complete


def parts(db: LogIndex, decided: FoundEntry, key: bytes | None) -> dict[str, str]:
    """The kept parts of a decision's content, by their names. Raises `content_unreadable`."""
    return {
        part: content.unseal(
            key,
            sealed,
            organization=decided.organization,
            agent=str(decided.entry["agent"]),
            decision=decided.event_id,
            part=part,
        ).decode("utf-8", "replace")
        for part, sealed in content.rows(db, decided.event_id)
    }


def key(vault: Callable[[], Vault], sealed: bytes | None, decided: FoundEntry) -> bytes | None:
    """The key of the agent of a decision; None if it was destroyed."""
    if sealed is None:
        return None
    return content_keys.opened(vault(), sealed, decided.organization, str(decided.entry["agent"]))
