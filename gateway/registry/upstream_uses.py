"""The use of an upstream's secret by an operator, which is put on record before the secret is opened."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from gateway.registry import change_entries, names, outbox
from gateway.registry.database import Registry
from gateway.registry.port import UpstreamRow
from gateway.registry.queries import find_organization, find_upstream, upstream_names


def use(
    registry: Registry, *, actor: str, organization: str, upstreams: Sequence[str], reason: str = ""
) -> list[UpstreamRow]:
    """These upstreams with their sealed secrets, for requests that no agent makes. Each gets an `upstream.checked`."""
    with registry.write() as session:
        tenant = find_organization(session, organization)
        found = []
        for name in upstreams:
            if (row := find_upstream(session, tenant, name)) is None:
                raise names.unknown_upstream(name, upstream_names(session, tenant))
            fields = change_entries.upstream(row)
            what = "upstream.checked"
            outbox.add_change(session, organization=tenant.name, actor=actor, what=what, fields=fields, reason=reason)
            found.append(
                UpstreamRow(
                    id=row.id,
                    organization=tenant.name,
                    name=row.name,
                    provider=row.provider,
                    base_url=row.base_url,
                    default=row.is_default,
                    secret=row.secret,
                    version=row.version,
                    specification=row.specification,
                    headers=orjson.dumps(row.headers).decode(),
                    reach=row.reach,
                )
            )
        return found
