"""The options that many commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.settings import DEFAULT_DATA, PREFIX

DATA = DEFAULT_DATA

Data = Annotated[
    Path,
    typer.Option("--data", envvar=f"{PREFIX}DATA", metavar="DIR", help="The gateway's data directory."),
]
Organization = Annotated[
    str, typer.Option("--organization", "--org", metavar="NAME", help="The organization concerned.")
]
Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
