"""All that commands ask of a gateway, whichever it is: the one of a data directory, or one behind its control API.

A file of this folder has what is asked about one subject. `directory/` and `remote/` have an implementation each; both
answer with the same records and raise the same `GatewayError`s. A change that answers None has found everything as it
was to be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.management.port.adoptions import Adoptions
    from gateway.management.port.agents import Agents
    from gateway.management.port.assignments import Bindings, Limits
    from gateway.management.port.destinations import Routes, Upstreams
    from gateway.management.port.fleet import Fleet
    from gateway.management.port.issuers import Issuers
    from gateway.management.port.keys import Keys
    from gateway.management.port.logins import Logins
    from gateway.management.port.operators import Operators
    from gateway.management.port.permissions import Permissions
    from gateway.management.port.policies import Policies
    from gateway.management.port.prices import Prices
    from gateway.management.port.tenants import Organizations, Stops, Teams
    from gateway.management.port.token_keys import TokenKeys
    from gateway.management.port.webhooks import Webhooks


class Gateway(Protocol):
    """All of it."""

    @property
    def agents(self) -> Agents: ...

    @property
    def keys(self) -> Keys: ...

    @property
    def teams(self) -> Teams: ...

    @property
    def bindings(self) -> Bindings: ...

    @property
    def limits(self) -> Limits: ...

    @property
    def stops(self) -> Stops: ...

    @property
    def organizations(self) -> Organizations: ...

    @property
    def operators(self) -> Operators: ...

    @property
    def logins(self) -> Logins: ...

    @property
    def permissions(self) -> Permissions: ...

    @property
    def upstreams(self) -> Upstreams: ...

    @property
    def routes(self) -> Routes: ...

    @property
    def issuers(self) -> Issuers: ...

    @property
    def webhooks(self) -> Webhooks: ...

    @property
    def adoptions(self) -> Adoptions: ...

    @property
    def policies(self) -> Policies: ...

    @property
    def prices(self) -> Prices: ...

    @property
    def token_keys(self) -> TokenKeys: ...

    @property
    def fleet(self) -> Fleet: ...
