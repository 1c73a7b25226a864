"""`gateway agents`: register, list and change agents; what is shown of one is in `agent_show.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import agent_cards, agent_show, options, output, permissions, teams
from gateway.cli.agent_show import Agent, At
from gateway.cli.asking import App, ChangingOf, Of, Several
from gateway.cli.options import ReplaceRevoked
from gateway.errors import GatewayError
from gateway.management import documents
from gateway.registry.agents.fields import TEXTS

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

_EVERY: Final = 10**9
"""More agents than there are."""
_SECONDS: Final = 600.0  # for the content of many calls


def _options(more: str = "") -> Several:
    """An option for each text of an agent."""
    found = Several()
    for each in TEXTS:
        help_ = each.help.removesuffix(".") + more + "."
        found[each.name] = typer.Option(f"--{each.name.replace('_', '-')}", metavar="TEXT", help=help_)
    return found


app = App(no_args_is_help=True, help="Register, show, change, publish, suspend, revoke and retire agents.")
agent_cards.commands(app)


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
    body = {
        "name": name,
        "owner": owner,
        "team": team,
        "environment": environment,
        "capabilities": capability or [],
        "labels": _labels(label or []),
        **texts,
        "parent": parent,
        "expires": _expiry(expires),
        "review_days": review_days,
        **({"replace_revoked": True} if replace_revoked else {}),
    }
    with ask.gateway() as gateway:
        new_team = teams.unknown_before(ask, gateway, team)
        agent = gateway.send("POST", "agents", body=body)
    org = options.of(ask.organization)
    ask.show(
        agent,
        f"registered agent {agent['name']} ({agent['id']})",
        *new_team,
        f"next: `gateway keys create {agent['name']}{org}` and `gateway bind {agent['name']} BUNDLE{org}`",
    )


def _expiry(text: str | None) -> str | None:
    return None if text is None else documents.time_text(output.parse_expiry(text) or None)


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
    owner: Annotated[str | None, typer.Option("--owner", metavar="OWNER", help="Only those of this owner.")] = None,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="Only those with this in their name or owner.")
    ] = None,
) -> None:
    """List agents, also those that have ended, now or as they were at an earlier time.

    All of them by name; or with --limit and --after a page, the oldest first.
    """
    at_ns = None if at is None else output.parse_past(at)
    agents: list[AnswerDocument] = []
    more = False
    with ask.gateway() as gateway:
        wanted: dict[str, Any] = {"after": after, "status": status, "team": team}
        wanted |= {"owner": owner, "search": search}
        for page in gateway.pages("agents", most=limit, at=documents.time_text(at_ns), **wanted):
            agents += page["items"]
            more = page["next"] is not None
        if limit is None and after is None:
            agents.sort(key=lambda each: (each["name"], each["id"]))
        notes = _refused_all_the_same(gateway, agents) if at_ns is None and agents else []
    if more:
        notes.append(f"there are more: add --after {agents[-1]['id']}")
    now_ns = output.now_ns() if at_ns is None else at_ns
    ask.table(
        agents,
        "NAME",
        ("STATUS", lambda each: agent_show.record(each).state(now_ns)),
        *("VERSION", "TEAM", "ENVIRONMENT", "OWNER", "ID"),
        empty=_nothing(after, any((status, team, owner, search))),
    )
    for each in notes if not ask.as_json else notes[-1:] if more else ():
        output.note(each)


def _refused_all_the_same(gateway: ManagementClient, agents: list[AnswerDocument]) -> list[str]:
    """The causes that refuse agents which are active: a stop, their organization, their teams."""
    from gateway.registry.agents.states import ENDED

    above, name = gateway.get("standing", team=""), gateway.organization
    notes = []
    if above["stopped"] is not None:
        whose = "" if above["stopped"] == "all" else f" of organization {name}"
        notes.append(f"all agents{whose} are stopped, so they are refused")
    if above["organization"] != "active":
        notes.append(f"organization {name} is {above['organization']}, so its agents are refused")
    used = {each["team"] for each in agents if each["status"] not in ENDED}
    out = [each for each in teams.briefly(gateway) if each["status"] != "active" and each["name"] in used]
    return [*notes, *(f"team {each['name']} is {each['status']}, so its agents are refused" for each in out)]


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
    ends = ({} if expires is None else {"expires": _expiry(expires)}) | (
        {} if review_days is None else {"review_days": review_days or None}
    )
    body = output.given(given, "agents", also=ends)
    if replace_revoked and name is not None:
        body["replace_revoked"] = True
    with ask.gateway() as gateway:
        new_team = teams.unknown_before(ask, gateway, team)
        ask.updated("agent", agent, gateway.change("agents", agent, body=body), *new_team)


def _labels(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name in found:
            why = "is given twice" if name in found else "must be NAME=VALUE"
            raise GatewayError("invalid_label", f"label `{text}` {why}")
        found[name] = value
    return found


@app.command()
def review(ask: ChangingOf, agent: Agent) -> None:
    """Confirm that an agent is still wanted as it is, which `--review-days` asks for again and again."""
    reviewed = ask.send("POST", "agents", agent, "review")
    ask.show(reviewed, f"reviewed agent {_named(reviewed)}, now version {reviewed['version']}")


@app.command()
def suspend(ask: ChangingOf, agent: Agent) -> None:
    """Suspend an agent until it is resumed. Its next request is refused `agent_suspended`."""
    with ask.gateway() as gateway:
        found = gateway.change("agents", agent, verb="suspend")
    line, notes = f"agent {agent} is suspended already", []
    if found is not None:
        again = f"`gateway agents resume {found['name']}{options.of(ask.organization)}`"
        line, notes = f"suspended agent {_named(found)}", [f"next: {again} lets it go on with the same keys"]
    ask.show({"agent": agent, "status": "suspended", "changed": found is not None}, line, *notes)


@app.command()
def resume(ask: ChangingOf, agent: Agent) -> None:
    """Let a suspended agent go on, with the same keys and bindings."""
    from gateway.identity.standing import TEXTS

    line, notes = f"agent {agent} is not suspended", []
    with ask.gateway() as gateway:
        found = gateway.change("agents", agent, verb="resume")
        if found is not None:
            line = f"resumed agent {_named(found)}"
            above = agent_show.standing(gateway.get("standing", team=found["team"]))
            if why := above.revoked or above.suspended:
                notes.append(f"it is refused all the same: {TEXTS[why]}")
    ask.show({"agent": agent, "status": "active", "changed": found is not None}, line, *notes)


@app.command()
def revoke(ask: ChangingOf, agent: Agent) -> None:
    """Revoke an agent and all its keys, for good. Its next request is refused."""
    with ask.gateway() as gateway:
        found = gateway.change("agents", agent, verb="revoke")
    line = f"agent {agent} is already revoked" if found is None else f"revoked agent {_named(found)} and its keys"
    ask.show({"agent": agent, "revoked": True, "changed": found is not None}, line)


@app.command()
def retire(ask: ChangingOf, agent: Agent) -> None:
    """Retire an agent whose work is done: it and all its keys end, for good. Its name becomes free."""
    with ask.gateway() as gateway:
        found = gateway.change("agents", agent, verb="retire")
    done = f"agent {agent} is retired already"
    ask.show(
        {"agent": agent, "status": "retired", "changed": found is not None},
        done if found is None else f"retired agent {_named(found)} and revoked its keys",
    )


@app.command("erase-content")
def erase_content(ask: Of, agent: Agent) -> None:
    """Erase all content that is kept of an agent: its key is destroyed, and the rows in the log are deleted.

    Without the key, copies of the log cannot be read either. Name an agent that has ended by its id.
    """
    found = ask.send("POST", "agents", agent, "erase-content", seconds=_SECONDS)
    erased, count = found["agent"], found["decisions"]
    calls = f"{count:,} {'call' if count == 1 else 'calls'}"
    again = f"its next calls are kept under a new key: `gateway agents update {erased['name']} --no-keep-content`"
    ask.show(
        {"agent": erased["id"], "decisions": count},
        f"destroyed the content key of agent {_named(erased)}; erased the content of {calls}",
        *([again] if erased["content"] else []),
    )


def _named(agent: AnswerDocument) -> str:
    return f"{agent['name']} ({agent['id']})"


def _nothing(after: str | None, filtered: bool) -> str:
    """The sentence about an empty list of agents."""
    if after is not None:
        return "no agents after that one"
    return "no agent is like that" if filtered else "no agents yet: type `gateway agents register NAME`"
