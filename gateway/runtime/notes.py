"""Notes of a worker: kept in memory while it serves, and written every few seconds: no request waits for that."""

from __future__ import annotations

import asyncio
import logging
from typing import ClassVar, Generic, TypeVar

from gateway.errors import GatewayError
from gateway.runtime.store import RuntimeStore

logger = logging.getLogger("gateway.runtime.notes")

_Taken = TypeVar("_Taken")


class BufferedNotes(Generic[_Taken]):
    """Used from its event loop's thread only, but for `_write` and `close`."""

    SECONDS: ClassVar[float]
    """The interval between two writes."""
    WHAT: ClassVar[str]
    """The subject of the complaint about a failed write, such as `how upstreams answered`."""

    def __init__(self, store: RuntimeStore) -> None:
        self._store = store
        self._complaint = ""

    def _take(self) -> _Taken | None:
        """Return the news to be written, or None."""
        raise NotImplementedError

    def _put_back(self, taken: _Taken) -> None:
        """Keep news that were not written for the next time."""
        raise NotImplementedError

    def _write(self, taken: _Taken) -> None:
        """Write it. Blocks; raises `GatewayError`."""
        raise NotImplementedError

    async def run(self) -> None:
        """Write what is new at every interval, until cancelled."""
        while True:
            await asyncio.sleep(self.SECONDS)
            await self.flush()

    async def flush(self) -> None:
        taken = self._take()
        if taken is not None and not await self._store.note(self._written, taken):
            self._put_back(taken)

    def close(self) -> None:
        """Write what is left. Blocks."""
        if (taken := self._take()) is not None:
            self._written(taken)

    def _written(self, taken: _Taken) -> bool:
        """Write it, and complain once if that fails; says whether it was written."""
        try:
            self._write(taken)
        except GatewayError as error:
            if error.message != self._complaint:
                logger.warning("%s cannot be kept: %s", self.WHAT, error.message)
            self._complaint = error.message
            return False
        self._complaint = ""
        return True
