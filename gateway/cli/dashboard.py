"""`gateway dashboard`: a link that logs this machine's user into the dashboard, once."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.management import dashboard as links
from gateway.management import gateways


def dashboard(
    page: Annotated[
        str, typer.Argument(metavar="PAGE", show_default=False, help="Where it leads: the address of one of its pages.")
    ] = "",
    operator: Annotated[
        str | None,
        typer.Option("--operator", metavar="NAME", help="Log in as this operator; by default as an owner of your own."),
    ] = None,
    organization: Annotated[
        str | None, typer.Option("--organization", "--org", metavar="NAME", help="That operator is of this one.")
    ] = None,
    opens: Annotated[bool, typer.Option("--open", help="Open it in a browser.")] = False,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Print a link that logs you into the dashboard; it is good once, for five minutes.

    It works on the gateway's machine, for whoever may read the data directory, and needs no password. Elsewhere, open
    the control plane's address in a browser and log in at the provider.
    """
    with gateways.client(data, output.warn, organization=organization) as gateway:
        link, made = links.link(gateway, operator, page)
    if as_json:
        output.print_json({"url": link, "operator": made["operator"], "expires_in": made["expires_in"]})
    else:
        typer.echo(link)
        minutes = made["expires_in"] // 60
        output.note(f"it logs in once, as {made['role']} {made['operator']}, within {minutes} minutes")
    if opens:
        import webbrowser

        if not webbrowser.open(link):
            output.warn("no browser could be opened", "open the link yourself")
