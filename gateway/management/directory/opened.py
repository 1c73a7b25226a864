"""The gateway of a data directory, for commands: the changes and queries of the registry, as this machine's user."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.data_directory import DataDirectory
    from gateway.management.directory.adoptions import DirectoryAdoptions
    from gateway.management.directory.agents import DirectoryAgents
    from gateway.management.directory.assignments import DirectoryBindings, DirectoryLimits
    from gateway.management.directory.destinations import DirectoryRoutes, DirectoryUpstreams
    from gateway.management.directory.fleet import DirectoryFleet
    from gateway.management.directory.issuers import DirectoryIssuers
    from gateway.management.directory.keys import DirectoryKeys
    from gateway.management.directory.logins import DirectoryLogins
    from gateway.management.directory.operators import DirectoryOperators
    from gateway.management.directory.permissions import DirectoryPermissions
    from gateway.management.directory.policies import DirectoryPolicies
    from gateway.management.directory.prices import DirectoryPrices
    from gateway.management.directory.tenants import DirectoryOrganizations, DirectoryStops, DirectoryTeams
    from gateway.management.directory.token_keys import DirectoryTokenKeys
    from gateway.management.directory.webhooks import DirectoryWebhooks
    from gateway.registry.database import Registry


class DirectoryGateway:
    """Made for one command, with the registry that it has opened. Only the nouns that it uses are imported."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    @cached_property
    def agents(self) -> DirectoryAgents:
        from gateway.management.directory.agents import DirectoryAgents

        return DirectoryAgents(self._registry, self._data)

    @cached_property
    def keys(self) -> DirectoryKeys:
        from gateway.management.directory.keys import DirectoryKeys

        return DirectoryKeys(self._registry, self._data)

    @cached_property
    def teams(self) -> DirectoryTeams:
        from gateway.management.directory.tenants import DirectoryTeams

        return DirectoryTeams(self._registry)

    @cached_property
    def bindings(self) -> DirectoryBindings:
        from gateway.management.directory.assignments import DirectoryBindings

        return DirectoryBindings(self._registry, self._data)

    @cached_property
    def limits(self) -> DirectoryLimits:
        from gateway.management.directory.assignments import DirectoryLimits

        return DirectoryLimits(self._registry, self._data)

    @cached_property
    def stops(self) -> DirectoryStops:
        from gateway.management.directory.tenants import DirectoryStops

        return DirectoryStops(self._registry)

    @cached_property
    def organizations(self) -> DirectoryOrganizations:
        from gateway.management.directory.tenants import DirectoryOrganizations

        return DirectoryOrganizations(self._registry)

    @cached_property
    def operators(self) -> DirectoryOperators:
        from gateway.management.directory.operators import DirectoryOperators

        return DirectoryOperators(self._registry, self._data)

    @cached_property
    def logins(self) -> DirectoryLogins:
        from gateway.management.directory.logins import DirectoryLogins

        return DirectoryLogins(self._registry, self._data)

    @cached_property
    def permissions(self) -> DirectoryPermissions:
        from gateway.management.directory.permissions import DirectoryPermissions

        return DirectoryPermissions(self._registry, self._data)

    @cached_property
    def upstreams(self) -> DirectoryUpstreams:
        from gateway.management.directory.destinations import DirectoryUpstreams

        return DirectoryUpstreams(self._registry, self._data)

    @cached_property
    def routes(self) -> DirectoryRoutes:
        from gateway.management.directory.destinations import DirectoryRoutes

        return DirectoryRoutes(self._registry)

    @cached_property
    def issuers(self) -> DirectoryIssuers:
        from gateway.management.directory.issuers import DirectoryIssuers

        return DirectoryIssuers(self._registry)

    @cached_property
    def webhooks(self) -> DirectoryWebhooks:
        from gateway.management.directory.webhooks import DirectoryWebhooks

        return DirectoryWebhooks(self._registry, self._data)

    @cached_property
    def adoptions(self) -> DirectoryAdoptions:
        from gateway.management.directory.adoptions import DirectoryAdoptions

        return DirectoryAdoptions(self._registry, self._data)

    @cached_property
    def policies(self) -> DirectoryPolicies:
        from gateway.management.directory.policies import DirectoryPolicies

        return DirectoryPolicies(self._registry, self._data)

    @cached_property
    def prices(self) -> DirectoryPrices:
        from gateway.management.directory.prices import DirectoryPrices

        return DirectoryPrices(self._registry, self._data)

    @cached_property
    def token_keys(self) -> DirectoryTokenKeys:
        from gateway.management.directory.token_keys import DirectoryTokenKeys

        return DirectoryTokenKeys(self._registry, self._data)

    @cached_property
    def fleet(self) -> DirectoryFleet:
        from gateway.management.directory.fleet import DirectoryFleet

        return DirectoryFleet(self._registry, self._data)
