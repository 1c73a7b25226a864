"""The courier: follows the audit log and delivers its events, in the control process.

Each webhook is served on its own, so a receiver that is dead or slow holds up neither another one nor anything else of
the gateway; threads and deliveries under way are shares of organizations. All webhooks are followed in one round every
two seconds, and how deliveries went is written down in the next round, all at once. After a failure a webhook waits,
longer each time; so does an event that one receiver does not accept, while later ones pass it. Specification:
webhooks.md.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections import deque
from typing import Final

from gateway.audit import search
from gateway.audit.entry import Entry
from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.registry.database import Registry
from gateway.registry.webhooks import Followed, agent_name, followed, is_for
from gateway.runtime.store import RuntimeStore
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.shared_threads import SharedThreads
from gateway.shares import Holder, Kind, Shares
from gateway.webhooks import deliveries, events, notices, sender
from gateway.webhooks.deliveries import Deliveries, Outcome, Round

logger = logging.getLogger("gateway.webhooks.courier")

THREADS: Final = 4
"""They read entries and open secrets for deliveries."""
SENDING: Final = 32
"""Deliveries under way."""
_ALIKE: Final[dict[Kind, int]] = {"organization": 1}

_NOWHERE: Final = "", ""
_STEP: Final = 5000  # entries that one webhook is taken past at a time


class Courier:
    """Used from one event loop. Blocking work is done in threads; `runtime.db` is used by one of them at a time."""

    NAME = "webhooks"
    SECONDS = 2.0
    """The interval at which the log is looked at."""

    def __init__(
        self, registry: Registry, source: KeySource, data: DataDirectory, store: RuntimeStore, dashboard: str = ""
    ) -> None:
        """`dashboard` is the address of the pages that events lead to."""
        self._registry = registry
        self._source = source
        self._vault: Vault | None = None
        self._data = data
        self._dashboard = dashboard
        self._deliveries = Deliveries(store)
        self._busy: dict[str, asyncio.Task[None]] = {}
        self._known: tuple[str, ...] | None = None
        # The deliveries that are under way, and those that were written down as such; the last run may have left some.
        self._sent: dict[str, int] = {}
        self._noted: dict[str, int] | None = None
        self._outcomes: deque[Outcome] = deque()
        self._threads = SharedThreads("webhooks", "entries that are read for webhooks", THREADS, _ALIKE)
        self._sending = Shares("deliveries under way", SENDING, _ALIKE)

    async def step(self) -> None:
        """Take every webhook on in the log, and have those served that have something to be delivered."""
        for webhook, positions in await asyncio.to_thread(self._follow):
            if webhook.id not in self._busy:
                task = asyncio.create_task(self._serve(webhook, positions))
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
        await asyncio.to_thread(self._end)

    def _end(self) -> None:
        self._threads.close()
        try:
            self._write(Round(), time.time_ns())
        except GatewayError as error:
            logger.warning("webhooks: how the last deliveries went is not known the next time: %s", error.message)

    def _follow(self) -> list[tuple[Followed, list[int]]]:
        """Note how deliveries went, and for every webhook what it has to get. Returns what is due."""
        hooks = followed(self._registry)
        if not hooks and self._known in (None, ()):
            self._known = ()
            return []
        known, done, now_ns = tuple(each.id for each in hooks), Round(), time.time_ns()
        if known != self._known:
            done.known = known
        before = self._deliveries.followed()
        with opened_log(self._data) as db:
            last = search.last_position(db)
            for each in hooks:
                position, waiting = before.get(each.id, (each.since, 0))
                if position > last:  # the log was restored from a backup
                    done.found.append((each.id, [], last))
                elif position < last and waiting < deliveries.MOST:
                    found = search.of_kinds(db, events.KINDS, position, min(last, position + _STEP))
                    mine = [
                        at
                        for at, entry in found
                        if events.concerns(entry, each.organization, each.events) and is_for(each, entry)
                    ]
                    # The rest waits in the log.
                    end = min(last, position + _STEP) if len(mine) <= deliveries.MOST else mine[deliveries.MOST - 1]
                    done.found.append((each.id, mine[: deliveries.MOST], end))
                elif each.id not in before:
                    done.found.append((each.id, [], position))
        self._write(done, now_ns)
        self._known = known
        due = self._deliveries.due(now_ns)
        return [(each, due[each.id]) for each in hooks if each.id in due]

    def _write(self, done: Round, now_ns: int) -> None:
        """Write it down, with how deliveries went since the last time."""
        sent = dict(self._sent)
        done.outcomes = [self._outcomes.popleft() for _ in range(len(self._outcomes))]
        done.sent = None if sent == self._noted else sent
        try:
            # First: what is not in the queue any more was accepted if the log or its outbox says so.
            notices.record(self._registry, self._data, done.outcomes)
            failed = self._deliveries.write(done, now_ns)
        except BaseException:
            self._outcomes.extendleft(reversed(done.outcomes))
            raise
        self._noted = sent
        for each, given_up in failed:
            if given_up:
                logger.error("webhook %s: %s was given up: %s", each.webhook, each.event_id, each.error)
            else:
                what = each.event_id or "an event"
                logger.warning("webhook %s: %s was not delivered: %s", each.webhook, what, each.error)

    async def _serve(self, webhook: Followed, positions: list[int]) -> None:
        """Deliver what is due, one after another, until one fails or the webhook is removed."""
        holder = Holder("organization", webhook.organization_id)
        try:
            for position in positions:
                if webhook.id not in (self._known or ()):
                    return
                event_id, body, target, error = await self._threads.run((holder,), self._read, webhook, position)
                if not error:
                    async with self._sending.wait(holder):
                        self._sent[webhook.id] = position
                        error = await sender.send(target[0], webhook.reach, target[1], event_id, body)
                self._outcomes.append(Outcome(webhook.id, position, event_id, error, time.time_ns()))
                if error:
                    return
        except Exception as error:  # noqa: BLE001  # whatever it is: nobody would notice a webhook that is not served
            logger.error("webhook %s: %s: %s", webhook.id, type(error).__name__, error)
        finally:
            self._sent.pop(webhook.id, None)

    def _read(self, webhook: Followed, position: int) -> tuple[str, bytes, tuple[str, str], str]:
        """The id, body and target of a delivery; and why it cannot be made, if it cannot."""
        with opened_log(self._data) as db:
            found = search.of_kinds(db, events.KINDS, position - 1, position)
        if not found:
            return "", b"", _NOWHERE, "its entry is not in the log any more"
        entry: Entry = found[0][1]
        agent = events.agent_of(entry)
        named = agent and agent_name(self._registry, webhook.organization_id, agent)
        body = events.payload(entry, named, self._dashboard, webhook.shape)
        try:
            # Once: a source may be a command.
            self._vault = self._vault or Vault.load(self._source.keys, self._source)
            target = webhook.target(self._vault.open(webhook.sealed, webhook.place))
        except GatewayError as error:
            return "", b"", _NOWHERE, error.message
        return str(entry["id"]), body, target, ""
