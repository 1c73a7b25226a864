"""`gateway stop` and `gateway resume`: the emergency stop of all agents, or of all in an organization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from gateway.cli.asking import GivenOptions

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

Everybody = Annotated[bool, typer.Option("--all", help="The agents of all organizations.")]
Organization = Annotated[
    str | None, typer.Option("--organization", "--org", metavar="NAME", help="The agents of one organization.")
]
Stopping: TypeAlias = Annotated[GivenOptions, Organization, "data", "as_json"]
Resuming: TypeAlias = Annotated[GivenOptions, Organization, "reason", "data", "as_json"]


def stop(
    ask: Stopping,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; `gateway status` and the log show it.")],
    everybody: Everybody = False,
) -> None:
    """Stop every agent at once: all requests are refused `agent_suspended`, and calls under way end.

    Nothing else is changed, so `gateway resume` brings back exactly what was before.
    """
    _check_scope(everybody, ask.organization)
    with ask.gateway() as gateway:
        before = {each["id"] for each in in_force(gateway)}
        found = gateway.send("POST", "stops", body={"reason": reason, "everybody": ask.organization is None})
    whom, begun = _agents(ask.organization), found["id"] not in before
    already = f"{whom} were stopped already at {found['created']} by {found['actor']}: {found['reason']}"
    ask.show(
        {"stop": found, "changed": begun},
        f"stopped {whom} ({found['id']})" if begun else already,
        *([f"next: `gateway resume {_flag(ask.organization)}` lets them go on"] if begun else []),
    )


def resume(ask: Resuming, everybody: Everybody = False) -> None:
    """End an emergency stop. Agents that were suspended or revoked, before or meanwhile, stay so."""
    organization = ask.organization
    _check_scope(everybody, organization)
    with ask.gateway() as gateway:
        mine = [each for each in in_force(gateway) if each["organization"] == organization]
        ended = gateway.send("POST", "stops", mine[0]["id"], "resume") if mine else None
        others = in_force(gateway, organization=None)
        notes = []
        if organization is not None and not ask.as_json:
            about = gateway.get("organizations", organization, organization=None)
            if about["status"] == "suspended":
                notes.append(f"organization {organization} is suspended: `gateway orgs resume {organization}`")
    for each in others:
        said = f"still stopped: {_agents(each['organization'])}, by {each['actor']}: {each['reason']} "
        notes.append(f"{said}(`gateway resume {_flag(each['organization'])}`)")
    whom = _agents(organization)
    line = f"there is no stop of {whom}" if ended is None else f"resumed {whom}"
    ask.show({"stop": ended, "changed": ended is not None, "in_force": others}, line, *notes)


def in_force(gateway: ManagementClient, **about: None) -> list[AnswerDocument]:
    """The stops of all, and of the organization that a command is about, or of every one."""
    return sorted(gateway.items("stops", **about), key=lambda each: each["organization"] or "")


def _check_scope(everybody: bool, organization: str | None) -> None:
    if everybody == (organization is not None):
        raise typer.BadParameter("say either --all or --organization NAME")


def _agents(organization: str | None) -> str:
    return "all agents" if organization is None else f"all agents of organization {organization}"


def _flag(organization: str | None) -> str:
    return "--all" if organization is None else f"--organization {organization}"
