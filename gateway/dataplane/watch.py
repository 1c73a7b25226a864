"""Ends calls under way whose agent has lost its authority: its key was revoked, or it was suspended, for example.

A request is admitted by the registry's state of that moment, and its answer may take minutes. So one task of the worker
reads the epoch of authority four times a second while calls run. Only if it has changed, the principals of these calls
are looked at again: each once, however many calls it has. A call whose principal is refused by now is ended with that
refusal: where nothing was sent yet the client is answered with it, and a stream ends with the provider's error event.

If three reads in a row fail, within a second, all calls are ended `registry_unavailable`: a revocation might have been
missed. An expiry of a key ends no call: it was good when the call was made. Specification: revocation.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Final

from gateway.dataplane.registry_view import RegistryView
from gateway.errors import Denied
from gateway.identity.principals import Principal, Principals

logger = logging.getLogger("gateway.dataplane.watch")

INTERVAL: Final = 0.25
"""Seconds between two reads of the epoch."""
FAILURES: Final = 3
"""So many reads in a row that fail end all calls."""
# Principals that are looked at before others get a turn: each costs one read of the registry.
_AT_ONCE = 16


class Watched:
    """One call under way. `denied` says why it was ended by the watch; the caller sets `end`, which ends it."""

    __slots__ = ("denied", "end", "epoch", "principal")

    def __init__(self, principal: Principal) -> None:
        self.principal = principal
        # Of authority, at which its principal was good.
        self.epoch = principal.authority_epoch
        self.denied: Denied | None = None
        self.end: Callable[[], None] = _nothing

    @property
    def outcome(self) -> str:
        """The end of the call, in the words of the log, if the watch has ended it."""
        unreadable = self.denied is not None and self.denied.code == "registry_unavailable"
        return "registry_unavailable" if unreadable else "revoked"


class Watch:
    """The calls under way in one worker; used from its event loop's thread only."""

    def __init__(self, registry: RegistryView, principals: Principals) -> None:
        self._registry = registry
        self._principals = principals
        self._running: dict[int, Watched] = {}
        self._failures = 0

    def enter(self, principal: Principal) -> Watched:
        watched = Watched(principal)
        self._running[id(watched)] = watched
        return watched

    def leave(self, watched: Watched) -> None:
        self._running.pop(id(watched), None)
        watched.end = _nothing

    async def run(self) -> None:
        """Look at every interval, until cancelled."""
        while True:
            await asyncio.sleep(INTERVAL)
            if self._running:
                await self.look()
            else:
                self._failures = 0

    async def look(self) -> None:
        """End the calls whose principals are refused by now."""
        try:
            epoch = (await self._registry.epochs()).authority
            await self._look_since(epoch)
        except Denied as denied:
            self._failures += 1
            if self._failures >= FAILURES:
                logger.error("calls under way are ended, because revocations cannot be seen: %s", denied.detail)
                for watched in list(self._running.values()):
                    _end(watched, denied)
        else:
            self._failures = 0

    async def _look_since(self, epoch: int) -> None:
        calls: dict[tuple[str, Hashable, str], list[Watched]] = {}
        for watched in self._running.values():
            if watched.epoch != epoch and watched.denied is None:
                whose = watched.principal
                # A name may have been given to another agent while calls of the one before go on.
                calls.setdefault((whose.method, whose.lookup, whose.key_id), []).append(watched)
        for number, mine in enumerate(calls.values(), 1):
            denied = await self._principals.withdrawn(mine[0].principal, epoch)
            for watched in mine:
                if denied is None:
                    watched.epoch = epoch
                else:
                    _end(watched, denied)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)


def _end(watched: Watched, denied: Denied) -> None:
    if watched.denied is None:
        watched.denied = denied
        watched.end()


def _nothing() -> None:
    """Before a call has begun, and after its end."""
