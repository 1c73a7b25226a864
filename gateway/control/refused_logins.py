"""Entries of refused logins that anybody can cause: one for each kind and ten seconds, with their number.

The first of its kind is recorded at once; those of the next ten seconds together.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from gateway.registry.operators.login_providers import LoginProviderRecord

PAUSE_SECONDS: Final = 10.0

Record: TypeAlias = Callable[[LoginProviderRecord | None, str, int], Awaitable[None]]


@dataclass(slots=True)
class _Kind:
    """How many are not recorded yet, and until when they wait, by the monotonic clock."""

    provider: LoginProviderRecord | None
    why: str
    held: int = 0
    until: float = 0.0
    recording: asyncio.Task[None] | None = None


class RefusedLogins:
    """Owned by the event loop's thread."""

    def __init__(self, record: Record) -> None:
        self._record = record
        self._kinds: dict[tuple[str, str], _Kind] = {}

    def add(self, provider: LoginProviderRecord | None, why: str) -> None:
        """One that was refused. Nothing if there is no reason: then its entry is written already."""
        if not why:
            return
        key = ("" if provider is None else provider.id, why)
        kind = self._kinds.setdefault(key, _Kind(provider, why))
        kind.held += 1
        if kind.recording is None or kind.recording.done():
            kind.recording = asyncio.get_running_loop().create_task(self._later(kind))

    async def close(self) -> None:
        """Record what waits."""
        for kind in self._kinds.values():
            if kind.recording is not None:
                kind.recording.cancel()
            await self._now(kind)

    async def _later(self, kind: _Kind) -> None:
        await asyncio.sleep(max(0.0, kind.until - time.monotonic()))
        await self._now(kind)

    async def _now(self, kind: _Kind) -> None:
        count, kind.held = kind.held, 0
        if count:
            kind.until = time.monotonic() + PAUSE_SECONDS
            await self._record(kind.provider, kind.why, count)
