"""Lets a data worker follow the policies: it loads what is in force, and what the control process announces
(`runtime/handover.py`).
"""

from __future__ import annotations

import asyncio
import logging
import time

from gateway.errors import Denied, GatewayError
from gateway.policy.cache import PolicyCache, digests
from gateway.registry.port import RegistryPort
from gateway.runtime.handover import Handover
from gateway.runtime.store import RuntimeStore

logger = logging.getLogger("gateway.policy.follower")

FOLLOW_SECONDS = 0.2
RETRY_SECONDS = 5.0


class Follower:
    """A data worker's part: it keeps in memory what is in force and what is announced."""

    def __init__(self, store: RuntimeStore, registry: RegistryPort, cache: PolicyCache, boot: str) -> None:
        self._store = store
        self._handover = Handover(store)
        self._registry = registry
        self._cache = cache
        self._boot = boot
        self._failed: dict[str, str] = {}
        self._retry = 0.0
        self._complaint = ""

    async def begin(self) -> None:
        """Load what is in force, so that the first request finds it. A failure is tried again later."""
        await self._store.note(self._handover.join, self._boot)
        await self.step()

    async def run(self) -> None:
        """Keep up until cancelled. No exception ends this, because nothing would tell the worker that it is behind."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self.step()
            except Exception:
                logger.exception("policies: following failed")
                await asyncio.sleep(RETRY_SECONDS)

    async def step(self) -> None:
        """Look once at what is wanted. Failures are logged, not raised; the requests concerned are refused then."""
        try:
            # In this order: a revision that is no longer announced here was activated before the next line reads.
            # Beside the loop: another process may hold the file just when a policy is activated.
            announced = await self._store.look(self._handover.announced)
            wanted = announced | digests(await self._registry.active_bundles())
            missing = wanted - self._cache.loaded
            # A revision that failed is not tried again at once; a new one is.
            if missing - self._failed.keys() or self._cache.loaded - wanted or time.monotonic() > self._retry:
                self._failed = await asyncio.to_thread(self._cache.follow, wanted)
                self._retry = time.monotonic() + RETRY_SECONDS
            if announced:  # nearly always there is nothing to answer, and no thread need be asked to write it
                answers = {digest: self._failed.get(digest, "") for digest in announced}
                await self._store.note(self._handover.answer, self._boot, answers)
            self._complain("; ".join(sorted(set(self._failed.values()))))
        except Denied as error:
            self._complain(f"{error.message}: {error.detail}")
        except GatewayError as error:
            self._complain(error.message)

    def close(self) -> None:
        """Leave: nobody waits for this worker any more. Blocks."""
        try:
            self._handover.leave(self._boot)
        except GatewayError as error:
            self._complain(error.message)

    def _complain(self, text: str) -> None:
        """Log a problem once, not five times a second."""
        if text and text != self._complaint:
            logger.error("policies: %s", text)
        self._complaint = text
