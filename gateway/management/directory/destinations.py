"""Upstreams and routes of a data directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace as with_members

from gateway.data_directory import DataDirectory
from gateway.management.port.destinations import NewUpstream
from gateway.processes import local
from gateway.registry import changes, names, queries, upstream_routes
from gateway.registry.database import Registry
from gateway.registry.records import RouteRecord, UpstreamRecord
from gateway.registry.upstream_routes import NewMember
from gateway.registry.vault import Vault
from gateway.upstream import operations
from gateway.upstream.check import UpstreamCheck
from gateway.upstream.operations import UpstreamOperation
from gateway.upstream.providers.http import api, openapi


class DirectoryUpstreams:
    """`Upstreams` of `port/destinations.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def add(self, organization: str, new: NewUpstream, *, replace: bool, reason: str) -> UpstreamRecord:
        made = changes.add_upstream(
            self._registry,
            Vault.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            name=new.name,
            provider=new.provider,
            base_url=new.base_url,
            secret=new.secret,
            default=new.default,
            insecure=new.insecure,
            replace=replace,
            specification=None if new.openapi is None else api.dump(openapi.api_of(new.openapi)),
            headers=new.headers,
            reason=reason,
        )
        return _without_operations(made)

    def listed(self, organization: str) -> list[UpstreamRecord]:
        return [_without_operations(each) for each in queries.upstreams(self._registry, organization)]

    def operations(self, organization: str, upstream: str) -> list[UpstreamOperation]:
        known = {each.name: each for each in queries.upstreams(self._registry, organization)}
        if (found := known.get(upstream)) is None:
            raise names.unknown_upstream(upstream, known)
        return operations.operations(found.name, found.provider, found.specification)

    def check(self, organization: str, upstreams: Sequence[str], reason: str) -> list[UpstreamCheck]:
        from gateway.control import upstream_checks

        return upstream_checks.carry_out(
            self._registry,
            Vault.load(self._data.keys),
            actor=local.actor(),
            organization=organization,
            upstreams=upstreams,
            reason=reason,
        )

    def remove(self, organization: str, upstream: str, reason: str) -> UpstreamRecord:
        removed = changes.remove_upstream(
            self._registry, actor=local.actor(), organization=organization, name=upstream, reason=reason
        )
        return _without_operations(removed)


class DirectoryRoutes:
    """`Routes` of `port/destinations.py`."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def set(
        self, organization: str, route: str, members: Sequence[NewMember], default: bool | None, reason: str
    ) -> RouteRecord:
        return upstream_routes.set_route(
            self._registry,
            actor=local.actor(),
            organization=organization,
            name=route,
            members=members,
            default=default,
            reason=reason,
        )

    def listed(self, organization: str) -> list[RouteRecord]:
        return queries.routes(self._registry, organization)

    def remove(self, organization: str, route: str, reason: str) -> RouteRecord:
        return upstream_routes.remove_route(
            self._registry, actor=local.actor(), organization=organization, name=route, reason=reason
        )


def _without_operations(found: UpstreamRecord) -> UpstreamRecord:
    return with_members(found, specification=None)
