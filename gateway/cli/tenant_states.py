"""What `suspend`, `resume` and `revoke` of organizations and teams have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, NoReturn

import typer

from gateway.cli import output
from gateway.errors import GatewayError
from gateway.management import gateways

Yes = Annotated[bool, typer.Option("--yes", help="It cannot be undone, and that is meant.")]

_DONE: Final = {"suspend": "suspended", "resume": "resumed", "revoke": "revoked"}


def change(verb: str, what: str, name: str, data: Path, as_json: bool, reason: str, **query: str) -> None:
    """Make a change of the state of `what` (`organization` or `team`), and say what was done."""
    status = "active" if verb == "resume" else _DONE[verb]
    with gateways.client(data, output.warn) as gateway:
        changed = gateway.change(f"{what}s", name, verb=verb, body={"reason": reason}, **query) is not None
        if as_json:
            output.print_json({what: name, "status": status, "changed": changed})
        elif not changed:
            typer.echo(f"{what} {name} is not suspended" if verb == "resume" else f"{what} {name} is {status} already")
        else:
            typer.echo(f"{_DONE[verb]} {what} {name}")


def ask_first(what: str, name: str, agents: int) -> NoReturn:
    """Say what a revocation would do that nobody has confirmed: it ends many agents, and nothing brings them back."""
    ended = "has no agents, and would never have one again"
    if agents:
        ended = f"has {agents} {'agent' if agents == 1 else 'agents'}, which would be ended for good"
    noun = "orgs" if what == "organization" else "teams"
    hint = f"add --yes if that is meant; `gateway {noun} suspend {name}` stops them for now"
    raise GatewayError("not_confirmed", f"{what} `{name}` {ended}", subject=name, hint=hint)
