"""New and removed upstreams, and the use of their secrets by operators (upstreams.md)."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import orjson
from sqlmodel import col, select

from gateway.a2a import cards
from gateway.errors import GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity.call_tokens import KEY, KINDS
from gateway.identity.peers import PEER
from gateway.mcp.pins import PROVIDER
from gateway.registry import change_entries, names, outbox
from gateway.registry import change_entries as entries
from gateway.registry.database import Registry
from gateway.registry.models import Organization, Upstream
from gateway.registry.operators import operators
from gateway.registry.port import UpstreamRow
from gateway.registry.queries import find_upstream, route_or_none, upstream_or_none, writing
from gateway.registry.records import UpstreamRecord, copied
from gateway.registry.row_records import upstream_record
from gateway.registry.upstreams.routes import leave_routes
from gateway.registry.upstreams.tools import check_trust, leave_tools
from gateway.secrets.vault import Vault

_NO_DEFAULT = (PROVIDER, cards.PROVIDER)


def add_upstream(
    registry: Registry,
    vault: Vault,
    *,
    actor: str,
    organization: str,
    name: str,
    provider: str,
    base_url: str,
    secret: str | None,
    default: bool = False,
    insecure: bool = False,
    replace: bool = False,
    specification: str | None = None,
    headers: Mapping[str, str] | None = None,
    trust: str | None = None,
    auth: str = KEY,
    reason: str = "",
) -> UpstreamRecord:
    """A destination with its secret, sealed; `replace` gives an existing one another secret, URL and all the rest.

    `specification` has the operations of a JSON API (provider `http`), or the agent that is published (`a2a`).
    `headers` go with every call and are no secrets.
    `trust` says which tools of an MCP server may be called (`tools.py`); None leaves that as it is. `auth` is the kind
    of its credentials: with any other than `KEY` there is no secret.

    The first upstream of an organization is its default, whatever `default` says: `/v1/…` should lead somewhere. An MCP
    server and a published agent have no such path, so they are none by themselves.
    """
    names.check_served("upstream", name)
    names.check_provider(provider)
    base_url = names.check_base_of(provider, names.check_base_url(base_url, insecure=insecure))
    headers = names.check_headers(provider, headers or {})
    check_trust(provider, trust)
    check_auth(auth, secret)
    _check_agent(name, provider, base_url, auth, published=specification is not None)
    if secret is not None:
        names.check_secret(secret)
    with writing(registry, organization) as (session, tenant):
        if route_or_none(session, tenant, name) is not None:
            raise names.taken("route", name, "give the upstream another name: a base URL can mean only one of them")
        row = upstream_or_none(session, tenant, name)
        if row is not None and not replace:
            raise names.taken("upstream", name, "say --replace to give it another secret or URL")
        others = session.exec(
            select(Upstream).where(Upstream.organization_id == tenant.id, Upstream.name != name)
        ).all()
        if default:
            for other in others:
                other.is_default = False
            session.flush()  # out of the unique index before the new default enters
        now = time.time_ns()
        what = "upstream.added" if row is None else "upstream.replaced"
        if row is None:
            row = Upstream(
                id=new_id("ups"),
                organization_id=tenant.id,
                name=name,
                provider=provider,
                base_url=base_url,
                is_default=False,
                version=0,
                created_ns=now,
                updated_ns=now,
            )
        trust = trust or (row.trust if row.provider == provider else None)
        row.provider, row.base_url, row.updated_ns = provider, base_url, now
        row.specification = specification
        row.headers, row.trust, row.auth = headers, check_trust(provider, trust), auth
        row.reach = operators.reach_of(session, tenant.name, actor)
        first = provider not in _NO_DEFAULT and all(each.provider in _NO_DEFAULT for each in others)
        row.is_default = default or row.is_default or first
        row.version += 1
        row.secret = None if secret is None else vault.seal(secret, row.place(tenant.name))
        session.add(row)
        outbox.add_change(session, tenant, actor, what, entries.upstream(row), reason)
        return upstream_record(tenant, row)


def _check_agent(name: str, provider: str, base_url: str, auth: str, *, published: bool) -> None:
    """Raise unless an upstream that is an agent is published here, or by another gateway that is told who calls."""
    if auth == PEER and (provider != cards.PROVIDER or published or cards.remote(base_url) is None):
        raise GatewayError(
            "invalid_auth",
            "only an agent of another gateway is called with the assertion of this one",
            subject=name,
            hint="the provider is a2a, and the URL ends in `/a2a/ORGANIZATION/AGENT`",
        )
    if provider == cards.PROVIDER and auth != PEER and not published:
        raise GatewayError(
            "invalid_provider",
            "an upstream of the provider a2a is an agent that is published, or one of another gateway",
            subject=name,
            hint=Hint(
                "type `gateway agents publish AGENT --endpoint URL`, or add `--auth peer`", api="publish the agent"
            ),
        )


def check_auth(auth: str, secret: str | None) -> str:
    """A kind of credentials that goes with this secret."""
    if auth not in KINDS:
        raise GatewayError(
            "invalid_auth", f"the credentials must be one of {', '.join(KINDS)}", hint="the usual is key"
        )
    if auth != KEY and secret is not None:
        what = "an upstream that gets a token of the gateway with each call has no key of its own"
        raise GatewayError("invalid_auth", what, hint="leave the key out")
    return auth


def remove_upstream(
    registry: Registry, *, actor: str, organization: str, name: str, reason: str = ""
) -> UpstreamRecord:
    """Delete a destination and its sealed secret. It leaves its routes; no other becomes the default by itself."""
    with writing(registry, organization) as (session, tenant):
        row = find_upstream(session, tenant, name)
        removed = upstream_record(tenant, row)
        leave_routes(session, tenant, row, actor)
        leave_tools(session, row)
        session.delete(row)
        outbox.add_change(session, tenant, actor, "upstream.removed", entries.upstream(row), reason)
        return removed


def use(
    registry: Registry, *, actor: str, organization: str, upstreams: Sequence[str], reason: str = ""
) -> list[UpstreamRow]:
    """These upstreams with their sealed secrets, for requests that no agent makes. Each gets an `upstream.checked`."""
    with writing(registry, organization) as (session, tenant):
        found = []
        for name in upstreams:
            row = find_upstream(session, tenant, name)
            fields = change_entries.upstream(row)
            what = "upstream.checked"
            outbox.add_change(session, tenant, actor, what, fields, reason)
            found.append(_row(tenant, row))
        return found


def mcp_servers(registry: Registry) -> list[UpstreamRow]:
    """The MCP servers of all organizations with their sealed secrets, for the gateway's own looks at their tools."""
    with registry.read() as session:
        every = select(Organization, Upstream).join(Upstream, col(Upstream.organization_id) == Organization.id)
        return [_row(*each) for each in session.exec(every.where(Upstream.provider == PROVIDER))]


def _row(tenant: Organization, row: Upstream) -> UpstreamRow:
    headers = orjson.dumps(row.headers).decode()
    return copied(UpstreamRow, row, organization=tenant.name, default=row.is_default, headers=headers)
