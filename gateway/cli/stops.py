"""`gateway stop` and `gateway resume`: the emergency stop of all agents, or of all in an organization."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.management import gateways

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
    with gateways.opened(data, output.warn) as gateway:
        found, begun = gateway.stops.begin(organization, reason)
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
    with gateways.opened(data, output.warn) as gateway:
        ended = gateway.stops.end(organization, reason)
        others = gateway.stops.in_force()
        if as_json:
            output.print_json({"stop": ended, "changed": ended is not None, "in_force": others})
            return
        if ended is None:
            typer.echo(f"there is no stop of {_agents(organization)}")
        else:
            typer.echo(f"resumed {_agents(organization)}")
        if organization is not None and gateway.organizations.show(organization).status == "suspended":
            output.note(f"organization {organization} is suspended: `gateway orgs resume {organization}`")
        for each in others:
            output.note(
                f"still stopped: {_agents(each.organization)}, by {each.actor}: {each.reason} "
                f"(`gateway resume {_flag(each.organization)}`)"
            )


def _check_scope(everybody: bool, organization: str | None) -> None:
    if everybody == (organization is not None):
        raise typer.BadParameter("say either --all or --organization NAME")


def _agents(organization: str | None) -> str:
    return "all agents" if organization is None else f"all agents of organization {organization}"


def _flag(organization: str | None) -> str:
    return "--all" if organization is None else f"--organization {organization}"
