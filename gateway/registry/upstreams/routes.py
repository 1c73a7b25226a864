"""Changes of routes: several upstreams of an organization under one name (resilience.md).

Each function is one transaction with its audit entry, and in force for the next request when it returns. A route and an
upstream share the place in the base URL, so no two of them have the same name.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlmodel import Session, select

from gateway.errors import ConflictError, GatewayError
from gateway.identifiers import new_id
from gateway.registry import change_entries as entries
from gateway.registry import names, outbox
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Upstream, UpstreamRoute
from gateway.registry.queries import find_route, find_upstream, route_or_none, upstream_or_none, writing
from gateway.registry.records import RouteRecord
from gateway.registry.row_records import route_record

MAX_MEMBERS = 16
MAX_WEIGHT = 1_000_000
_MODEL = re.compile(r"[!-~]{1,200}", re.ASCII)
_MAX_RENAMES = 64


@dataclass(frozen=True, slots=True)
class NewMember:
    """An upstream (its name) of a route. `models` says what it calls the models of these names."""

    upstream: str
    weight: int
    tier: int
    models: Mapping[str, str] = field(default_factory=dict)


def set_route(
    registry: Registry,
    *,
    actor: str,
    organization: str,
    name: str,
    members: Sequence[NewMember],
    default: bool | None = None,
    reason: str = "",
) -> RouteRecord:
    """Make a route, or give an existing one other members. `default` None leaves that as it is."""
    names.check_served("route", name)
    check_members(members)
    with writing(registry, organization) as (session, tenant):
        if upstream_or_none(session, tenant, name) is not None:
            raise ConflictError(
                "upstream_exists",
                f"`{name}` is the name of an upstream, and a base URL can mean only one of them",
                subject=name,
                hint="give the route another name",
            )
        rows = [find_upstream(session, tenant, each.upstream) for each in members]
        _check_family(rows)
        row = route_or_none(session, tenant, name)
        what = "route.created" if row is None else "route.replaced"
        now = time.time_ns()
        if default:
            mine = select(UpstreamRoute).where(UpstreamRoute.organization_id == tenant.id, UpstreamRoute.name != name)
            for other in session.exec(mine):
                other.is_default = False
            session.flush()  # out of the unique index before the new default enters
        if row is None:
            row = UpstreamRoute(
                id=new_id("rte"),
                organization_id=tenant.id,
                name=name,
                is_default=False,
                members=[],
                version=0,
                created_ns=now,
                updated_ns=now,
            )
        row.members = [_stored(each, upstream) for each, upstream in zip(members, rows, strict=True)]
        row.is_default = row.is_default if default is None else default
        row.version, row.updated_ns = row.version + 1, now
        session.add(row)
        record = route_record(session, tenant, row)
        fields = entries.route(row)
        outbox.add_change(session, tenant, actor, what, fields, reason)
        return record


def remove_route(registry: Registry, *, actor: str, organization: str, name: str, reason: str = "") -> RouteRecord:
    """Delete a route. Its upstreams stay."""
    with writing(registry, organization) as (session, tenant):
        row = find_route(session, tenant, name)
        record = route_record(session, tenant, row)
        session.delete(row)
        fields, what = entries.route(row), "route.removed"
        outbox.add_change(session, tenant, actor, what, fields, reason)
        return record


def leave_routes(session: Session, tenant: Organization, upstream: Upstream, actor: str) -> list[str]:
    """Take an upstream that is being removed out of all routes; returns their names."""
    left = []
    for row in session.exec(select(UpstreamRoute).where(UpstreamRoute.organization_id == tenant.id)).all():
        members = [each for each in row.members if each["upstream"] != upstream.id]
        if len(members) < len(row.members):
            row.members, row.version, row.updated_ns = members, row.version + 1, time.time_ns()
            session.add(row)
            left.append(row.name)
            fields = entries.route(row)
            outbox.add_change(session, tenant, actor, "route.replaced", fields)
    return left


def check_members(members: Sequence[NewMember]) -> None:
    if not members:
        raise GatewayError("invalid_route", "a route needs an upstream", hint="name those that it leads to")
    if len(members) > MAX_MEMBERS:
        raise GatewayError("invalid_route", f"a route has at most {MAX_MEMBERS} upstreams")
    seen = set()
    for each in members:
        if each.upstream in seen:
            raise GatewayError(
                "invalid_route",
                f"upstream `{each.upstream}` is named twice",
                subject=each.upstream,
                hint="name it once; its weight says how often it is drawn",
            )
        seen.add(each.upstream)
        if not 1 <= each.weight <= MAX_WEIGHT:
            what = f"the weight of `{each.upstream}` must be 1 to {MAX_WEIGHT}, not {each.weight}"
            raise GatewayError("invalid_route", what, subject=each.upstream)
        if not 0 <= each.tier <= MAX_MEMBERS:
            what = f"the tier of `{each.upstream}` must be at most {MAX_MEMBERS}, not {each.tier}"
            raise GatewayError("invalid_route", what, subject=each.upstream)
        if len(each.models) > _MAX_RENAMES:
            raise GatewayError("invalid_route", f"at most {_MAX_RENAMES} models can have another name")
        for model in [*each.models, *each.models.values()]:
            if not _MODEL.fullmatch(model):
                what = "the name of a model must be 1 to 200 plain characters without spaces"
                raise GatewayError("invalid_route", what, subject=each.upstream)


def _check_family(rows: Sequence[Upstream]) -> None:
    """Raise unless one request can be sent to all of them."""
    first = rows[0]
    for row in rows:
        if row.provider == "http":
            what = f"upstream `{row.name}` is a JSON API of its own: no other can take its place"
            raise GatewayError("invalid_route", what, subject=row.name)
        if names.family(row.provider) != names.family(first.provider):
            what = f"upstreams `{first.name}` ({first.provider}) and `{row.name}` ({row.provider}) speak different APIs"
            raise GatewayError("invalid_route", what, subject=row.name, hint="make a route for each API")


def _stored(member: NewMember, upstream: Upstream) -> dict[str, Any]:
    models = dict(sorted(member.models.items()))
    return {"upstream": upstream.id, "weight": member.weight, "tier": member.tier, "models": models}
