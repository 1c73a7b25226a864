"""The options that many commands share, each spelled once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import remote
from gateway.data_directory import DEFAULT_DATA
from gateway.settings import PREFIX

DATA = DEFAULT_DATA

Data = Annotated[
    Path,
    typer.Option(
        "--data",
        envvar=f"{PREFIX}DATA",
        metavar="DIR",
        help="The gateway's data directory.",
        callback=remote.check,
        is_eager=True,
    ),
]
Organization = Annotated[
    str,
    typer.Option(
        "--organization",
        "--org",
        metavar="NAME",
        help="The organization concerned.",
        callback=remote.organization,
    ),
]


def of(organization: str | None) -> str:
    """The option for this organization as a command of a remark needs it; nothing for the one that is meant anyway."""
    return "" if organization in (None, "default") else f" --org {organization}"


Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit log.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Expires = Annotated[
    str | None, typer.Option("--expires", metavar="DURATION", help="Let it expire after 90s, 15m, 12h or 30d.")
]
SecretOut = Annotated[
    Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file instead of printing it.")
]
OnlyActions = Annotated[
    list[str] | None,
    typer.Option("--action", metavar="ACTION", help="Only for this: chat.completions, files.*; may be repeated."),
]
OnlyModels = Annotated[
    list[str] | None,
    typer.Option("--model", metavar="MODEL", help="Only for this model, or 'gpt-4o*'; may be repeated."),
]
OnlyNetworks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="Only from this network, 10.0.0.0/8; may be repeated."),
]
OnlyUpstreams = Annotated[
    list[str] | None,
    typer.Option("--upstream", metavar="NAME", help="Only for this upstream, such as an MCP server; may be repeated."),
]
ReplaceRevoked = Annotated[
    bool, typer.Option("--replace-revoked", help="Let a new agent have the name of one that was revoked.")
]
