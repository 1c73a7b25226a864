"""`policy check`: do the policies compile?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from policy_engine import compile as compile_policies
from policy_engine.cli import loading
from policy_engine.cli.diagnostics import show, standard_error
from policy_engine.errors import PolicyError

Paths = Annotated[
    list[Path],
    typer.Argument(metavar="PATH...", show_default=False, help="Files, directories and bundles."),
]


def check(paths: Paths) -> None:
    """Parse and compile policies, and show what is wrong with them.

    Tests are compiled too. Shows at most ten errors of a bundle. Exits with 1 if there are any, with 2 if something
    cannot be read.
    """
    console = standard_error()
    try:
        units = loading.load(paths)
    except PolicyError as error:
        show(console, error, {})
        raise typer.Exit(2) from None
    if not units:
        console.print("no policies found", soft_wrap=True)
    found = False
    for unit in units:
        try:
            compile_policies(unit.modules, unit.data)
        except PolicyError as error:
            show(console, error, unit.modules)
            found = True
    if found:
        raise typer.Exit(1)
