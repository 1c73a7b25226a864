"""The registry's triggers, as they must be: they bump epochs and protect history (architecture.md, section 9).

Without one of them a revocation would not be seen. With a foreign one a change could be undone while its command
reports success. Every program that opens a registry compares them with what the migrations make, and accepts no view.
Tables are not compared: their texts depend on the version of SQLAlchemy that created them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from gateway.errors import GatewayError

QUERY: Final = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'view') ORDER BY name"

FINGERPRINT: Final = "834a99374aa595db"
"""The digest as of the newest migration; a test says what it must be."""


def fingerprint(rows: Iterable[Any]) -> str:
    """One number for the rows of `QUERY`."""
    text = "\n".join(f"{name}\0{table}\0{sql}" for name, table, sql in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check(path: Path, rows: Iterable[Any]) -> None:
    """Raise `registry_damaged` unless these are the triggers of this version."""
    if fingerprint(rows) != FINGERPRINT:
        raise GatewayError(
            "registry_damaged",
            f"`{path}` lacks triggers of its own, or has some that the gateway did not make",
            subject=str(path),
            hint="restore it from a backup: changes may have been undone, and revocations not seen",
        )
