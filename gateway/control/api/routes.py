"""Routes: several upstreams under one name."""

from __future__ import annotations

from pydantic import Field
from sqlmodel import Session

from gateway.control.operation import Answer, Ask, Body, Operation, Page, PageQuery, Reasoned, ReasonQuery, cut, tag
from gateway.control.problems import Problem
from gateway.registry import names, queries
from gateway.registry.database import Registry
from gateway.registry.records import RouteRecord
from gateway.registry.upstreams import routes as upstream_routes


class RouteMemberBody(Body):
    """An upstream of a route."""

    upstream: str
    weight: int = Field(
        1, json_schema_extra={"minimum": 1, "maximum": upstream_routes.MAX_WEIGHT}
    )  # `upstream_routes` checks both
    tier: int = Field(
        1,
        json_schema_extra={"minimum": 1, "maximum": upstream_routes.MAX_MEMBERS},
        description="A later tier is tried when all before it failed.",
    )
    models: dict[str, str] = Field({}, description="What it calls models that clients call otherwise.")


class RouteBody(Reasoned):
    """All of a route."""

    members: list[RouteMemberBody]
    default: bool | None = Field(None, description="Serve it under `/v1/…` as well; null leaves that as it is.")


class NewRoute(RouteBody):
    """A route to create."""

    name: str


def _shown(record: RouteRecord) -> Answer[RouteRecord]:
    return Answer(body=record, tag=tag(record.version, default=record.default), location=f"/routes/{record.name}")


@Operation("GET /routes")
def listed(ask: Ask[None, PageQuery]) -> Answer[Page[RouteRecord]]:
    """List routes."""
    found = sorted(queries.routes(ask.registry, ask.tenant), key=lambda each: each.name)
    return cut(ask, found, lambda each: each.name, "routes")


@Operation("POST /routes", status=201, tagged=True)
def create(ask: Ask[NewRoute]) -> Answer[RouteRecord]:
    """Create a route."""
    name = ask.body.name

    def absent(session: Session) -> None:
        if queries.route_or_none(session, queries.find_organization(session, ask.tenant), name) is not None:
            hint = "choose another name, or replace that route with PUT"
            raise Problem(409, "route_exists", f"route `{name}` exists already", hint=hint)

    return _shown(_put(ask, ask.change(absent), name))


@Operation("GET /routes/{route}", tagged=True)
def show(ask: Ask) -> Answer[RouteRecord]:
    """A route."""
    return _shown(_one(ask))


@Operation("PUT /routes/{route}", if_match="required", tagged=True)
def replace(ask: Ask[RouteBody]) -> Answer[RouteRecord]:
    """Give a route other upstreams."""
    return _shown(_put(ask, ask.change(ask.as_seen(queries.find_route, ask.path["route"])), _one(ask).name))


def _put(ask: Ask[RouteBody], registry: Registry, name: str) -> RouteRecord:
    given = ask.body
    return upstream_routes.set_route(
        registry,
        **ask.by,
        name=name,
        members=[upstream_routes.NewMember(**each.model_dump()) for each in given.members],
        default=given.default,
        reason=given.reason,
    )


@Operation("DELETE /routes/{route}")
def remove(ask: Ask[None, ReasonQuery]) -> Answer[RouteRecord]:
    """Remove a route; its upstreams stay."""
    removed = upstream_routes.remove_route(ask.change(), **ask.by, name=_one(ask).name, reason=ask.query.reason)
    return Answer(body=removed)


def _one(ask: Ask) -> RouteRecord:
    found = {each.name: each for each in queries.routes(ask.registry, ask.tenant)}
    if (one := found.get(ask.path["route"])) is None:
        raise names.unknown_route(ask.path["route"], found)
    return one
