"""An organization's own settings as a fleet file says them, and as the registry has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.registry.records import OrganizationRecord
from gateway.usage import zones


def of(record: OrganizationRecord) -> dict[str, Any]:
    """The settings as a file says them, with every member; 0 is for never."""
    return {
        "zone": record.zone,
        "review_days": record.review_days or 0,
        "suspend_after_days": record.suspend_after_days or 0,
    }


def exported(record: OrganizationRecord) -> dict[str, Any]:
    """Those that are not what a new organization has."""
    return {name: value for name, value in of(record).items() if value not in (0, zones.DEFAULT)}


def checked(item: Mapping[str, Any]) -> dict[str, Any]:
    """A file's settings, as `tenant_changes.update_organization` takes them; raises `invalid_zone`."""
    if "zone" in item:
        zones.find(item["zone"])
    return dict(item)
