"""The operations of the control API, one file a noun (docs/control-api.md)."""

from __future__ import annotations

from gateway.control.api import (
    adoptions,
    agents,
    audit,
    bindings,
    events,
    issuers,
    keys,
    limits,
    login_providers,
    logins,
    operators,
    organizations,
    overviews,
    permissions,
    prices,
    routes,
    stops,
    teams,
    token_keys,
    upstreams,
    usage,
    webhooks,
)
from gateway.control.operation import Operation

OPERATIONS: list[Operation] = [
    *logins.OPERATIONS,
    *operators.OPERATIONS,
    *login_providers.OPERATIONS,
    *organizations.OPERATIONS,
    *teams.OPERATIONS,
    *agents.OPERATIONS,
    *overviews.OPERATIONS,
    *permissions.OPERATIONS,
    *keys.OPERATIONS,
    *bindings.OPERATIONS,
    *limits.OPERATIONS,
    *upstreams.OPERATIONS,
    *routes.OPERATIONS,
    *issuers.OPERATIONS,
    *adoptions.OPERATIONS,
    *webhooks.OPERATIONS,
    *stops.OPERATIONS,
    *token_keys.OPERATIONS,
    *audit.OPERATIONS,
    *usage.OPERATIONS,
    *prices.OPERATIONS,
    *events.OPERATIONS,
]
