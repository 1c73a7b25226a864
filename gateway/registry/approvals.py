"""Facts about requests for approval besides their rows: their states, and the place that their calls are sealed for.

`gateway/approvals/` has the changes. Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import quote

from gateway.secrets.vault import SealedPlace

STATES: Final = ("waiting", "approved", "denied", "expired", "closed", "used", "revoked")
UNSETTLED: Final = "state IN ('waiting', 'approved')"
"""Of requests whose end is still to come, as their index has it."""
ALIKE: Final = "pattern IS NOT NULL"
"""Of requests that an approval of other calls may be for, too, as their index has it."""
VERDICTS: Final = ("approved", "denied")

_PROVIDER: Final = "approval"


def place(organization: str, request: str) -> SealedPlace:
    """The place that the call of a request is sealed for."""
    return SealedPlace(organization, _PROVIDER, request, 1)


def page(dashboard: str, organization: str, request: str) -> str:
    """The address of the page where people review a request. Whoever opens it must log in."""
    return f"{dashboard}/o/{quote(organization, safe='')}/approvals/{quote(request, safe='')}"
