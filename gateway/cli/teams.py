"""`gateway teams`: the teams that agents are in, whose they are, and what is bound to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options, output, tenant_states
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.tenant_states import Yes
from gateway.errors import GatewayError, did_you_mean
from gateway.management import documents
from gateway.management.permitted import unless_forbidden

if TYPE_CHECKING:
    from gateway.management.client import Client, Document
    from gateway.registry.records import TeamRecord

app = App(no_args_is_help=True, help="Create, show, change, suspend and revoke teams.")

Owner = Annotated[str, typer.Option("--owner", help="Who is responsible for it, such as an e-mail address.")]
Description = Annotated[str, typer.Option("--description", metavar="TEXT", help="What it does, in one line.")]


@app.command()
def create(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="The new team's name. It cannot be changed later.")],
    owner: Owner = "",
    description: Description = "",
) -> None:
    """Create a team. Bundles and limits can be bound to it before any agent is in it."""
    body = {"name": name, "owner": owner, "description": description, "reason": ask.reason}
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "teams", body=body, organization=ask.organization)
        made = _whole(gateway, ask.organization, reply.body)
        if ask.as_json:
            output.print_json(made)
        else:
            typer.echo(f"created team {made.name} ({made.id})")
            org = options.of(ask.organization)
            output.note(
                f"next: `gateway agents update AGENT --team {name}{org}` and `gateway bind team:{name} BUNDLE{org}`"
            )


@app.command()
def update(
    ask: ChangingOf,
    team: Annotated[str, typer.Argument(help="A team's name.")],
    owner: Annotated[str | None, typer.Option("--owner", help="Who is responsible for it now.")] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="What it does; '' for nothing.")
    ] = None,
) -> None:
    """Change a team's owner or description."""
    if owner is None and description is None:
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway teams update --help`")
    given = {"owner": owner, "description": description}
    body = {name: value for name, value in given.items() if value is not None} | {"reason": ask.reason}
    with ask.gateway() as gateway:
        found = gateway.change("teams", team, body=body, organization=ask.organization)
        updated = None if found is None else _whole(gateway, ask.organization, found)
        if ask.as_json:
            output.print_json({"team": output.plain(updated) if updated else team, "changed": updated is not None})
        elif updated is None:
            typer.echo(f"team {team} is like that already")
        else:
            typer.echo(f"updated team {updated.name} ({updated.id}), now version {updated.version}")


@app.command("list")
def list_teams(ask: Of) -> None:
    """List the teams with their owners, agents and bundles."""
    from gateway.registry.records import TeamRecord

    with ask.gateway() as gateway:
        found = documents.records(TeamRecord, gateway.items("teams", organization=ask.organization, members=True))
    if ask.as_json:
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
def show(ask: Of, team: Annotated[str, typer.Argument(help="A team's name.")]) -> None:
    """Show a team with its agents and bundles."""
    with ask.gateway() as gateway:
        found = _team(gateway, ask.organization, team)
    if ask.as_json:
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
def suspend(ask: ChangingOf, team: Annotated[str, typer.Argument(help="A team's name.")]) -> None:
    """Suspend a team: every agent in it is refused `agent_suspended`, and its calls under way end."""
    tenant_states.change("suspend", "team", team, ask.data, ask.as_json, ask.reason, organization=ask.organization)


@app.command()
def resume(ask: ChangingOf, team: Annotated[str, typer.Argument(help="A team's name.")]) -> None:
    """Let the agents of a suspended team go on. Those that were suspended themselves stay so."""
    tenant_states.change("resume", "team", team, ask.data, ask.as_json, ask.reason, organization=ask.organization)


@app.command()
def revoke(ask: ChangingOf, team: Annotated[str, typer.Argument(help="A team's name.")], yes: Yes = False) -> None:
    """Revoke a team, for good: every agent in it is refused, and none of them can leave it."""
    if not yes:
        with ask.gateway() as gateway:
            tenant_states.ask_first("team", team, len(_team(gateway, ask.organization, team).agents))
    tenant_states.change("revoke", "team", team, ask.data, ask.as_json, ask.reason, organization=ask.organization)


def _team(gateway: Client, organization: str, team: str) -> TeamRecord:
    """With its agents and bundles."""
    from gateway.registry.records import TeamRecord

    return documents.record(TeamRecord, gateway.get("teams", team, organization=organization, members=True).body)


def _whole(gateway: Client, organization: str, document: Document) -> TeamRecord:
    """A team that has been changed, with its agents and bundles if the token may read these."""
    from gateway.registry.records import TeamRecord

    alone = documents.record(TeamRecord, document | {"agents": [], "bundles": []})
    return unless_forbidden(lambda: _team(gateway, organization, alone.name), alone)


def briefly(gateway: Client, organization: str) -> list[dict[str, Any]]:
    """The teams without their agents and bundles; none if the token may not read teams."""
    nothing: list[dict[str, Any]] = []
    return unless_forbidden(lambda: gateway.items("teams", organization=organization), nothing)


def unknown_before(gateway: Client, organization: str, team: str | None) -> str:
    """What to say after a change that names a team which has no row yet; empty if it has one, or none is named."""
    if not team:
        return ""
    known = [each["name"] for each in briefly(gateway, organization)]
    if team in known:
        return ""
    meant = did_you_mean(team, known)
    command = f"gateway teams update {team} --owner WHO{options.of(organization)}"
    return f"team {team} is new{f' ({meant})' if meant else ''}: say whose it is: `{command}`"
