"""`gateway stop` and `gateway resume`: the emergency stop of all agents, or of all in an organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.records import StopRecord

Everybody = Annotated[bool, typer.Option("--all", help="The agents of all organizations.")]
Organization = Annotated[
    str | None, typer.Option("--organization", "--org", metavar="NAME", help="The agents of one organization.")
]


def stop(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; `gateway status` and the log show it.")],
    everybody: Everybody = False,
    organization: Organization = None,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Stop every agent at once: all requests are refused `agent_suspended`, and calls under way end.

    Nothing else is changed, so `gateway resume` brings back exactly what was before.
    """
    _check_scope(everybody, organization)
    from gateway.registry.records import StopRecord

    body = {"reason": reason, "everybody": organization is None}
    with gateways.client(data, output.warn) as gateway:
        before = {each.id for each in in_force(gateway, organization)}
        found = documents.record(StopRecord, gateway.send("POST", "stops", body=body, organization=organization).body)
        begun = found.id not in before
        if as_json:
            output.print_json({"stop": found, "changed": begun})
        elif begun:
            typer.echo(f"stopped {_agents(organization)} ({found.id})")
            output.note(f"next: `gateway resume {_flag(organization)}` lets them go on")
        else:
            when = output.timestamp(found.created_ns)
            typer.echo(f"{_agents(organization)} were stopped already at {when} by {found.actor}: {found.reason}")


def resume(
    everybody: Everybody = False,
    organization: Organization = None,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit log.")] = "",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """End an emergency stop. Agents that were suspended or revoked, before or meanwhile, stay so."""
    _check_scope(everybody, organization)
    with gateways.client(data, output.warn) as gateway:
        ended = _end(gateway, organization, reason)
        others = in_force(gateway)
        if as_json:
            output.print_json({"stop": ended, "changed": ended is not None, "in_force": others})
            return
        if ended is None:
            typer.echo(f"there is no stop of {_agents(organization)}")
        else:
            typer.echo(f"resumed {_agents(organization)}")
        if organization is not None and gateway.get("organizations", organization).body["status"] == "suspended":
            output.note(f"organization {organization} is suspended: `gateway orgs resume {organization}`")
        for each in others:
            output.note(
                f"still stopped: {_agents(each.organization)}, by {each.actor}: {each.reason} "
                f"(`gateway resume {_flag(each.organization)}`)"
            )


def in_force(gateway: Client, organization: str | None = None) -> list[StopRecord]:
    """The stops of an organization and of all, or every one."""
    from gateway.registry.records import StopRecord

    found = documents.records(StopRecord, gateway.items("stops", organization=organization))
    return sorted(found, key=lambda each: each.organization or "")


def _end(gateway: Client, organization: str | None, reason: str) -> StopRecord | None:
    from gateway.registry.records import StopRecord

    for each in in_force(gateway, organization):
        if each.organization == organization:
            body = {"reason": reason}
            reply = gateway.send("POST", "stops", each.id, "resume", body=body, organization=organization)
            return documents.record(StopRecord, reply.body)
    return None


def _check_scope(everybody: bool, organization: str | None) -> None:
    if everybody == (organization is not None):
        raise typer.BadParameter("say either --all or --organization NAME")


def _agents(organization: str | None) -> str:
    return "all agents" if organization is None else f"all agents of organization {organization}"


def _flag(organization: str | None) -> str:
    return "--all" if organization is None else f"--organization {organization}"
