"""The part of webhooks in `gateway status`: how their deliveries go, and receivers that do not accept them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.data_directory import DataDirectory
from gateway.registry.database import Registry
from gateway.registry.inventory import Tenant
from gateway.registry.webhooks import by_organization
from gateway.telemetry.findings import Finding
from gateway.webhooks.deliveries import fares, states


class Webhooks:
    """Implements `StatusPart`."""

    name = "webhooks"

    def __init__(self, data: DataDirectory, registry: Registry) -> None:
        self._webhooks = by_organization(registry)
        self._states = states(data.runtime_db)

    def rows(self, tenant: Tenant) -> list[Any]:
        return [{"webhook": each, "state": self._states.get(each.id)} for each in self._webhooks.get(tenant.name, ())]

    def lines(self, tenant: Tenant, of: str, now_ns: int) -> Iterator[tuple[str, str]]:
        for each in self._webhooks.get(tenant.name, ()):
            state = self._states.get(each.id)
            yield "webhook", f"{each.url}{of}  {'not used yet' if state is None else fares(state, now_ns)}"

    def findings(self, tenant: Tenant, at: str) -> Iterator[Finding]:
        for each in self._webhooks.get(tenant.name, ()):
            if (state := self._states.get(each.id)) and state.failures:
                waiting = "1 event waits" if state.waiting == 1 else f"{state.waiting} events wait"
                said = f"webhook {each.url} has not accepted the last {state.failures} deliveries"
                yield Finding(
                    "problem",
                    f"{said}, {waiting}: {state.error}",
                    f"see to the receiver and type `gateway webhooks test {each.id}{at}`, or `gateway webhooks remove`",
                )
