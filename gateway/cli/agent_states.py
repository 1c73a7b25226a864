"""`gateway agents suspend|resume|revoke|retire|erase-content`: what an agent may do for now, or for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from gateway.cli import options, output
from gateway.cli.agent_show import Agent
from gateway.cli.asking import ChangingOf, Of
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.identity.standing import Standing
    from gateway.management.client import Client
    from gateway.registry.records import AgentRecord

_SECONDS = 600.0  # for the content of many calls


def review(ask: ChangingOf, agent: Agent) -> None:
    """Confirm that an agent is still wanted as it is, which `--review-days` asks for again and again."""
    from gateway.registry.records import AgentRecord

    body = {"reason": ask.reason}
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "agents", agent, "review", body=body, organization=ask.organization)
        reviewed = documents.record(AgentRecord, reply.body)
        ask.show(reviewed, f"reviewed agent {reviewed.name} ({reviewed.id}), now version {reviewed.version}")


def suspend(ask: ChangingOf, agent: Agent) -> None:
    """Suspend an agent until it is resumed. Its next request is refused `agent_suspended`."""
    with ask.gateway() as gateway:
        suspended = _changed(gateway, ask.organization, agent, "suspend", ask.reason)
        if ask.as_json:
            output.print_json({"agent": agent, "status": "suspended", "changed": suspended is not None})
        elif suspended is None:
            typer.echo(f"agent {agent} is suspended already")
        else:
            typer.echo(f"suspended agent {suspended.name} ({suspended.id})")
            org = options.of(ask.organization)
            output.note(f"next: `gateway agents resume {suspended.name}{org}` lets it go on with the same keys")


def resume(ask: ChangingOf, agent: Agent) -> None:
    """Let a suspended agent go on, with the same keys and bindings."""
    from gateway.identity.standing import TEXTS

    with ask.gateway() as gateway:
        resumed = _changed(gateway, ask.organization, agent, "resume", ask.reason)
        if ask.as_json:
            output.print_json({"agent": agent, "status": "active", "changed": resumed is not None})
        elif resumed is None:
            typer.echo(f"agent {agent} is not suspended")
        else:
            typer.echo(f"resumed agent {resumed.name} ({resumed.id})")
            above = standing(gateway, ask.organization, resumed.team)
            if why := above.revoked or above.suspended:
                output.note(f"it is refused all the same: {TEXTS[why]}")


def revoke(ask: ChangingOf, agent: Agent) -> None:
    """Revoke an agent and all its keys, for good. Its next request is refused."""
    with ask.gateway() as gateway:
        revoked = _changed(gateway, ask.organization, agent, "revoke", ask.reason)
        if ask.as_json:
            output.print_json({"agent": agent, "revoked": True, "changed": revoked is not None})
        elif revoked is None:
            typer.echo(f"agent {agent} is already revoked")
        else:
            typer.echo(f"revoked agent {revoked.name} ({revoked.id}) and its keys")


def retire(ask: ChangingOf, agent: Agent) -> None:
    """Retire an agent whose work is done: it and all its keys end, for good. Its name becomes free."""
    with ask.gateway() as gateway:
        retired = _changed(gateway, ask.organization, agent, "retire", ask.reason)
        if ask.as_json:
            output.print_json({"agent": agent, "status": "retired", "changed": retired is not None})
        elif retired is None:
            typer.echo(f"agent {agent} is retired already")
        else:
            typer.echo(f"retired agent {retired.name} ({retired.id}) and revoked its keys")


def _changed(gateway: Client, organization: str, agent: str, verb: str, reason: str) -> AgentRecord | None:
    """The agent after a change of its state; None if it was in that state already."""
    from gateway.registry.records import AgentRecord

    found = gateway.change("agents", agent, verb=verb, body={"reason": reason}, organization=organization)
    return None if found is None else documents.record(AgentRecord, found)


def standing(gateway: Client, organization: str, team: str) -> Standing:
    """What decides over the agents of a team beside their own states, or of none (empty)."""
    from gateway.identity.standing import Standing

    return documents.record(Standing, gateway.get("standing", organization=organization, team=team).body)


def erase_content(ask: Of, agent: Agent) -> None:
    """Erase all content that is kept of an agent: its key is destroyed, and the rows in the log are deleted.

    Without the key, copies of the log cannot be read either. Name an agent that has ended by its id.
    """
    from gateway.registry.records import AgentRecord

    with ask.gateway() as gateway:
        path = ("agents", agent, "erase-content")
        found = gateway.send("POST", *path, seconds=_SECONDS, organization=ask.organization).body
    erased, count = documents.record(AgentRecord, found["agent"]), found["decisions"]
    if ask.as_json:
        output.print_json({"agent": erased.id, "decisions": count})
        return
    calls = f"{count:,} {'call' if count == 1 else 'calls'}"
    typer.echo(f"destroyed the content key of agent {erased.name} ({erased.id}); erased the content of {calls}")
    if erased.content:
        output.note(f"its next calls are kept under a new key: `gateway agents update {erased.name} --no-keep-content`")
