"""Who could make a call, asked of the policies in a data directory."""

from __future__ import annotations

import time

from gateway.control import permissions
from gateway.control.permission_calls import calls_of, told
from gateway.control.permission_records import NOT_CONSIDERED
from gateway.data_directory import DataDirectory
from gateway.management.port.activation import InForce
from gateway.management.port.permissions import PermissionsAt, Question
from gateway.registry import as_of
from gateway.registry.database import Registry


class DirectoryPermissions:
    """`Permissions` of `port/permissions.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def asked(self, organization: str, agent: str | None, question: Question, at_ns: int | None) -> PermissionsAt:
        calls = calls_of(
            self._registry, organization, question.models, question.actions, question.tools, question.upstream
        )
        when = as_of.NOW if at_ns is None else at_ns
        if agent is None:
            then = as_of.all_at(self._registry, organization, when)
        else:
            then = as_of.agent_at(self._registry, organization, agent, when)
        time_ns = time.time_ns() if at_ns is None else at_ns
        activation = then.activation
        return PermissionsAt(
            at_ns=time_ns,
            activation=None if activation is None else InForce(id=activation.id, commit=activation.commit),
            calls=[told(each) for each in calls],
            permissions=permissions.permissions(permissions.Bundles(self._data.bundles), then, calls, time_ns),
            not_considered=NOT_CONSIDERED,
        )
