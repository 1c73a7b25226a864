"""Upstreams. Their secrets are written and never read.

An operator of one organization does not say where in the gateway's own network a call goes: such an upstream is at a
public address, over https. So what answers must have a certificate for the name that the operator chose.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field

from gateway.control import shapes
from gateway.control.callers import Caller
from gateway.control.operation import Answer, Ask, Operation, Page, PageQuery, Reasoned, ReasonQuery, cut, tag
from gateway.control.problems import Problem
from gateway.dataplane.registry_view import destination_of, opened, provider_of, secret_of
from gateway.errors import GatewayError
from gateway.identity.call_tokens import Bearer
from gateway.mcp import pins
from gateway.outbound import addresses
from gateway.registry import names, queries
from gateway.registry.documents import plain
from gateway.registry.names import PROVIDERS
from gateway.registry.port import UpstreamRow
from gateway.registry.records import UpstreamRecord
from gateway.registry.upstreams.changes import add_upstream, remove_upstream, use
from gateway.secrets.vault import Vault
from gateway.upstream import check as checks
from gateway.upstream import mcp_look
from gateway.upstream import operations as upstream_operations
from gateway.upstream.check import UpstreamCheck
from gateway.upstream.operations import UpstreamOperation
from gateway.upstream.providers.http import api, openapi
from gateway.upstream.routing import Destination

_UPSTREAM = shapes.record(UpstreamRecord, "specification")
_MOST_BYTES = 4 * 1024 * 1024
Secret: TypeAlias = Annotated[str, Field(pattern=r"^[!-~]{1,4096}$")]


class UpstreamBody(Reasoned):
    """All of an upstream."""

    provider: str = Field(description="Whose API it speaks, such as openai or openai-compatible; http for a JSON API.")
    base_url: str | None = Field(None, description="Where its API begins; null for the provider's own URL.")
    secret: Secret | None = Field(
        description="The provider's key; null if it needs none. It is sealed and never shown."
    )
    headers: dict[str, str] = Field({}, description="Sent with every call; no secrets.")
    default: bool = Field(False, description="Serve it under `/v1/…` as well.")
    insecure: bool = Field(False, description="Allow plain HTTP to another machine.")
    trust: Literal["approve", "first_use", "trust"] | None = Field(
        None,
        description="Of an MCP server: the tools that may be called, which are approved ones, also those of its first "
        "list (the usual), or all.",
    )
    auth: Literal["key", "token", "on_behalf_of", "peer"] = Field(
        "key",
        description="The credential of its calls: its key, if it has one; a token of the gateway for each call, in "
        "the name of the agent, or of the person for whom the agent acts; or, for an agent of another gateway, the "
        "signed assertion of this one.",
    )
    openapi: dict[str, Any] | None = Field(
        None, description="The OpenAPI 3 document of a JSON API, as an object; only for the provider http."
    )


class NewUpstream(UpstreamBody):
    """An upstream to add."""

    name: str = Field(description="The first part of its path, `/NAME/v1/…`.")


def _plain(record: UpstreamRecord) -> dict[str, Any]:
    return {name: value for name, value in plain(record).items() if name != "specification"}


def _shown(record: UpstreamRecord) -> Answer:
    found = tag(record.version, default=record.default)
    return Answer(body=_plain(record), tag=found, location=f"/upstreams/{record.name}")


@Operation("GET /upstreams", answer=shapes.page(_UPSTREAM))
def listed(ask: Ask[None, PageQuery]) -> Answer:
    """List upstreams, without their secrets."""
    found = sorted(queries.upstreams(ask.registry, ask.tenant), key=lambda each: each.name)
    return cut(ask, [_plain(each) for each in found], lambda each: each["name"], "upstreams")


@Operation("POST /upstreams", most_bytes=_MOST_BYTES, status=201, answer=_UPSTREAM, tagged=True)
def add(ask: Ask[NewUpstream]) -> Answer:
    """Add an upstream with its secret, which is sealed."""
    return _shown(_put(ask, ask.change(), ask.body.name, replace=False))


@Operation("GET /upstreams/{upstream}", answer=_UPSTREAM, tagged=True)
def show(ask: Ask) -> Answer:
    """An upstream, without its secret."""
    return _shown(_one(ask))


@Operation("GET /upstreams/{upstream}/operations")
def operations(ask: Ask[None, PageQuery]) -> Answer[Page[UpstreamOperation]]:
    """The requests that an upstream takes, and under which action a policy sees each."""
    found = _one(ask)
    shown = upstream_operations.operations(found.name, found.provider, found.specification)
    numbered = list(enumerate(plain(shown)))
    page = cut(ask, numbered, lambda each: each[0], "operations", found.id, str(found.version))
    return Answer(body={**page.body, "items": [each for _, each in page.body["items"]]})


def _put(ask: Ask[UpstreamBody], registry: Any, name: str, *, replace: bool) -> UpstreamRecord:
    given = ask.body
    if (given.provider == "http") != (given.openapi is not None):
        detail = "an OpenAPI document is needed for the provider http, and for no other"
        raise GatewayError("invalid_openapi", detail, hint='send "openapi" with the provider http')
    url = given.base_url or PROVIDERS.get(given.provider, "")
    if not url and given.provider in PROVIDERS:
        raise GatewayError("invalid_base", f"an upstream of provider {given.provider} needs a base_url")
    check_reach(ask.caller, url, insecure=given.insecure)
    return add_upstream(
        registry,
        ask.context.vault,
        **ask.by,
        name=name,
        base_url=url,
        replace=replace,
        specification=None if given.openapi is None else api.dump(openapi.api_of(given.openapi)),
        **given.model_dump(include={"provider", "secret", "default", "insecure", "headers", "trust", "auth", "reason"}),
    )


def check_reach(caller: Caller, url: str, *, insecure: bool) -> None:
    """Raise `forbidden` unless the operator may have the gateway call there, as far as the URL says.

    What its name leads to is looked at when a connection is made (`outbound/`).
    """
    if caller.organization is None:
        return
    host = urlsplit(names.check_base_url(url, insecure=True)).hostname or ""
    literal = addresses.literal(host) is not None
    inside = addresses.refusal(host, addresses.PUBLIC) if literal else addresses.is_inside_name(host)
    if insecure or inside or not url.startswith("https://"):
        detail = "an operator of one organization may not have the gateway call into its own network"
        hint = "use https and a public address; an operator of the whole gateway can add it"
        raise Problem(403, "forbidden", detail, hint=hint)


@Operation("POST /upstreams/{upstream}/check", waits_for_others=True)
def check(ask: Ask[Reasoned]) -> Answer[UpstreamCheck]:
    """Ask an upstream for its models with the stored key now, and say what is wrong."""
    [found] = _checked(ask, [ask.path["upstream"]])
    return Answer(body=found)


@Operation("POST /upstreams/check", answer={}, here=True)
def check_several(ask: Ask[SeveralUpstreams]) -> Answer:
    """The same for several at the same time.

    At the same time.
    """
    found = _checked(ask, ask.body.upstreams)
    return Answer(body={"items": found})


class SeveralUpstreams(Reasoned):
    """Which upstreams are tried."""

    upstreams: list[str]


@Operation("PUT /upstreams/{upstream}", most_bytes=_MOST_BYTES, answer=_UPSTREAM, if_match="required", tagged=True)
def replace(ask: Ask[UpstreamBody]) -> Answer:
    """Replace an upstream, its secret as well."""
    _one(ask)
    name = ask.path["upstream"]
    return _shown(_put(ask, ask.change(ask.as_seen(queries.find_upstream, name)), name, replace=True))


@Operation("DELETE /upstreams/{upstream}", answer=_UPSTREAM, restricts=True)
def remove(ask: Ask[None, ReasonQuery]) -> Answer:
    """Remove an upstream and its sealed secret."""
    removed = remove_upstream(ask.change(), **ask.by, name=ask.path["upstream"], reason=ask.query.reason)
    return Answer(body=_plain(removed))


def _one(ask: Ask) -> UpstreamRecord:
    return _named(ask, ask.path["upstream"])


def _named(ask: Ask[Any, Any], name: str) -> UpstreamRecord:
    found = {each.name: each for each in queries.upstreams(ask.registry, ask.tenant)}
    if (one := found.get(name)) is None:
        raise names.unknown_upstream(name, found)
    return one


def _checked(ask: Ask[Reasoned], upstreams: Sequence[str]) -> list[UpstreamCheck]:
    """Check these upstreams, all at the same time. Each has its entry in the outbox before anything is sent."""
    rows = use(ask.change(), **ask.by, upstreams=upstreams, reason=ask.body.reason)
    return asyncio.run(checks.check([_destination(row, ask.context.vault) for row in rows]))


def mcp_server(ask: Ask[Reasoned], name: str) -> tuple[UpstreamRow, str | None, Bearer | None]:
    """An MCP server, and its credential. That it is used has its entry in the outbox."""
    if _named(ask, name).provider != pins.PROVIDER:
        raise GatewayError(
            "no_mcp_server", f"upstream `{name}` is no MCP server", subject=name, hint="name one that is"
        )
    [row] = use(ask.change(), **ask.by, upstreams=[name], reason=ask.body.reason)
    bearer = mcp_look.bearer_of(row, ask.context.data.keys, queries.deployment(ask.registry))
    return row, secret_of(row, ask.context.vault), bearer


def _destination(row: UpstreamRow, vault: Vault) -> Destination:
    if provider_of(row) is None:
        message = f"this version of the gateway does not know the provider `{row.provider}` of upstream `{row.name}`"
        raise GatewayError("invalid_provider", message, subject=row.name, hint="upgrade it")
    return destination_of(row, opened(row, vault))
