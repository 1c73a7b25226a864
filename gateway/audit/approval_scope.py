"""How much one approval may be for: how often, for how long, and for which calls (pure).

Policies say the most, and the people who approve choose. `approval_check.py` proves from the log that no grant has
more.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

GRANT_SECONDS: Final = 3600
"""The time for which an approval can be used if nobody says otherwise."""
MAX_GRANT_SECONDS: Final = 7 * 24 * 3600
"""The longest time for which one can be used, whatever a policy says."""


@dataclass(frozen=True, slots=True)
class Scope:
    """The most that one approval may be for. `pattern` names the calls that are alike, in words; empty for one call."""

    uses: int = 1
    seconds: int = GRANT_SECONDS
    pattern: str = ""


SINGLE: Final = Scope()
"""This very call, once."""


def widest(demanded: Iterable[Mapping[str, Any]]) -> Scope:
    """The most that one approval for all of these requirements may be for; `pattern` has a line for each.

    Raises `TypeError` for a scope that this version does not know.
    """
    found = [Scope(**each.get("scope", {})) for each in demanded] or [SINGLE]
    alike = "\n".join(dict.fromkeys(each.pattern for each in found)) if all(each.pattern for each in found) else ""
    return Scope(
        uses=min(each.uses for each in found),
        seconds=min(MAX_GRANT_SECONDS, *(each.seconds for each in found)),
        pattern=alike,
    )
