"""Balances for those who only want to know: what policies see as `input.usage`, and how much of a limit is left.

The values read here are advice. It may be a second old, and by the time of a decision other calls may have reserved
more. Only a reservation (`reservation.py`) sees balances that nobody else can change.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.audit.balance import MINUTE_NS, USED, Balance
from gateway.audit.balance_rows import Key, UncountedError
from gateway.audit.balances import Balances
from gateway.audit.errors import AuditError
from gateway.audit.log_files import open_log
from gateway.audit.log_reader import IndexedLog
from gateway.data_directory import DataDirectory

FRESH_SECONDS: Final = 1.0
_MOST: Final = 8192
_NEVER: Final = [-1], 0.0
_COUNTERS: Final = 2 + len(USED)  # where those of `VALUES` end that say what is used


class StandingBalances:
    """The balances of one data directory as one worker sees them; may be used from several threads.

    `shown` gives those that the worker's own commits left (`AuditWriter.balances`); others are read from the database.
    """

    def __init__(self, data: DataDirectory, shown: Callable[[], Mapping[Key, tuple[list[int], float]]]) -> None:
        self._data = data
        self._shown = shown
        self._read: dict[Key, tuple[list[int], float]] = {}
        self._db: IndexedLog | None = None
        self._balances = Balances()
        self._guard = threading.Lock()

    def close(self) -> None:
        with self._guard:
            if self._db is not None:
                self._db.close()
                self._db = None

    def balance(self, organization: str, scope: str, *, now: bool = False) -> Balance:
        """A balance, not older than a second; with `now` as the last commit of any process left it.

        If the database cannot be read it is the last one that is known. No call goes on then: none can be recorded.
        """
        key = organization, scope
        known = self._shown().get(key)
        if (read := self._read.get(key)) is not None and (known is None or read[1] > known[1]):
            known = read
        at = time.monotonic()
        if known is not None and not now and at - known[1] < FRESH_SECONDS:
            return Balance(known[0])
        try:
            found = self._find(key)
        except (UncountedError, AuditError):
            return Balance(known[0] if known is not None else None)
        if len(self._read) >= _MOST:
            self._read.clear()
        self._read[key] = found.values(), at
        return found

    def usage(self, organization: str, scope: str, now_ns: int) -> dict[str, Any]:
        """The usage of a scope in the windows of this moment, as `input.usage` has it."""
        # Each request has one: written out, because this is half the time of a loop over `WINDOWS`.
        values, at = self._shown().get((organization, scope), _NEVER)
        minute = now_ns // MINUTE_NS
        if values[0] != minute or time.monotonic() - at >= FRESH_SECONDS:
            values = [minute, 0, *self.balance(organization, scope).used(minute)]
        _, _, a, b, c, d, e, f, g, h, i, j, k, m = values[:_COUNTERS]
        return {
            "requests": {"minute": a, "hour": b, "day": c, "month": d},
            "tokens": {"minute": e, "hour": f, "day": g, "month": h},
            "spend_microusd": {
                "minute": -(-i // 1000),
                "hour": -(-j // 1000),
                "day": -(-k // 1000),
                "month": -(-m // 1000),
            },
        }

    def _find(self, key: Key) -> Balance:
        with self._guard:
            if self._db is None:
                self._db = open_log(self._data)
                self._balances = Balances(self._db)
            elif len(self._balances) >= _MOST:
                self._balances = Balances(self._db)
            try:
                with self._db.snapshot():
                    self._balances.look_again()
                    self._balances.current()
                    return Balance(self._balances.get(*key).values())
            except Exception:
                self._db.close()
                self._db = None
                raise
