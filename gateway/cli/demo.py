"""`gateway demo`: everything in a few seconds, on this machine alone."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import output


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave everything running until Ctrl-C, and print a link to the dashboard.")
    ] = False,
) -> None:
    """Show everything at work: two agents, their policies, a gateway, a mock provider and the audit log.

    Everything happens in a temporary directory and on 127.0.0.1. Exits with 0 only if every step succeeded.
    """
    from gateway.demo.demonstration import Demo

    def show(ok: bool, text: str) -> None:
        mark = typer.style("✓", fg="green") if ok else typer.style("✗", fg="red", bold=True)
        typer.echo(f"{mark} {text}")

    failed = Demo(typer.echo, show, keep=keep).run()
    if failed:
        output.complain(f"{failed} of the steps above failed")
        raise typer.Exit(1)
