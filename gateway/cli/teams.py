"""`gateway teams`: the teams that agents are in, whose they are, and what is bound to them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import options, output, tenant_states
from gateway.cli.options import DATA, Data, Json, Organization, Reason
from gateway.cli.tenant_states import Yes
from gateway.errors import GatewayError, did_you_mean
from gateway.management import gateways

app = typer.Typer(no_args_is_help=True, help="Create, show, change, suspend and revoke teams.")

Owner = Annotated[str, typer.Option("--owner", help="Who is responsible for it, such as an e-mail address.")]
Description = Annotated[str, typer.Option("--description", metavar="TEXT", help="What it does, in one line.")]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The new team's name. It cannot be changed later.")],
    owner: Owner = "",
    description: Description = "",
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Create a team. Bundles and limits can be bound to it before any agent is in it."""
    with gateways.opened(data, output.warn) as gateway:
        made = gateway.teams.create(organization, name, owner, description, reason)
        if as_json:
            output.print_json(made)
        else:
            typer.echo(f"created team {made.name} ({made.id})")
            org = options.of(organization)
            output.note(
                f"next: `gateway agents update AGENT --team {name}{org}` and `gateway bind team:{name} BUNDLE{org}`"
            )


@app.command()
def update(
    team: Annotated[str, typer.Argument(help="A team's name.")],
    owner: Annotated[str | None, typer.Option("--owner", help="Who is responsible for it now.")] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="What it does; '' for nothing.")
    ] = None,
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Change a team's owner or description."""
    if owner is None and description is None:
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway teams update --help`")
    with gateways.opened(data, output.warn) as gateway:
        updated = gateway.teams.update(organization, team, owner, description, reason)
        if as_json:
            output.print_json({"team": output.plain(updated) if updated else team, "changed": updated is not None})
        elif updated is None:
            typer.echo(f"team {team} is like that already")
        else:
            typer.echo(f"updated team {updated.name} ({updated.id}), now version {updated.version}")


@app.command("list")
def list_teams(organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """List the teams with their owners, agents and bundles."""
    with gateways.opened(data, output.warn) as gateway:
        found = gateway.teams.listed(organization)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("TEAM", "AGENTS", "BUNDLES", "OWNER", "STATUS"),
        [
            (each.name, output.names(each.agents, "nobody"), output.names(each.bundles), each.owner, each.status)
            for each in found
        ],
        empty="no teams yet: type `gateway teams create TEAM`",
    )


@app.command()
def show(
    team: Annotated[str, typer.Argument(help="A team's name.")],
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Show a team with its agents and bundles."""
    with gateways.opened(data, output.warn) as gateway:
        found = gateway.teams.show(organization, team)
    if as_json:
        output.print_json(found)
        return
    output.print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("organization", found.organization),
            ("status", found.status),
            ("version", str(found.version)),
            ("owner", found.owner),
            ("description", found.description),
            ("created", output.timestamp(found.created_ns)),
            ("agents", ", ".join(found.agents)),
            ("bundles", ", ".join(found.bundles)),
        ]
    )


@app.command()
def suspend(
    team: Annotated[str, typer.Argument(help="A team's name.")],
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Suspend a team: every agent in it is refused `agent_suspended`, and its calls under way end."""
    tenant_states.change(
        "suspend",
        "team",
        team,
        data,
        as_json,
        lambda gateway: gateway.teams.suspend(organization, team, reason),
    )


@app.command()
def resume(
    team: Annotated[str, typer.Argument(help="A team's name.")],
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Let the agents of a suspended team go on. Those that were suspended themselves stay so."""
    tenant_states.change(
        "resume",
        "team",
        team,
        data,
        as_json,
        lambda gateway: gateway.teams.resume(organization, team, reason),
    )


@app.command()
def revoke(
    team: Annotated[str, typer.Argument(help="A team's name.")],
    yes: Yes = False,
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Revoke a team, for good: every agent in it is refused, and none of them can leave it."""
    if not yes:
        with gateways.opened(data, output.warn) as gateway:
            tenant_states.ask_first("team", team, len(gateway.teams.show(organization, team).agents))
    tenant_states.change(
        "revoke",
        "team",
        team,
        data,
        as_json,
        lambda gateway: gateway.teams.revoke(organization, team, reason),
    )


def unknown_before(data: Path, organization: str, team: str | None) -> str:
    """What to say after a change that names a team which has no row yet; empty if it has one, or none is named."""
    if not team:
        return ""
    with gateways.opened(data, output.warn) as gateway:
        known = [each.name for each in gateway.teams.briefly(organization)]
    if team in known:
        return ""
    meant = did_you_mean(team, known)
    command = f"gateway teams update {team} --owner WHO{options.of(organization)}"
    return f"team {team} is new{f' ({meant})' if meant else ''}: say whose it is: `{command}`"
