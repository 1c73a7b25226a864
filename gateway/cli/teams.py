"""`gateway teams`: the teams that agents name, and what is bound to them."""

from __future__ import annotations

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.processes import local

app = typer.Typer(no_args_is_help=True, help="List the teams, their agents and their bundles.")


@app.command("list")
def list_teams(organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """List the teams that agents are in, and those that only have bindings."""
    from gateway.registry import tenants

    with local.reading(data) as registry:
        found = tenants.teams(registry, organization)
    if as_json:
        output.print_json(found)
        return
    output.print_table(
        ("TEAM", "AGENTS", "BUNDLES"),
        [(each.name, output.names(each.agents, "nobody"), output.names(each.bundles)) for each in found],
        empty="no teams yet: type `gateway agents update NAME --team TEAM`",
    )
