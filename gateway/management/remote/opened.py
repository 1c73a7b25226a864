"""A gateway elsewhere, for commands: each change and query is a request, or a few, to its control API."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from gateway.management.remote.client import Client

if TYPE_CHECKING:
    from gateway.management.remote.adoptions import RemoteAdoptions
    from gateway.management.remote.agents import RemoteAgents
    from gateway.management.remote.assignments import RemoteBindings, RemoteLimits
    from gateway.management.remote.destinations import RemoteRoutes, RemoteUpstreams
    from gateway.management.remote.fleet import RemoteFleet
    from gateway.management.remote.issuers import RemoteIssuers
    from gateway.management.remote.keys import RemoteKeys
    from gateway.management.remote.logins import RemoteLogins
    from gateway.management.remote.operators import RemoteOperators
    from gateway.management.remote.permissions import RemotePermissions
    from gateway.management.remote.policies import RemotePolicies
    from gateway.management.remote.prices import RemotePrices
    from gateway.management.remote.tenants import RemoteOrganizations, RemoteStops, RemoteTeams
    from gateway.management.remote.token_keys import RemoteTokenKeys
    from gateway.management.remote.webhooks import RemoteWebhooks


class RemoteGateway:
    """Only the nouns that a command uses are imported."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @cached_property
    def agents(self) -> RemoteAgents:
        from gateway.management.remote.agents import RemoteAgents

        return RemoteAgents(self._client)

    @cached_property
    def keys(self) -> RemoteKeys:
        from gateway.management.remote.keys import RemoteKeys

        return RemoteKeys(self._client)

    @cached_property
    def teams(self) -> RemoteTeams:
        from gateway.management.remote.tenants import RemoteTeams

        return RemoteTeams(self._client)

    @cached_property
    def bindings(self) -> RemoteBindings:
        from gateway.management.remote.assignments import RemoteBindings

        return RemoteBindings(self._client)

    @cached_property
    def limits(self) -> RemoteLimits:
        from gateway.management.remote.assignments import RemoteLimits

        return RemoteLimits(self._client)

    @cached_property
    def stops(self) -> RemoteStops:
        from gateway.management.remote.tenants import RemoteStops

        return RemoteStops(self._client)

    @cached_property
    def organizations(self) -> RemoteOrganizations:
        from gateway.management.remote.tenants import RemoteOrganizations

        return RemoteOrganizations(self._client)

    @cached_property
    def operators(self) -> RemoteOperators:
        from gateway.management.remote.operators import RemoteOperators

        return RemoteOperators(self._client)

    @cached_property
    def logins(self) -> RemoteLogins:
        from gateway.management.remote.logins import RemoteLogins

        return RemoteLogins(self._client)

    @cached_property
    def permissions(self) -> RemotePermissions:
        from gateway.management.remote.permissions import RemotePermissions

        return RemotePermissions(self._client)

    @cached_property
    def upstreams(self) -> RemoteUpstreams:
        from gateway.management.remote.destinations import RemoteUpstreams

        return RemoteUpstreams(self._client)

    @cached_property
    def routes(self) -> RemoteRoutes:
        from gateway.management.remote.destinations import RemoteRoutes

        return RemoteRoutes(self._client)

    @cached_property
    def issuers(self) -> RemoteIssuers:
        from gateway.management.remote.issuers import RemoteIssuers

        return RemoteIssuers(self._client)

    @cached_property
    def webhooks(self) -> RemoteWebhooks:
        from gateway.management.remote.webhooks import RemoteWebhooks

        return RemoteWebhooks(self._client)

    @cached_property
    def adoptions(self) -> RemoteAdoptions:
        from gateway.management.remote.adoptions import RemoteAdoptions

        return RemoteAdoptions(self._client)

    @cached_property
    def policies(self) -> RemotePolicies:
        from gateway.management.remote.policies import RemotePolicies

        return RemotePolicies(self._client)

    @cached_property
    def prices(self) -> RemotePrices:
        from gateway.management.remote.prices import RemotePrices

        return RemotePrices(self._client)

    @cached_property
    def token_keys(self) -> RemoteTokenKeys:
        from gateway.management.remote.token_keys import RemoteTokenKeys

        return RemoteTokenKeys(self._client)

    @cached_property
    def fleet(self) -> RemoteFleet:
        from gateway.management.remote.fleet import RemoteFleet

        return RemoteFleet(self._client)
