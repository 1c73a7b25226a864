"""`gateway orgs`: the organizations (tenants) of this gateway."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Reason
from gateway.processes import local

app = typer.Typer(no_args_is_help=True, help="Create and list organizations, which share nothing but the gateway.")


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="The new organization's name. It cannot be changed later.")],
    reason: Reason = "",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Create an organization: its own agents, bindings, upstreams and audit log."""
    from gateway.registry import changes

    with local.changing(data) as registry:
        identifier = changes.create_organization(registry, actor=local.actor(), name=name, reason=reason)
        if as_json:
            output.print_json({"id": identifier, "name": name})
        else:
            typer.echo(f"created organization {name} ({identifier})")
            output.note(
                f"next: `gateway agents register NAME --org {name}`, and `gateway upstreams add … --org {name}`"
            )


@app.command("list")
def list_organizations(data: Data = DATA, as_json: Json = False) -> None:
    """List the organizations."""
    from gateway.registry import tenants

    with local.reading(data) as registry:
        found = tenants.organization_records(registry)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("NAME", "AGENTS", "CREATED", "ID"),
        [(each.name, str(each.agents), output.timestamp(each.created_ns), each.id) for each in found],
        empty="no organizations yet: type `gateway orgs create NAME`",
    )
