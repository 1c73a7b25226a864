"""The part that a noun has in `gateway status`. It lives with the noun; `processes/parts.py` lists all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.telemetry.findings import Finding


class StatusPart(Protocol):
    """The state of the things of one noun, as it was noted when the part was made: for one `gateway status`."""

    name: str
    """The member of the document."""

    def __init__(self, data: DataDirectory, registry: Registry) -> None: ...

    def rows(self, tenant: Tenant) -> list[Any]:
        """The things of an organization in the document."""
        ...

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        """The name and the text of each line; `of` follows names that several organizations may have."""
        ...

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        """The things that need a person; `at` are the options of commands about this organization."""
        ...
