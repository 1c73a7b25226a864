"""The policies that are in force by a data directory."""

from __future__ import annotations

from gateway.data_directory import DataDirectory
from gateway.policy.rollout import state
from gateway.policy.rollout.state import PolicyState
from gateway.registry.database import Registry


class DirectoryPolicies:
    """`Policies` of `port/policies.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def state(self, limit: int) -> PolicyState:
        return state.state(self._registry, self._data, limit)
