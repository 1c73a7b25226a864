"""The log of the audit tests, for those of what it counts."""

from __future__ import annotations

from tests.gateway.audit.conftest import log, make, new_log

__all__ = ["log", "make", "new_log"]
