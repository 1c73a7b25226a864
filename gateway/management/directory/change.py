"""What every change of a data directory's registry is told: who makes it, where, and why."""

from __future__ import annotations

from typing import TypedDict

from gateway.processes import local


class Change(TypedDict):
    """Keyword arguments of the changes in `registry/`."""

    actor: str
    organization: str
    reason: str


def change(organization: str, reason: str) -> Change:
    """One by this machine's user."""
    return Change(actor=local.actor(), organization=organization, reason=reason)
