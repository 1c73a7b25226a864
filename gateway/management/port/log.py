"""What commands ask of a gateway's audit log, whichever gateway it is.

`directory/` and `remote/` have an implementation each. A log can also be a copy that has no registry beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.audit.lookup import Decision
    from gateway.audit.proofs import Proof
    from gateway.audit.search import Filters, Found
    from gateway.control.decisions import JudgedAgain
    from gateway.control.usage_reports import UsageAsked, UsageReport


@dataclass(frozen=True, slots=True)
class Listed:
    """One entry, and the name of the agent that it is about, as far as the log says it."""

    found: Found
    agent_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedUp:
    """One entry; of a decision also what was kept of it, and what its bundles say when they are asked again."""

    found: Found
    decision: Decision | None = None
    again: JudgedAgain | None = None


class Listing(Protocol):
    """The newest entries that match, oldest first. `stopped_ns` is where the search gave up, if it did."""

    @property
    def entries(self) -> Sequence[Listed]: ...

    @property
    def stopped_ns(self) -> int | None: ...

    @property
    def looked_at(self) -> int: ...

    def more(self) -> Sequence[Listed]:
        """Those that were written since, or since this was asked."""


class AuditLog(Protocol):
    """The logs of all organizations that one may read."""

    def listed(self, wanted: Filters, limit: int) -> Listing:
        """The entries that are looked for; an agent may also be called by its name."""

    def show(self, event_id: str, *, explained: bool = False) -> LookedUp:
        """An entry; of a decision also the verdicts of its bundles. `explained`: with their rules, without content."""

    def checkpoint(self, organization: str) -> str:
        """The newest signed one."""

    def proof(self, organization: str | None, event_id: str | None, since: int | None) -> Proof:
        """As `audit/proofs.py` makes it, not checked."""


class Usage(Protocol):
    """The sums over the log."""

    def report(self, asked: UsageAsked) -> UsageReport: ...
