"""The operations of the control API, one file a noun (docs/control-api.md)."""

from __future__ import annotations

from gateway.control.api import (
    agents,
    audit,
    bindings,
    keys,
    limits,
    operators,
    organizations,
    routes,
    teams,
    upstreams,
)
from gateway.control.operation import Operation

OPERATIONS: list[Operation] = [
    *operators.OPERATIONS,
    *organizations.OPERATIONS,
    *teams.OPERATIONS,
    *agents.OPERATIONS,
    *keys.OPERATIONS,
    *bindings.OPERATIONS,
    *limits.OPERATIONS,
    *upstreams.OPERATIONS,
    *routes.OPERATIONS,
    *audit.OPERATIONS,
]
