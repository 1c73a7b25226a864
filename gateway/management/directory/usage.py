"""The sums over the log of a data directory, or of a copy that has nothing else."""

from __future__ import annotations

import sqlite3
import time

from gateway.control import usage_reports
from gateway.control.usage_reports import UsageAsked, UsageReport
from gateway.data_directory import DataDirectory
from gateway.usage.rollup import Progress


class DirectoryUsage:
    """`Usage` of `port/log.py`, on a connection that the caller closes."""

    def __init__(self, db: sqlite3.Connection, data: DataDirectory, progress: Progress | None) -> None:
        self._db = db
        self._data = data
        self._progress = progress

    def report(self, asked: UsageAsked) -> UsageReport:
        return usage_reports.report(self._db, self._data, asked, time.time_ns(), self._progress)
