"""The keys that sign the tokens of a data directory's gateway."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.data_directory import DataDirectory
from gateway.identity.token_keys import TokenKeyState, states
from gateway.processes import local
from gateway.registry import token_keys
from gateway.registry.database import Registry
from gateway.registry.token_keys import Rotation


class DirectoryTokenKeys:
    """`TokenKeys` of `port/token_keys.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def listed(self) -> Sequence[TokenKeyState]:
        return states(self._data.keys)

    def rotate(self, at_once: bool, reason: str) -> Rotation:
        return token_keys.rotate(self._registry, self._data.keys, actor=local.actor(), at_once=at_once, reason=reason)
