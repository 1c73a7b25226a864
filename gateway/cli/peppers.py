"""`gateway keys peppers`, `add-pepper` and `remove-pepper`: what keys are hashed with."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.asking import Everywhere
from gateway.management import documents


def peppers(ask: Everywhere) -> None:
    """List the peppers, and how many keys that work are hashed under each."""
    from gateway.registry.secret_keys.peppers import PepperUse

    with ask.gateway() as gateway:
        found = documents.records(PepperUse, gateway.get("peppers").body["items"])
    if ask.as_json:
        output.print_json(found)
        return
    output.print_table(
        ("PEPPER", "KEYS", "STATE"),
        [
            (
                str(each.version),
                str(each.keys),
                "newest" if each.newest else "in use" if each.keys else "can be removed" if each.file else "",
            )
            for each in found
        ],
        empty="no pepper",
    )
    for each in found:
        if not each.file:
            output.warn(
                f"the file of pepper {each.version} is missing", "its keys are refused: restore it from a backup"
            )


def add_pepper(ask: Everywhere) -> None:
    """Make a new pepper. New keys are hashed under it, and others when they are used next."""
    with ask.gateway() as gateway:
        version = gateway.send("POST", "peppers").body["pepper"]
    if ask.as_json:
        output.print_json({"pepper": version})
    else:
        typer.echo(f"pepper {version} is the newest now")
        output.note(
            f"copy keys/pepper.{version} into your backup; `gateway keys peppers` says what is still under others"
        )


def remove_pepper(
    ask: Everywhere, version: Annotated[int, typer.Argument(help="Its number, as in `gateway keys peppers`.")]
) -> None:
    """Delete a pepper that no key which works is hashed under any more."""
    with ask.gateway() as gateway:
        gateway.send("DELETE", "peppers", str(version))
    ask.show({"pepper": version, "removed": True}, f"removed pepper {version}")
