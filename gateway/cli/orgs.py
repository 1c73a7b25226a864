"""`gateway orgs`: the organizations (tenants) of this gateway."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import output, tenant_states
from gateway.cli import stops as stopped
from gateway.cli.asking import App, Changing, Everywhere
from gateway.cli.tenant_states import Yes
from gateway.errors import GatewayError
from gateway.management import documents
from gateway.management.permitted import unless_forbidden

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.organizations.given_names import GivenNameRecord
    from gateway.registry.records import OrganizationRecord

app = App(
    no_args_is_help=True,
    help="Create, change, suspend and revoke organizations, which share nothing but the gateway.",
)

_DAY_NS: Final = 86_400 * 10**9

Name = Annotated[str, typer.Argument(help="An organization's name.")]


@app.command()
def create(
    ask: Changing, name: Annotated[str, typer.Argument(help="The new organization's name. It cannot be changed later.")]
) -> None:
    """Create an organization: its own agents, bindings, upstreams and audit log."""
    with ask.gateway() as gateway:
        identifier = gateway.send("POST", "organizations", body={"name": name, "reason": ask.reason}).body["id"]
        if ask.as_json:
            output.print_json({"id": identifier, "name": name})
        else:
            typer.echo(f"created organization {name} ({identifier})")
            output.note(
                f"next: `gateway agents register NAME --org {name}`, and `gateway upstreams add … --org {name}`"
            )


@app.command("list")
def list_organizations(ask: Everywhere) -> None:
    """List the organizations."""
    from gateway.registry.records import OrganizationRecord

    with ask.gateway() as gateway:
        found = documents.records(OrganizationRecord, gateway.items("organizations"))
    if ask.as_json:
        output.print_json(found)
        return
    output.print_table(
        ("NAME", "AGENTS", "STATUS", "CREATED", "ID"),
        [(each.name, str(each.agents), each.status, output.timestamp(each.created_ns), each.id) for each in found],
        empty="no organizations yet: type `gateway orgs create NAME`",
    )


@app.command()
def show(ask: Everywhere, name: Name) -> None:
    """Show an organization, who made it so and why, and what keeps its agents out."""
    from gateway.registry.records import OrganizationVersionRecord

    with ask.gateway() as gateway:
        found = _organization(gateway, name)
        history = documents.records(OrganizationVersionRecord, gateway.items("organizations", name, "versions"))
        names = _names(gateway, name)
        stops = [each for each in stopped.in_force(gateway) if each.organization in (None, name)]
    if ask.as_json:
        output.print_json({"organization": found, "stops": stops, "versions": history, "names": names})
        return
    review = "" if found.review_days is None else f"every {found.review_days} days, unless an agent has its own"
    fields = [
        ("name", found.name),
        ("id", found.id),
        ("status", found.status),
        ("version", str(found.version)),
        ("agents", str(found.agents)),
        ("review", review),
        ("unconfirmed", _unconfirmed(found)),
        ("zone", found.zone),
        ("created", output.timestamp(found.created_ns)),
    ]
    if history:  # older registries have none of the first versions
        last = history[-1]
        fields.append(("changed", f"{output.timestamp(last.since_ns)} by {last.actor}"))
        fields.append(("reason", output.printable(last.reason)))
    fields += [("given", _given(each)) for each in names]
    for each in stops:
        whose = "all agents" if each.organization is None else "its agents"
        what = f"{whose}, since {output.timestamp(each.created_ns)} by {each.actor}: {output.printable(each.reason)}"
        fields.append(("stopped", what))
    output.print_fields(fields)


@app.command()
def update(
    ask: Changing,
    name: Name,
    review_days: Annotated[
        int | None,
        typer.Option("--review-days", metavar="N", help="Owners must confirm their agents every N days; 0: never."),
    ] = None,
    suspend_after: Annotated[
        str | None,
        typer.Option(
            "--suspend-after",
            metavar="DAYS",
            help="Suspend agents that nobody confirms so long after their review was due, such as 14d; off: never.",
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option(
            "--zone", metavar="ZONE", help="Days and months of limits and usage begin there, such as Europe/Zurich."
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Also if agents would be suspended at once.")] = False,
) -> None:
    """Change an organization: its time zone, how often agents must be confirmed, and what becomes of the others."""
    from gateway.registry.records import OrganizationRecord

    if review_days is None and suspend_after is None and zone is None:
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway orgs update --help`")
    body: dict[str, Any] = {"suspend_now": yes, "reason": ask.reason}
    if review_days is not None:
        body["review_days"] = review_days or None
    if suspend_after is not None:
        body["suspend_after_days"] = _days(suspend_after) or None
    if zone is not None:
        body["zone"] = zone
    with ask.gateway() as gateway:
        made = gateway.change("organizations", name, body=body)
        updated = None if made is None else documents.record(OrganizationRecord, made)
        if updated is not None and (review_days is not None or suspend_after is not None) and _never_due(updated):
            hint = f"say how often owners must confirm them: `gateway orgs update {name} --review-days 90`"
            output.warn("no agent is suspended unless it has a review date of its own", hint)
        if ask.as_json:
            output.print_json(
                {"organization": output.plain(updated) if updated else name, "changed": updated is not None}
            )
        elif updated is None:
            typer.echo(f"organization {name} is like that already")
        else:
            typer.echo(f"updated organization {name} ({updated.id}), now version {updated.version}")
            if zone is not None:
                output.note("windows of limits that have begun end as before: the zone holds for those that follow")


def _days(text: str) -> int:
    """A number of whole days, 0 for `off`."""
    if text == "off":
        return 0
    with suppress(GatewayError):
        days, rest = divmod(output.parse_duration(text), _DAY_NS)
        if days and not rest:
            return days
    raise GatewayError("invalid_suspend_after", f"`{text}` is no number of days", hint="write 14d, or off for never")


def _never_due(found: OrganizationRecord) -> bool:
    """Whether agents would be suspended after a review that none of them must have, unless one has its own."""
    return found.suspend_after_days is not None and found.review_days is None


def _unconfirmed(found: OrganizationRecord) -> str:
    """What becomes of agents that nobody confirms; empty for nothing."""
    if found.suspend_after_days is None:
        return ""
    only = ", which only agents with a review date of their own have" if _never_due(found) else ""
    return f"suspended {_day_text(found.suspend_after_days)} after the review was due{only}"


def _day_text(days: int) -> str:
    return "1 day" if days == 1 else f"{days} days"


TrustDomain = Annotated[
    str | None,
    typer.Option("--trust-domain", metavar="DOMAIN", help="Of SPIFFE IDs; also with the beginning of a path."),
]
GivenIssuer = Annotated[
    str | None, typer.Option("--issuer", metavar="URL", help="The `iss` of tokens, exactly; with --audience.")
]
GivenAudience = Annotated[str | None, typer.Option("--audience", metavar="AUD", help="The `aud` of its tokens.")]


def _named(trust_domain: str | None, issuer: str | None, audience: str | None) -> tuple[str, str, str]:
    """Kind, name and audience of what the options name."""
    if (trust_domain is None) == (issuer is None) or (issuer is None) != (audience is None):
        raise typer.BadParameter("say --trust-domain DOMAIN, or --issuer URL and --audience AUD")
    return ("issuer", issuer, audience or "") if issuer is not None else ("trust_domain", trust_domain or "", "")


@app.command()
def give(
    ask: Changing,
    name: Name,
    trust_domain: TrustDomain = None,
    issuer: GivenIssuer = None,
    audience: GivenAudience = None,
) -> None:
    """Let an organization's own operators use a trust domain, or an issuer with an audience.

    Without that only operators of the whole gateway, and whoever is at its machine, register SPIFFE IDs and issuers.
    """
    kind, given, of = _named(trust_domain, issuer, audience)
    from gateway.registry.organizations.given_names import GivenNameRecord

    body = {"kind": kind, "name": given, "audience": of, "reason": ask.reason}
    with ask.gateway() as gateway:
        made = documents.record(GivenNameRecord, gateway.send("POST", "organizations", name, "names", body=body).body)
        ask.show(output.plain(made), f"gave {_given(made)} to organization {name} ({made.id})")


@app.command()
def take(
    ask: Changing,
    name: Name,
    trust_domain: TrustDomain = None,
    issuer: GivenIssuer = None,
    audience: GivenAudience = None,
) -> None:
    """Take back what an organization was given. What its operators have made with it stays until it is revoked."""
    kind, given, of = _named(trust_domain, issuer, audience)
    from gateway.registry.organizations.given_names import GivenNameRecord

    with ask.gateway() as gateway:
        mine = [each for each in _names(gateway, name) if (each.kind, each.audience) == (kind, of)]
        ids = [each.id for each in mine if each.name == given.removeprefix("spiffe://")]
        path = ("organizations", name, "names", ids[0] if ids else given)
        taken = documents.record(GivenNameRecord, gateway.send("DELETE", *path, reason=ask.reason).body)
        ask.show(output.plain(taken), f"took {_given(taken)} from organization {name}")


def _organization(gateway: Client, name: str) -> OrganizationRecord:
    from gateway.registry.records import OrganizationRecord

    return documents.record(OrganizationRecord, gateway.get("organizations", name).body)


def _names(gateway: Client, organization: str) -> list[GivenNameRecord]:
    """The trust domains and issuers that it was given; none if the token may not read them."""
    from gateway.registry.organizations.given_names import GivenNameRecord

    nothing: list[dict[str, Any]] = []
    found = unless_forbidden(lambda: gateway.items("organizations", organization, "names"), nothing)
    return documents.records(GivenNameRecord, found)


def _given(record: GivenNameRecord) -> str:
    audience = f" with audience {output.printable(record.audience)}" if record.audience else ""
    return f"{'issuer' if record.audience else 'trust domain'} {output.printable(record.name)}{audience}"


@app.command()
def suspend(ask: Changing, name: Name) -> None:
    """Suspend an organization: every agent in it is refused `agent_suspended`, and its calls under way end."""
    tenant_states.change("suspend", "organization", name, ask.data, ask.as_json, ask.reason)


@app.command()
def resume(ask: Changing, name: Name) -> None:
    """Let the agents of a suspended organization go on. Those that were suspended themselves stay so."""
    tenant_states.change("resume", "organization", name, ask.data, ask.as_json, ask.reason)


@app.command()
def revoke(ask: Changing, name: Name, yes: Yes = False) -> None:
    """Revoke an organization, for good: every agent in it is refused, and nothing brings it back."""
    if not yes:
        with ask.gateway() as gateway:
            tenant_states.ask_first("organization", name, _organization(gateway, name).agents)
    tenant_states.change("revoke", "organization", name, ask.data, ask.as_json, ask.reason)
