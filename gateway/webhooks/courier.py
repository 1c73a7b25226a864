"""The courier: follows the audit log and delivers its events, in the control process.

Each webhook is followed and served on its own, so a receiver that is dead or slow holds up neither another one nor
anything else of the gateway. After a failure a webhook waits, longer each time; so does an event that one receiver
does not accept, while later ones pass it. Specification: docs/webhooks.md.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from gateway.audit import search, storage
from gateway.audit.entry import Entry
from gateway.errors import GatewayError
from gateway.registry.database import Registry
from gateway.registry.key_source import KeySource
from gateway.registry.vault import Vault
from gateway.registry.webhooks import Followed, agent_name, followed
from gateway.webhooks import deliveries, events, sender
from gateway.webhooks.deliveries import Deliveries

logger = logging.getLogger("gateway.webhooks")

SECONDS: Final = 2.0
"""How often the log is looked at."""

_STEP: Final = 5000  # entries that one webhook is taken past at a time


class Courier:
    """Used from one event loop. What blocks is done in threads."""

    def __init__(self, registry: Registry, source: KeySource, audit_db: Path, runtime_db: Path) -> None:
        self._registry = registry
        self._source = source
        self._vault: Vault | None = None
        self._log = audit_db
        self._runtime = runtime_db
        self._deliveries: Deliveries | None = None
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._known: tuple[str, ...] | None = None

    async def step(self) -> None:
        """Take every webhook on in the log, and have served those with something to deliver."""
        for webhook in await asyncio.to_thread(self._follow):
            if webhook.id not in self._busy:
                task = asyncio.create_task(self._serve(webhook))
                self._busy[webhook.id] = task
                task.add_done_callback(functools.partial(self._done, webhook.id))

    def _done(self, webhook: str, _: asyncio.Task[None]) -> None:
        self._busy.pop(webhook, None)

    async def close(self) -> None:
        """End what is under way; it will be delivered again."""
        tasks = list(self._busy.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _follow(self) -> list[Followed]:
        """Note for every webhook what it has to get. Returns those for which something is due."""
        hooks = followed(self._registry)
        if not hooks and self._known in (None, ()):
            self._known = ()
            return []
        if self._deliveries is None:
            self._deliveries = Deliveries(self._runtime)
        known = tuple(each.id for each in hooks)
        if known != self._known:
            self._deliveries.keep_only(known)
            self._known = known
        now_ns = time.time_ns()
        with closing(storage.connect_read_only(self._log)) as db:
            last = search.last_position(db)
            for each in hooks:
                position = self._deliveries.position(each.id, each.since)
                if position > last:  # the log was restored from a backup
                    self._deliveries.add(each.id, [], last, now_ns)
                elif position < last and self._deliveries.waiting(each.id) < deliveries.MOST:
                    found = search.of_kinds(db, events.KINDS, position, min(last, position + _STEP))
                    mine = [at for at, entry in found if events.concerns(entry, each.organization, each.events)]
                    # The rest waits in the log.
                    end = min(last, position + _STEP) if len(mine) <= deliveries.MOST else mine[deliveries.MOST - 1]
                    self._deliveries.add(each.id, mine[: deliveries.MOST], end, now_ns)
        return [each for each in hooks if self._deliveries.due(each.id, now_ns) is not None]

    async def _serve(self, webhook: Followed) -> None:
        """Deliver what is due, one after another, until nothing is or one fails."""
        try:
            while (due := await asyncio.to_thread(self._next, webhook)) is not None:
                position, event_id, body, secret, error = due
                if not error:
                    error = await sender.send(webhook.url, webhook.reach, secret, event_id, body)
                if not await asyncio.to_thread(self._note, webhook, position, event_id, error):
                    return
        except Exception as error:  # noqa: BLE001  # whatever it is: nobody would notice a webhook that is not served
            logger.error("webhook %s: %s: %s", webhook.id, type(error).__name__, error)

    def _next(self, webhook: Followed) -> tuple[int, str, bytes, str, str] | None:
        """The next delivery: its position, id, body and secret; and why it cannot be made, if it cannot."""
        assert self._deliveries is not None
        position = self._deliveries.due(webhook.id, time.time_ns())
        if position is None:
            return None
        with closing(storage.connect_read_only(self._log)) as db:
            found = search.of_kinds(db, events.KINDS, position - 1, position)
        if not found:
            return position, "", b"", "", "its entry is not in the log any more"
        entry: Entry = found[0][1]
        agent = events.agent_of(entry)
        body = events.payload(entry, agent and agent_name(self._registry, webhook.organization_id, agent))
        try:
            # Once: a source may be a command.
            self._vault = self._vault or Vault.load(self._source.keys, self._source)
            secret = self._vault.open(webhook.sealed, webhook.place)
        except GatewayError as error:
            return position, "", b"", "", error.message
        return position, str(entry["id"]), body, secret, ""

    def _note(self, webhook: Followed, position: int, event_id: str, error: str) -> bool:
        """Note how a delivery went. False if it failed."""
        assert self._deliveries is not None
        now_ns = time.time_ns()
        if not error:
            self._deliveries.delivered(webhook.id, position, now_ns)
            return True
        if self._deliveries.failed(webhook.id, position, error, now_ns):
            logger.error("webhook %s: %s was given up: %s", webhook.id, event_id, error)
        else:
            logger.warning("webhook %s: %s was not delivered: %s", webhook.id, event_id or "an event", error)
        return False
