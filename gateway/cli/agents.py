"""`gateway agents`: register, list, show, change, suspend and revoke agents."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.key_scopes import shown
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.errors import GatewayError
from gateway.processes import local
from gateway.settings import DataDirectory

app = typer.Typer(no_args_is_help=True, help="Register, show, change, suspend and revoke agents.")

Agent = Annotated[str, typer.Argument(help="An agent's name or id.")]


@app.command()
def register(
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
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Register an agent. It can do nothing until it has a key and a binding."""
    from gateway.registry import changes

    labels = _labels(label or [])
    with local.changing(data) as registry:
        agent = changes.register_agent(
            registry,
            actor=local.actor(),
            organization=organization,
            name=name,
            owner=owner,
            team=team,
            environment=environment,
            capabilities=capability or [],
            labels=labels,
        )
        if as_json:
            output.print_json(agent)
        else:
            typer.echo(f"registered agent {agent.name} ({agent.id})")
            output.note(f"next: `gateway keys create {agent.name}` and `gateway bind {agent.name} BUNDLE`")


@app.command("list")
def list_agents(organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """List all agents, including revoked ones."""
    from gateway.registry import queries

    with local.reading(data) as registry:
        agents = queries.agents(registry, organization)
    if as_json:
        output.print_json(agents)
        return
    output.print_table(
        ("NAME", "STATUS", "VERSION", "TEAM", "ENVIRONMENT", "OWNER", "ID"),
        [(a.name, a.status, str(a.version), a.team, a.environment, a.owner, a.id) for a in agents],
        empty="no agents yet: type `gateway agents register NAME`",
    )


@app.command()
def show(
    agent: Agent,
    at: Annotated[
        str | None, typer.Option("--at", metavar="TIME", help="As of this time, such as 2026-11-25T14:00:00Z.")
    ] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Show an agent with its keys and the bindings that apply to it, now or at an earlier time."""
    from gateway.registry import queries

    at_ns = None if at is None else output.parse_time(at)
    with local.reading(data) as registry:
        found = queries.agent(registry, organization, agent, at_ns)
        keys = queries.keys(registry, organization, found.id, at_ns)
        bindings = queries.bindings(registry, organization, found.id, at_ns)
        versions = queries.agent_versions(registry, organization, found.id)
    now_ns = output.now_ns() if at_ns is None else at_ns
    if as_json:
        shown_keys = [output.plain(each) | {"status": each.status(now_ns)} for each in keys]
        output.print_json(
            output.plain(found) | {"keys": shown_keys, "bindings": bindings, "versions": versions},
        )
        return
    output.print_fields(
        [
            ("name", found.name),
            ("id", found.id),
            ("organization", found.organization),
            ("status", found.status),
            ("version", f"{found.version} since {output.timestamp(found.since_ns)}"),
            ("team", found.team),
            ("environment", found.environment),
            ("owner", found.owner),
            ("capabilities", ", ".join(found.capabilities)),
            ("labels", ", ".join(f"{name}={value}" for name, value in found.labels.items())),
            *((("content", _kept(found.content)),) if found.content else ()),
            *(
                ("key", f"{each.key_id}…  {each.status(now_ns)}  ({each.id}) {shown(each.scope)}".rstrip())
                for each in keys
            ),
            *(
                (
                    "binding",
                    f"{b.counts_as} {b.bundle}{'@' + b.pinned if b.pinned else ''}  by {b.subject_kind}",
                )
                for b in bindings
            ),
        ]
    )


@app.command()
def update(
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
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Change an agent. What is not named stays. It has a new version from its next request on."""
    from gateway.registry import agent_updates
    from gateway.registry.vault import Vault

    changed = agent_updates.AgentUpdate(
        name=name,
        owner=owner,
        team=team,
        environment=environment,
        add_capabilities=tuple(add_capability or ()),
        remove_capabilities=tuple(remove_capability or ()),
        set_labels=_labels(label or []),
        remove_labels=tuple(remove_label or ()),
        keep_content=keep_content,
        retention_days=retention_days,
        redact=() if no_redact else redact and tuple(redact),
    )
    if no_redact and redact:
        raise typer.BadParameter("--redact and --no-redact exclude each other")
    if changed == agent_updates.AgentUpdate():
        raise GatewayError("nothing_to_change", "nothing to change", hint="see `gateway agents update --help`")
    with local.changing(data) as registry:
        updated = agent_updates.update_agent(
            registry,
            actor=local.actor(),
            organization=organization,
            agent=agent,
            update=changed,
            vault=Vault.load(DataDirectory(data).keys) if keep_content else None,
        )
        if as_json:
            output.print_json({"agent": output.plain(updated) if updated else agent, "changed": updated is not None})
        elif updated is None:
            typer.echo(f"agent {agent} is like that already")
        else:
            typer.echo(f"updated agent {updated.name} ({updated.id}), now version {updated.version}")


@app.command()
def suspend(agent: Agent, organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """Suspend an agent until it is resumed. Its next request is refused `agent_suspended`."""
    from gateway.registry import agent_updates

    with local.restricting(data, output.warn) as registry:
        suspended = agent_updates.suspend_agent(registry, actor=local.actor(), organization=organization, agent=agent)
        if as_json:
            output.print_json({"agent": agent, "status": "suspended", "changed": suspended is not None})
        elif suspended is None:
            typer.echo(f"agent {agent} is suspended already")
        else:
            typer.echo(f"suspended agent {suspended.name} ({suspended.id})")
            output.note(f"next: `gateway agents resume {suspended.name}` lets it go on with the same keys")


@app.command()
def resume(agent: Agent, organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """Let a suspended agent go on, with the same keys and bindings."""
    from gateway.registry import agent_updates

    with local.changing(data) as registry:
        resumed = agent_updates.resume_agent(registry, actor=local.actor(), organization=organization, agent=agent)
        if as_json:
            output.print_json({"agent": agent, "status": "active", "changed": resumed is not None})
        elif resumed is None:
            typer.echo(f"agent {agent} is not suspended")
        else:
            typer.echo(f"resumed agent {resumed.name} ({resumed.id})")


@app.command()
def revoke(agent: Agent, organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """Revoke an agent and all its keys, for good. Its next request is refused."""
    from gateway.registry import changes

    with local.restricting(data, output.warn) as registry:
        revoked = changes.revoke_agent(registry, actor=local.actor(), organization=organization, agent=agent)
        if as_json:
            output.print_json({"agent": agent, "revoked": True, "changed": revoked is not None})
        elif revoked is None:
            typer.echo(f"agent {agent} is already revoked")
        else:
            typer.echo(f"revoked agent {revoked.name} ({revoked.id}) and its keys")


@app.command("erase-content")
def erase_content(
    agent: Agent, organization: Organization = "default", data: Data = DATA, as_json: Json = False
) -> None:
    """Erase all content that is kept of an agent: its key is destroyed, and the rows in the log are deleted.

    Without the key, copies of the log cannot be read either. Name a revoked agent by its id.
    """
    from gateway.audit import content_erasure
    from gateway.audit.writer import AuditWriter
    from gateway.identifiers import new_id
    from gateway.registry import agent_updates, queries
    from gateway.registry.vault import Vault

    directory = DataDirectory(data)
    with local.changing(data) as registry:
        erased = agent_updates.erase_content(
            registry,
            actor=local.actor(),
            organization=organization,
            agent=agent,
            vault=Vault.load(directory.keys),
        )
        writer = AuditWriter(directory, boot=new_id("boot"), deployment=queries.deployment(registry))
        try:
            count = content_erasure.of_agent(writer, erased.id, local.actor())
        finally:
            writer.close()
    if as_json:
        output.print_json({"agent": erased.id, "decisions": count})
        return
    calls = f"{count:,} {'call' if count == 1 else 'calls'}"
    typer.echo(f"destroyed the content key of agent {erased.name} ({erased.id}); erased the content of {calls}")
    if erased.content:
        output.note(f"its next calls are kept under a new key: `gateway agents update {erased.name} --no-keep-content`")


def _kept(content: dict[str, Any]) -> str:
    redact = content["redact"]
    redacted = f", redacted: {' '.join(redact)}" if redact else ""
    return f"kept for {content['days']} {'day' if content['days'] == 1 else 'days'}{redacted}"


def _labels(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, separator, value = text.partition("=")
        if not separator or name in found:
            why = "is given twice" if name in found else "must be NAME=VALUE"
            raise GatewayError("invalid_label", f"label `{text}` {why}")
        found[name] = value
    return found
