"""The prices in force in one process: read when it starts, and again when one of the files has changed."""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Final

from gateway.errors import GatewayError
from gateway.settings import Settings
from gateway.usage import price_files
from gateway.usage.prices import PriceTable

logger = logging.getLogger("gateway.usage.price_book")

SECONDS: Final = 2.0
"""The interval at which the files are looked at."""


class PriceBook:
    """Holds the table. Raises `GatewayError` if the prices cannot be read at the start; later the last ones stay."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen = self._look()
        self.table: PriceTable = price_files.load(settings)

    async def run(self) -> None:
        """Look at the files for ever."""
        while True:
            await asyncio.sleep(SECONDS)
            await asyncio.to_thread(self.refresh)

    def refresh(self) -> None:
        """Read the files again if they have changed. A file that cannot be read is logged once and changes nothing."""
        seen = self._look()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self.table = price_files.load(self._settings)
        except GatewayError as error:
            logger.error("the prices stay as they were: %s", error.message)
        else:
            logger.info("the prices were read again, the table is %s", self.table.version)

    def _look(self) -> tuple[object, ...]:
        return _state(self._settings.data.price_table), _state(self._settings.own_prices)


def _state(path: os.PathLike[str]) -> object:
    """The marks that change when a file does; None if it is not there."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
