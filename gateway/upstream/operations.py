"""The requests that an upstream takes, as operators see them, and under which action a policy sees each."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gateway.upstream.providers.http import api
from gateway.upstream.providers.http import provider as http
from gateway.upstream.providers.presets import PROVIDERS


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamOperation:
    """One request. `params` are the names that a policy finds in `request.params`."""

    action: str
    method: str
    path: str
    params: list[str]


def operations(name: str, provider: str, specification: str | None) -> list[UpstreamOperation]:
    """Return the operations of an upstream: for a JSON API those of its document, otherwise those of its provider."""
    if specification is not None and provider == http.NAME:
        return [
            UpstreamOperation(
                action=f"{name}.{each.name}",
                method=each.method,
                path=f"/{name}{each.path}",
                params=[one.name for one in each.parameters],
            )
            for each in api.load(specification).operations
        ]
    family = PROVIDERS[provider]
    return [
        UpstreamOperation(
            action=action,
            method=each.method,
            path=f"/{name}{family.prefix}{each.path}",
            params=re.findall(r"\{(\w+)\}", each.path),
        )
        for each in family.routes
        for action in each.actions
    ]
