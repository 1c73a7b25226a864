"""`gateway agents`: register, list and change agents; the other verbs are in `agent_show.py` and `agent_states.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import agent_show, agent_states, options, output, permissions, teams
from gateway.cli.agent_show import Agent, At
from gateway.cli.asking import App, ChangingOf, Of, Several
from gateway.cli.options import ReplaceRevoked
from gateway.errors import GatewayError
from gateway.management import documents
from gateway.registry.agents.fields import TEXTS

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.records import AgentRecord

_EVERY: Final = 10**9
"""More agents than there are."""


def _options(more: str = "") -> Several:
    """An option for each text of an agent."""
    found = Several()
    for each in TEXTS:
        help_ = each.help.removesuffix(".") + more + "."
        found[each.name] = typer.Option(f"--{each.name.replace('_', '-')}", metavar="TEXT", help=help_)
    return found


app = App(no_args_is_help=True, help="Register, show, change, suspend, revoke and retire agents.")


@app.command()
def register(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="The new agent's name.")],
    owner: Annotated[str, typer.Option("--owner", help="Who is responsible for it, such as an e-mail address.")] = "",
    team: Annotated[str, typer.Option("--team", help="The team it belongs to; bundles can be bound to teams.")] = "",
    environment: Annotated[str, typer.Option("--environment", "--env", help="Such as dev or prod.")] = "dev",
    capability: Annotated[
        list[str] | None, typer.Option("--capability", help="A capability that policies can ask for; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label; may be repeated.")
    ] = None,
    *,
    texts: Annotated[Mapping[str, str], _options()],
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="AGENT", help="The agent that it works for or was made by.")
    ] = None,
    expires: Annotated[
        str | None,
        typer.Option("--expires", metavar="WHEN", help="Refuse it from then on: 90d, or 2027-06-30T18:00:00Z."),
    ] = None,
    review_days: Annotated[
        int | None, typer.Option("--review-days", metavar="N", help="Its owner must confirm it every N days.")
    ] = None,
    replace_revoked: ReplaceRevoked = False,
) -> None:
    """Register an agent. It can do nothing until it has a key and a binding."""
    from gateway.registry.records import AgentRecord

    body = {
        "name": name,
        "owner": owner,
        "team": team,
        "environment": environment,
        "capabilities": capability or [],
        "labels": _labels(label or []),
        **texts,
        "parent": parent,
        "expires": None if expires is None else documents.time_text(output.parse_expiry(expires) or None),
        "review_days": review_days,
        "reason": ask.reason,
        **({"replace_revoked": True} if replace_revoked else {}),
    }
    with ask.gateway() as gateway:
        new_team = teams.unknown_before(gateway, ask.organization, team)
        reply = gateway.send("POST", "agents", body=body, organization=ask.organization)
        agent = documents.record(AgentRecord, reply.body)
        if ask.as_json:
            output.print_json(agent)
        else:
            typer.echo(f"registered agent {agent.name} ({agent.id})")
            if new_team:
                output.note(new_team)
            org = options.of(ask.organization)
            output.note(f"next: `gateway keys create {agent.name}{org}` and `gateway bind {agent.name} BUNDLE{org}`")


@app.command("list")
def list_agents(
    ask: Of,
    at: At = None,
    limit: Annotated[
        int | None, typer.Option("--limit", "-n", min=1, max=_EVERY, help="At most so many agents, the oldest first.")
    ] = None,
    after: Annotated[
        str | None, typer.Option("--after", metavar="AGENT", help="Only those that are newer than this one.")
    ] = None,
    status: Annotated[str | None, typer.Option("--status", help="Only those of this status.")] = None,
    team: Annotated[str | None, typer.Option("--team", help="Only those of this team.")] = None,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only those with this in their name or owner.")
    ] = None,
) -> None:
    """List agents, also those that have ended, now or as they were at an earlier time.

    All of them by name; or with --limit and --after a page, the oldest first.
    """
    from gateway.registry.records import AgentRecord, AgentVersionRecord

    at_ns = None if at is None else output.parse_past(at)
    kind, when = AgentRecord if at_ns is None else AgentVersionRecord, documents.time_text(at_ns)
    agents: list[AgentRecord] = []
    more = False
    with ask.gateway() as gateway:
        wanted: dict[str, Any] = {"at": when, "after": after, "status": status, "team": team, "search": search}
        for page in gateway.pages("agents", most=limit, organization=ask.organization, **wanted):
            agents += documents.records(kind, page["items"])
            more = page["next"] is not None
        if limit is None and after is None:
            agents.sort(key=lambda each: (each.name, each.id))
        notes = _refused_all_the_same(gateway, ask.organization, agents) if at_ns is None and agents else []
    if more:
        notes.append(f"there are more: add --after {agents[-1].id}")
    if ask.as_json:
        output.print_json(agents)
        if more:
            output.note(notes[-1])
        return
    now_ns = output.now_ns() if at_ns is None else at_ns
    output.print_table(
        ("NAME", "STATUS", "VERSION", "TEAM", "ENVIRONMENT", "OWNER", "ID"),
        [(a.name, a.state(now_ns), str(a.version), a.team, a.environment, a.owner, a.id) for a in agents],
        empty="no agents yet: type `gateway agents register NAME`" if after is None else "no agents after that one",
    )
    for each in notes:
        output.note(each)


def _refused_all_the_same(gateway: Client, organization: str, agents: Sequence[AgentRecord]) -> list[str]:
    """Why agents that are active are refused: a stop, their organization, their teams."""
    from gateway.registry.agents.states import ENDED

    above = agent_states.standing(gateway, organization, "")
    notes = []
    if above.stopped is not None:
        whose = "" if above.stopped == "all" else f" of organization {organization}"
        notes.append(f"all agents{whose} are stopped, so they are refused")
    if above.organization != "active":
        notes.append(f"organization {organization} is {above.organization}, so its agents are refused")
    used = {each.team for each in agents if each.status not in ENDED}
    inactive = [
        each for each in teams.briefly(gateway, organization) if each["status"] != "active" and each["name"] in used
    ]
    return [*notes, *(f"team {each['name']} is {each['status']}, so its agents are refused" for each in inactive)]


app.command("show")(agent_show.show)
app.command("history")(agent_show.history)
app.command("permissions")(permissions.of_agent)


@app.command()
def update(
    ask: ChangingOf,
    agent: Agent,
    name: Annotated[str | None, typer.Option("--name", help="Another name. Keys and bindings stay.")] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Who is responsible for it now.")] = None,
    team: Annotated[
        str | None, typer.Option("--team", help="The team it belongs to now, and whose bundles judge it; '' for none.")
    ] = None,
    environment: Annotated[str | None, typer.Option("--environment", "--env", help="Such as dev or prod.")] = None,
    add_capability: Annotated[
        list[str] | None, typer.Option("--add-capability", metavar="NAME", help="One more; may be repeated.")
    ] = None,
    remove_capability: Annotated[
        list[str] | None, typer.Option("--remove-capability", metavar="NAME", help="One less; may be repeated.")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="A label to set; may be repeated.")
    ] = None,
    remove_label: Annotated[
        list[str] | None, typer.Option("--remove-label", metavar="NAME", help="A label to remove; may be repeated.")
    ] = None,
    keep_content: Annotated[
        bool | None,
        typer.Option("--keep-content/--no-keep-content", help="Keep what it says and is answered, sealed, in the log."),
    ] = None,
    retention_days: Annotated[
        int | None, typer.Option("--retention-days", metavar="N", help="For how many days content is kept.")
    ] = None,
    redact: Annotated[
        list[str] | None,
        typer.Option("--redact", metavar="PATTERN", help="Remove what matches (RE2) first; may be repeated."),
    ] = None,
    no_redact: Annotated[bool, typer.Option("--no-redact", help="Remove all redaction patterns.")] = False,
    *,
    texts: Annotated[Mapping[str, str], _options("; '' for none")],
    parent: Annotated[
        str | None, typer.Option("--parent", metavar="AGENT", help="The agent that it works for; '' for none.")
    ] = None,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="WHEN", help="90d, 2027-06-30T18:00:00Z, or never.")
    ] = None,
    review_days: Annotated[
        int | None, typer.Option("--review-days", metavar="N", help="Its owner must confirm it every N days; 0: never.")
    ] = None,
    replace_revoked: ReplaceRevoked = False,
) -> None:
    """Change an agent. What is not named stays. It has a new version from its next request on."""
    from gateway.registry.records import AgentRecord

    if no_redact and redact:
        raise typer.BadParameter("--redact and --no-redact exclude each other")
    given: dict[str, Any] = {
        "name": name,
        "owner": owner,
        "team": team,
        "environment": environment,
        "add_capabilities": add_capability or None,
        "remove_capabilities": remove_capability or None,
        "labels": _labels(label or []) or None,
        "remove_labels": remove_label or None,
        "keep_content": keep_content,
        "retention_days": retention_days,
        "redact": [] if no_redact else redact or None,
        **texts,
        "parent": parent,
    }
    body = {member: value for member, value in given.items() if value is not None}
    if expires is not None:
        body["expires"] = documents.time_text(output.parse_expiry(expires) or None)
    if review_days is not None:
        body["review_days"] = review_days or None
    if replace_revoked and name is not None:
        body["replace_revoked"] = True
    if not body:
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway agents update --help`")
    with ask.gateway() as gateway:
        new_team = teams.unknown_before(gateway, ask.organization, team)
        found = gateway.change("agents", agent, body=body | {"reason": ask.reason}, organization=ask.organization)
        updated = None if found is None else documents.record(AgentRecord, found)
        if ask.as_json:
            output.print_json({"agent": output.plain(updated) if updated else agent, "changed": updated is not None})
        elif updated is None:
            typer.echo(f"agent {agent} is like that already")
        else:
            typer.echo(f"updated agent {updated.name} ({updated.id}), now version {updated.version}")
            if new_team:
                output.note(new_team)


def _labels(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name in found:
            why = "is given twice" if name in found else "must be NAME=VALUE"
            raise GatewayError("invalid_label", f"label `{text}` {why}")
        found[name] = value
    return found


app.command("review")(agent_states.review)
app.command("suspend")(agent_states.suspend)
app.command("resume")(agent_states.resume)
app.command("revoke")(agent_states.revoke)
app.command("retire")(agent_states.retire)
app.command("erase-content")(agent_states.erase_content)
