"""`gateway init`: create a gateway in one step."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json

if TYPE_CHECKING:
    from gateway.processes.creation import NewGateway


def init(
    data: Data = DATA,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="The deployment's name. Its logs are named after it, so it cannot be changed later."
        ),
    ] = None,
    agent: Annotated[str, typer.Option("--agent", metavar="NAME", help="The name of the first agent.")] = "assistant",
    as_json: Json = False,
) -> None:
    """Create a gateway: a data directory with keys, a registry, an audit log, a policy and one agent."""
    from gateway.processes import creation

    made = creation.create(data, agent, name)
    if as_json:
        output.print_json(made)
    else:
        _print(made, data)


def _print(made: NewGateway, data: Path) -> None:
    flag = "" if data == DATA else f" --data {shlex.quote(str(data))}"
    typer.echo(f"created gateway {made.deployment} in {made.data}")
    output.print_fields(
        [
            ("  agent", f"{made.agent} ({made.agent_id})"),
            ("  policy", f"bundle {made.bundle}, commit {made.commit[:12]} of {made.data}/policies"),
            ("  base URL", made.base_url),
            ("  API key", f"{made.key}  (shown only now)"),
        ]
    )
    typer.echo("")
    typer.echo("next:")
    typer.echo(f"  gateway upstreams add openai --key-env OPENAI_API_KEY{flag}")
    typer.echo(f"  gateway up{flag}")
    typer.echo("and in the agent, change only its base URL and its key:")
    typer.echo(f'  OpenAI(base_url="{made.base_url}", api_key="aig_sk_…")')
