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
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
