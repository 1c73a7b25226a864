"""`gateway teams`: the teams that agents are in, whose they are, and what is bound to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import options, output
from gateway.cli.asking import App, ChangingOf, GivenOptions, Of
from gateway.errors import GatewayError, did_you_mean
from gateway.management.client import unless_forbidden

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

app = App(no_args_is_help=True, help="Create, show, change, suspend and revoke teams.")

Team = Annotated[str, typer.Argument(help="A team's name.")]
Yes = Annotated[bool, typer.Option("--yes", help="It cannot be undone, and that is meant.")]


@app.command()
def create(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="The new team's name. It cannot be changed later.")],
    owner: Annotated[str, typer.Option("--owner", help="Who is responsible for it, such as an e-mail address.")] = "",
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What it does, in one line.")] = "",
) -> None:
    """Create a team. Bundles and limits can be bound to it before any agent is in it."""
    with ask.gateway() as gateway:
        made = gateway.send("POST", "teams", body={"name": name, "owner": owner, "description": description})
        made = _whole(gateway, made)
    org = options.of(ask.organization)
    ask.show(
        made,
        f"created team {name} ({made['id']})",
        f"next: `gateway agents update AGENT --team {name}{org}` and `gateway bind team:{name} BUNDLE{org}`",
    )


@app.command()
def update(
    ask: ChangingOf,
    team: Team,
    owner: Annotated[str | None, typer.Option("--owner", help="Who is responsible for it now.")] = None,
    description: Annotated[
        str | None, typer.Option("--description", metavar="TEXT", help="What it does; '' for nothing.")
    ] = None,
) -> None:
    """Change a team's owner or description."""
    body = output.given({"owner": owner, "description": description}, "teams")
    with ask.gateway() as gateway:
        found = gateway.change("teams", team, body=body)
        ask.updated("team", team, found and _whole(gateway, found))


@app.command("list")
def list_teams(ask: Of) -> None:
    """List the teams with their owners, agents and bundles."""
    ask.table(
        ask.items("teams", members=True),
        ("TEAM", "name"),
        ("AGENTS", lambda each: output.names(each["agents"], "nobody")),
        ("BUNDLES", lambda each: output.names(each["bundles"])),
        *("OWNER", "STATUS"),
        empty="no teams yet: type `gateway teams create TEAM`",
    )


@app.command()
def show(ask: Of, team: Team) -> None:
    """Show a team with its agents and bundles."""
    ask.fields(
        ask.get("teams", team, members=True),
        *("name", "id", "organization", "status", "version", "owner", "description", "created", "agents", "bundles"),
    )


@app.command()
def suspend(ask: ChangingOf, team: Team) -> None:
    """Suspend a team: every agent in it is refused `agent_suspended`, and its calls under way end."""
    transition(ask, "suspend", "team", team)


@app.command()
def resume(ask: ChangingOf, team: Team) -> None:
    """Let the agents of a suspended team go on. Those that were suspended themselves stay so."""
    transition(ask, "resume", "team", team)


@app.command()
def revoke(ask: ChangingOf, team: Team, yes: Yes = False) -> None:
    """Revoke a team, for good: every agent in it is refused, and none of them can leave it."""
    if not yes:
        confirm_revocation("team", team, len(ask.get("teams", team, members=True)["agents"]))
    transition(ask, "revoke", "team", team)


def _whole(gateway: ManagementClient, team: AnswerDocument) -> AnswerDocument:
    """A team that has been changed, with its agents and bundles if the token may read these."""
    alone = team | {"agents": [], "bundles": []}
    return unless_forbidden(lambda: gateway.get("teams", team["name"], members=True), alone)


def briefly(gateway: ManagementClient) -> list[AnswerDocument]:
    """The teams without their agents and bundles; none if the token may not read teams."""
    return unless_forbidden(lambda: gateway.items("teams"), [])


def unknown_before(ask: GivenOptions, gateway: ManagementClient, team: str | None) -> list[str]:
    """The remark after a change that names a team which has no row yet; none if it has one, or no team is named."""
    known = [each["name"] for each in briefly(gateway)] if team else []
    if not team or team in known:
        return []
    meant = did_you_mean(team, known)
    command = f"gateway teams update {team} --owner WHO{options.of(ask.organization)}"
    return [f"team {team} is new{f' ({meant})' if meant else ''}: say whose it is: `{command}`"]


# ---- states, of organizations as well

_DONE: Final = {"suspend": "suspended", "resume": "resumed", "revoke": "revoked"}


def transition(ask: GivenOptions, verb: str, what: str, name: str) -> None:
    """Change the state of `what` (`organization` or `team`), and say what was done."""
    status = "active" if verb == "resume" else _DONE[verb]
    with ask.gateway() as gateway:
        changed = gateway.change(f"{what}s", name, verb=verb) is not None
    already = f"{what} {name} is not suspended" if verb == "resume" else f"{what} {name} is {status} already"
    ask.show({what: name, "status": status, "changed": changed}, f"{_DONE[verb]} {what} {name}" if changed else already)


def confirm_revocation(what: str, name: str, agents: int) -> None:
    """Refuse a revocation that nobody has confirmed: it ends many agents, and nothing brings them back."""
    ended = "has no agents, and would never have one again"
    if agents:
        ended = f"has {agents} {'agent' if agents == 1 else 'agents'}, which would be ended for good"
    noun = "orgs" if what == "organization" else "teams"
    hint = f"add --yes if that is meant; `gateway {noun} suspend {name}` stops them for now"
    raise GatewayError("not_confirmed", f"{what} `{name}` {ended}", subject=name, hint=hint)
