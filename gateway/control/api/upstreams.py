"""Upstreams. Their secrets are written and never read."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from sqlmodel import Session

from gateway.control import shapes
from gateway.control.operation import Answer, Ask, Operation, PageQuery, Reasoned, cut
from gateway.control.problems import Problem
from gateway.errors import GatewayError
from gateway.registry import changes, queries
from gateway.registry.documents import plain
from gateway.registry.names import PROVIDERS
from gateway.registry.records import UpstreamRecord

_UPSTREAM = shapes.record(UpstreamRecord, "specification")
_PRINTABLE = r"^[!-~]{1,4096}$"


class UpstreamBody(Reasoned):
    """All of an upstream."""

    provider: str = Field(description="Whose API it speaks, such as openai or openai-compatible.")
    base_url: str | None = Field(None, description="Where its API begins; null for the provider's own URL.")
    secret: Annotated[str, Field(pattern=_PRINTABLE)] | None = Field(
        description="The provider's key; null if it needs none. It is sealed and never shown."
    )
    headers: dict[str, str] = Field({}, description="Sent with every call; no secrets.")
    default: bool = Field(False, description="Serve it under `/v1/…` as well.")
    insecure: bool = Field(False, description="Allow plain HTTP to another machine.")


class NewUpstream(UpstreamBody):
    """An upstream to add."""

    name: str = Field(description="The first part of its path, `/NAME/v1/…`.")


def tag_of(version: int, default: bool) -> str:
    """Another upstream that becomes the default changes this one too, without a new version."""
    return f'"{version}-default"' if default else f'"{version}"'


def _plain(record: UpstreamRecord) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name != "specification"}


def _shown(record: UpstreamRecord, status: int = 200) -> Answer:
    location = f"/upstreams/{record.name}" if status == 201 else None
    tag = tag_of(record.version, record.default)
    return Answer(body=_plain(record), status=status, tag=tag, location=location)


def listed(ask: Ask) -> Answer:
    found = sorted(queries.upstreams(ask.registry, ask.tenant), key=lambda each: each.name)
    return cut(ask, [_plain(each) for each in found], lambda each: each["name"], "upstreams")


def show(ask: Ask) -> Answer:
    return _shown(_one(ask))


def add(ask: Ask) -> Answer:
    return _shown(_put(ask, ask.change(), ask.body.name, replace=False), 201)


def replace(ask: Ask) -> Answer:
    before = _one(ask)
    if before.specification is not None:
        hint = f"type `gateway upstreams add {before.name} --replace --openapi FILE`"
        raise Problem(409, "invalid_openapi", "an upstream with an OpenAPI document is not replaced here", hint=hint)

    def current(session: Session) -> str:
        row = queries.find_upstream(session, queries.find_organization(session, ask.tenant), ask.path["upstream"])
        if row is None:
            raise _unknown()
        return tag_of(row.version, row.is_default)

    return _shown(_put(ask, ask.change(ask.if_match(current)), ask.path["upstream"], replace=True))


def _put(ask: Ask, registry: Any, name: str, *, replace: bool) -> UpstreamRecord:
    given: UpstreamBody = ask.body
    if given.provider == "http":
        raise GatewayError("invalid_provider", "a JSON API is added on the command line, with its OpenAPI document")
    url = given.base_url or PROVIDERS.get(given.provider, "")
    if not url and given.provider in PROVIDERS:
        raise GatewayError("invalid_base", f"an upstream of provider {given.provider} needs a base_url")
    return changes.add_upstream(
        registry,
        ask.context.vault,
        actor=ask.actor,
        organization=ask.tenant,
        name=name,
        base_url=url,
        replace=replace,
        **given.model_dump(include={"provider", "secret", "default", "insecure", "headers", "reason"}),
    )


def remove(ask: Ask) -> Answer:
    removed = changes.remove_upstream(ask.change(), actor=ask.actor, organization=ask.tenant, name=ask.path["upstream"])
    return Answer(body=_plain(removed))


def _one(ask: Ask) -> UpstreamRecord:
    for each in queries.upstreams(ask.registry, ask.tenant):
        if each.name == ask.path["upstream"]:
            return each
    raise _unknown()


def _unknown() -> Problem:
    return Problem(404, "unknown_upstream", "there is no such upstream", hint="GET /api/v1/upstreams lists them")


OPERATIONS = [
    Operation(
        method="GET",
        path="/upstreams",
        noun="upstreams",
        summary="List upstreams, without their secrets",
        function=listed,
        query=PageQuery,
        answer=shapes.page(_UPSTREAM),
    ),
    Operation(
        method="POST",
        path="/upstreams",
        noun="upstreams",
        summary="Add an upstream with its secret, which is sealed",
        function=add,
        body=NewUpstream,
        status=201,
        answer=_UPSTREAM,
        tagged=True,
    ),
    Operation(
        method="GET",
        path="/upstreams/{upstream}",
        noun="upstreams",
        summary="An upstream, without its secret",
        function=show,
        answer=_UPSTREAM,
        tagged=True,
    ),
    Operation(
        method="PUT",
        path="/upstreams/{upstream}",
        noun="upstreams",
        summary="Replace an upstream, its secret as well",
        function=replace,
        body=UpstreamBody,
        answer=_UPSTREAM,
        if_match="required",
        tagged=True,
    ),
    Operation(
        method="DELETE",
        path="/upstreams/{upstream}",
        noun="upstreams",
        summary="Remove an upstream and its sealed secret",
        function=remove,
        answer=_UPSTREAM,
        restricts=True,
    ),
]
