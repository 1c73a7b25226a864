"""`gateway peers`: other gateways that are trusted to say who calls (two-gateways.md)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import App, Changing, Everywhere

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Trust other gateways to say which agents of theirs call.")

Peer = Annotated[str, typer.Argument(metavar="PEER", help="The other gateway, by its name here or its id.")]
Organizations = typer.Option(
    "--speaks-for", metavar="ORGANIZATION", help="An organization of whose agents it may say that they call."
)


@app.command()
def add(
    ask: Changing,
    name: Annotated[str, typer.Argument(help="What it is called here.")],
    keys: Annotated[Path, typer.Option("--keys", metavar="FILE", help="Its public keys, as its operator gives them.")],
    speaks_for: Annotated[list[str], Organizations],
) -> None:
    """Trust a gateway. Its agents reach only what `receive` bundles here let them reach."""
    made = ask.send("POST", "peers", body={"name": name, "keys": _keys(keys), "speaks_for": speaks_for})
    ask.show(made, f"peer {name} may speak for {', '.join(made['speaks_for'])}, with {_named(made)}")


@app.command("list")
def list_peers(ask: Everywhere) -> None:
    """List the gateways that are trusted."""
    ask.table(
        ask.items("peers"),
        *("NAME", ("SPEAKS FOR", "speaks_for"), ("KEYS", lambda each: len(each["keys"])), "STATUS"),
        empty="no peers yet: type `gateway peers add NAME --keys FILE --speaks-for ORGANIZATION`",
    )


@app.command()
def show(ask: Everywhere, peer: Peer) -> None:
    """Show a gateway that is trusted."""
    found = ask.get("peers", peer)
    ask.fields(found, "id", "name", "status", ("speaks for", found["speaks_for"]), "keys", "version")


@app.command()
def update(
    ask: Changing,
    peer: Peer,
    keys: Annotated[
        Path | None, typer.Option("--keys", metavar="FILE", help="These are its public keys from now on.")
    ] = None,
    speaks_for: Annotated[list[str] | None, Organizations] = None,
) -> None:
    """Replace the keys of a gateway, or the organizations that it may speak for."""
    wanted = {"keys": None if keys is None else _keys(keys), "speaks_for": speaks_for}
    changed = ask.send("PATCH", "peers", peer, body=output.given(wanted, "peers"))
    ask.show(
        changed, f"peer {changed['name']} may speak for {', '.join(changed['speaks_for'])}, with {_named(changed)}"
    )


@app.command()
def disable(ask: Changing, peer: Peer) -> None:
    """Take nothing from a gateway until it is enabled again, and call nothing there."""
    changed = ask.send("PATCH", "peers", peer, body={"status": "disabled"})
    ask.show(changed, f"peer {changed['name']} is disabled")


@app.command()
def enable(ask: Changing, peer: Peer) -> None:
    """Trust a disabled gateway again."""
    changed = ask.send("PATCH", "peers", peer, body={"status": "active"})
    ask.show(changed, f"peer {changed['name']} is trusted again")


@app.command()
def remove(ask: Changing, peer: Peer) -> None:
    """Trust a gateway no longer. Calls of its agents that are under way end."""
    removed = ask.send("DELETE", "peers", peer)
    ask.show(removed, f"peer {removed['name']} is removed")


@app.command("keys")
def show_keys(ask: Everywhere) -> None:
    """Show this gateway's own public keys, to hand over to those who are to trust it."""
    typer.echo(json.dumps(ask.get("peer-keys")))


def _keys(path: Path) -> Any:
    from gateway.identity import jose
    from gateway.registry.peers import MAX_JWKS

    text = files.text(path, MAX_JWKS, code="invalid_jwks")
    jose.key_set(text)  # says what is wrong with it
    return json.loads(text)


def _named(peer: AnswerDocument) -> str:
    return f"the keys {', '.join(peer['keys'])}" if len(peer["keys"]) > 1 else f"the key {peer['keys'][0]}"
