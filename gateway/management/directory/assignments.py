"""Bindings and limits of a data directory."""

from __future__ import annotations

from gateway.data_directory import DataDirectory
from gateway.management.directory.change import Change, change
from gateway.management.port.assignments import LimitName, NewBinding
from gateway.registry import changes, limit_states, queries, usage_limits
from gateway.registry.database import Registry
from gateway.registry.limit_states import LimitState
from gateway.registry.records import BindingRecord, LimitRecord, SubjectKind
from gateway.registry.usage_limits import Part
from gateway.settings import load_settings


class DirectoryBindings:
    """`Bindings` of `port/assignments.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def bind(self, organization: str, new: NewBinding, *, other_effect: bool, reason: str) -> BindingRecord:
        return changes.bind(
            self._registry,
            kind=new.kind,
            subject=new.subject,
            bundle=new.bundle,
            effect=new.effect,
            pinned=new.pinned,
            without_members=new.without_members,
            other_effect=other_effect,
            shadow=new.shadow,
            **change(organization, reason),
        )

    def unbind(
        self, organization: str, kind: SubjectKind, subject: str, bundle: str, *, shadow: bool, reason: str
    ) -> BindingRecord:
        by = change(organization, reason)
        return changes.unbind(self._registry, kind=kind, subject=subject, bundle=bundle, shadow=shadow, **by)

    def listed(self, organization: str, agent: str | None) -> list[BindingRecord]:
        return queries.bindings(self._registry, organization, agent)

    def missing_step(self, bundle: str) -> str:
        from gateway.policy.rollout.whereabouts import missing_step  # it imports git, and is asked after a failure only

        return missing_step(load_settings({"data": self._data.path}), self._registry, bundle)


class DirectoryLimits:
    """`Limits` of `port/assignments.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def set(
        self,
        organization: str,
        limit: LimitName,
        value: int,
        *,
        mode: str | None,
        without_members: bool,
        reason: str,
    ) -> LimitRecord:
        which = _which(organization, limit, reason)
        return usage_limits.set_limit(self._registry, value=value, mode=mode, without_members=without_members, **which)

    def raise_(self, organization: str, limit: LimitName, value: int, for_ns: int, reason: str) -> LimitRecord:
        which = _which(organization, limit, reason)
        return usage_limits.raise_limit(self._registry, value=value, for_ns=for_ns, **which)

    def remove(self, organization: str, limit: LimitName, reason: str) -> LimitRecord:
        return usage_limits.remove_limit(self._registry, **_which(organization, limit, reason))

    def listed(self, organization: str) -> list[LimitRecord]:
        return usage_limits.limits(self._registry, organization)

    def states(self, organization: str, kind: SubjectKind, subject: str) -> list[LimitState]:
        found = limit_states.applying(self._registry, organization, kind, subject)
        return limit_states.states(self._data, found)


class _Which(Change):
    """Which limit a change is about."""

    kind: SubjectKind
    subject: str
    name: str
    part: Part


def _which(organization: str, limit: LimitName, reason: str) -> _Which:
    part, by = Part(limit.upstream, limit.model), change(organization, reason)
    return _Which(kind=limit.kind, subject=limit.subject, name=limit.name, part=part, **by)
