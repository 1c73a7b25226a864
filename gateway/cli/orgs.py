"""`gateway orgs`: the organizations (tenants) of this gateway."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import output, teams
from gateway.cli import stops as stopped
from gateway.cli.asking import App, Changing, Everywhere
from gateway.cli.teams import Yes
from gateway.errors import GatewayError
from gateway.management.client import unless_forbidden

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

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
    identifier = ask.send("POST", "organizations", body={"name": name})["id"]
    ask.show(
        {"id": identifier, "name": name},
        f"created organization {name} ({identifier})",
        f"next: `gateway agents register NAME --org {name}`, and `gateway upstreams add … --org {name}`",
    )


@app.command("list")
def list_organizations(ask: Everywhere) -> None:
    """List the organizations."""
    ask.table(
        ask.items("organizations"),
        *("NAME", "AGENTS", "STATUS", "CREATED", "ID"),
        empty="no organizations yet: type `gateway orgs create NAME`",
    )


@app.command()
def show(ask: Everywhere, name: Name) -> None:
    """Show an organization, who made it so and why, and what keeps its agents out."""
    with ask.gateway() as gateway:
        found = gateway.get("organizations", name)
        history = gateway.items("organizations", name, "versions")
        names = _names(gateway, name)
        stops = [each for each in stopped.in_force(gateway) if each["organization"] in (None, name)]
    days = found["review_days"]
    last = history[-1] if history else None  # older registries have none of the first versions
    ask.fields(
        {"organization": found, "stops": stops, "versions": history, "names": names},
        *((each, found[each]) for each in ("name", "id", "status", "version", "agents")),
        ("review", "" if days is None else f"every {days} days, unless an agent has its own"),
        ("unconfirmed", _unconfirmed(found)),
        *((each, found[each]) for each in ("zone", "created")),
        *([("changed", f"{last['since']} by {last['actor']}")] if last else []),
        *([("reason", output.printable(last["reason"]))] if last else []),
        *(("given", _given(each)) for each in names),
        *(("stopped", _stopped(each)) for each in stops),
    )


def _stopped(stop: AnswerDocument) -> str:
    whose = "all agents" if stop["organization"] is None else "its agents"
    return f"{whose}, since {stop['created']} by {stop['actor']}: {output.printable(stop['reason'])}"


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
    wanted = {
        "review_days": review_days,
        "suspend_after_days": None if suspend_after is None else _days(suspend_after),
        "zone": zone,
    }
    # No days at all is never.
    body = {member: value or None for member, value in output.given(wanted, "orgs").items()}
    if zone is not None:
        body["zone"] = zone
    with ask.gateway() as gateway:
        updated = gateway.change("organizations", name, body=body | {"suspend_now": yes})
    if updated is not None and (review_days is not None or suspend_after is not None) and _never_due(updated):
        hint = f"say how often owners must confirm them: `gateway orgs update {name} --review-days 90`"
        output.warn("no agent is suspended unless it has a review date of its own", hint)
    note = "windows of limits that have begun end as before: the zone holds for those that follow"
    ask.updated("organization", name, updated, *([note] if zone is not None else []))


def _days(text: str) -> int:
    """A number of whole days, 0 for `off`."""
    if text == "off":
        return 0
    with suppress(GatewayError):
        days, rest = divmod(output.parse_duration(text), _DAY_NS)
        if days and not rest:
            return days
    raise GatewayError("invalid_suspend_after", f"`{text}` is no number of days", hint="write 14d, or off for never")


def _never_due(found: AnswerDocument) -> bool:
    """Whether agents would be suspended after a review that none of them must have, unless one has its own."""
    return found["suspend_after_days"] is not None and found["review_days"] is None


def _unconfirmed(found: AnswerDocument) -> str:
    """The fate of agents that nobody confirms; empty for none."""
    if found["suspend_after_days"] is None:
        return ""
    only = ", which only agents with a review date of their own have" if _never_due(found) else ""
    return f"suspended {_day_text(found['suspend_after_days'])} after the review was due{only}"


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
    made = ask.send("POST", "organizations", name, "names", body={"kind": kind, "name": given, "audience": of})
    ask.show(made, f"gave {_given(made)} to organization {name} ({made['id']})")


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
    with ask.gateway() as gateway:
        mine = [each for each in _names(gateway, name) if (each["kind"], each["audience"]) == (kind, of)]
        ids = [each["id"] for each in mine if each["name"] == given.removeprefix("spiffe://")]
        taken = gateway.send("DELETE", "organizations", name, "names", ids[0] if ids else given)
    ask.show(taken, f"took {_given(taken)} from organization {name}")


def _names(gateway: ManagementClient, organization: str) -> list[AnswerDocument]:
    """The trust domains and issuers that it was given; none if the token may not read them."""
    return unless_forbidden(lambda: gateway.items("organizations", organization, "names"), [])


def _given(name: AnswerDocument) -> str:
    audience = f" with audience {output.printable(name['audience'])}" if name["audience"] else ""
    return f"{'issuer' if name['audience'] else 'trust domain'} {output.printable(name['name'])}{audience}"


@app.command()
def suspend(ask: Changing, name: Name) -> None:
    """Suspend an organization: every agent in it is refused `agent_suspended`, and its calls under way end."""
    teams.transition(ask, "suspend", "organization", name)


@app.command()
def resume(ask: Changing, name: Name) -> None:
    """Let the agents of a suspended organization go on. Those that were suspended themselves stay so."""
    teams.transition(ask, "resume", "organization", name)


@app.command()
def revoke(ask: Changing, name: Name, yes: Yes = False) -> None:
    """Revoke an organization, for good: every agent in it is refused, and nothing brings it back."""
    if not yes:
        teams.confirm_revocation("organization", name, ask.get("organizations", name)["agents"])
    teams.transition(ask, "revoke", "organization", name)
