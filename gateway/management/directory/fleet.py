"""The registry of a data directory as a file."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from gateway.control.key_actions import check_actions
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.identity.credentials import Peppers
from gateway.management.port.fleet import AskedFleet, Plan
from gateway.processes import local
from gateway.registry.database import Registry
from gateway.registry.fleet import export
from gateway.registry.fleet.apply import Applier, KeyFile
from gateway.registry.fleet.plan import Planner, Step
from gateway.registry.vault import Vault


class DirectoryFleet:
    """`Fleet` of `port/fleet.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def export(self, organization: str) -> dict[str, Any]:
        return export.document(self._registry, organization)

    def rehearse(self, asked: AskedFleet) -> Plan:
        with self._registry.copied() as copy:
            planner, applier = self._prepared(asked, copy)
            steps, _ = applier.apply(planner, lambda _steps: None)
            return Plan(applier.organization, steps)

    def apply(
        self, asked: AskedFleet, confirm: Callable[[Sequence[Step]], None] | None, key_file: KeyFile | None
    ) -> Plan:
        planner, applier = self._prepared(asked, self._registry)
        shown = planner.steps()
        if confirm is not None and any(each.action == "remove" for each in shown):
            confirm(shown)

        def check(steps: Sequence[Step]) -> None:
            if steps != shown:
                message = "the registry was changed since the plan was made"
                raise GatewayError("changed_meanwhile", message, hint="apply it again")

        applier.apply(planner, check, key_file)
        return Plan(applier.organization, shown)

    def _prepared(self, asked: AskedFleet, registry: Registry) -> tuple[Planner, Applier]:
        organization = asked.organization or "default"
        vault = Vault.load(self._data.keys)
        planner = Planner(
            registry,
            asked.document,
            organization,
            vault,
            asked.sources,
            prune=asked.prune,
            keys=asked.keys,
            replace_revoked=asked.replace_revoked,
        )
        applier = Applier(
            registry,
            vault,
            Peppers.load(self._data.keys),
            local.actor(),
            organization,
            asked.document.source,
            functools.partial(check_actions, registry, organization),
            asked.reason,
            asked.suspend_now,
            asked.replace_revoked,
        )
        return planner, applier
