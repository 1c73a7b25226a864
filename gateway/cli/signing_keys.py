"""`gateway keys add-public`, `generate` and `prove`: keys of agents that sign their requests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import key_requests, output
from gateway.cli.asking import ChangingOf
from gateway.cli.options import DATA, Data, Expires, Json, OnlyActions, OnlyModels, OnlyNetworks, Organization, Reason
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.identity.message_signatures import PrivateKey

_MOST_PEM = 64 * 1024  # bytes


class KeyType(Enum):
    """The types of keys that agents sign with."""

    ED25519 = "ed25519"
    P256 = "p256"


def add_public(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[KEY.pem]",
            show_default=False,
            help="A public key, Ed25519 or P-256, as PEM; -: standard input. Not needed with --private-key.",
        ),
    ] = None,
    *,
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="An agent's name or id.")],
    private_key: Annotated[
        Path | None,
        typer.Option("--private-key", metavar="FILE", help="Its private half, as a proof; it stays here."),
    ] = None,
    proof: Annotated[
        str | None, typer.Option("--proof", metavar="PROOF", help="What `gateway keys prove` has printed.")
    ] = None,
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Add the public key of an agent that signs its requests. Its private half stays where the agent runs.

    An agent may have two live public keys beside its API keys. An operator of one organization proves that the private
    half is there, with --private-key or --proof. See docs/how-to/identity/signatures.md.
    """
    from gateway.identity import public_keys
    from gateway.identity.key_scope import scope

    private = None if private_key is None else public_keys.read_private(private_key)
    if private is not None:
        if file is not None or proof is not None:
            raise typer.BadParameter("--private-key is enough: leave KEY.pem and --proof out")
        key = private.public_key()
    elif file is None:
        raise typer.BadParameter("name the file of the public key, or say --private-key")
    elif str(file) == "-":
        key = public_keys.parse_public(sys.stdin.buffer.read(_MOST_PEM).decode("ascii", "replace"))
    else:
        key = public_keys.read_public(file)
    scoped = scope(action or (), model or (), network or ())
    prove = _proof(private, organization, agent) if private is not None else (lambda _: proof) if proof else None
    body = key_requests.body(agent, expires, scoped, reason)
    with gateways.client(data, output.warn) as gateway:
        record = key_requests.add_public(gateway, organization, key, body, prove)
        if as_json:
            output.print_json(output.plain(record))
        else:
            typer.echo(f"added public key {record.key_id} ({record.id}) to agent {record.agent}")


def _proof(key: PrivateKey, organization: str, agent: str) -> Callable[[str], str]:
    from gateway.identity import possession

    return lambda deployment: possession.prove(key, deployment=deployment, organization=organization, agent=agent)


def prove(
    key: Annotated[Path, typer.Option("--key", metavar="KEY.pem", help="The agent's private key.")],
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="The agent's name or id.")],
    deployment: Annotated[
        str, typer.Option("--deployment", metavar="NAME", help="The gateway's; `gateway whoami` shows it.")
    ],
    organization: Annotated[
        str, typer.Option("--organization", "--org", metavar="NAME", help="The organization of the agent.")
    ] = "default",
) -> None:
    """Print a proof that the private half of a key is here, for `gateway keys add-public --proof` elsewhere.

    It names the gateway, the organization, the agent and the key, and is of use for nothing else. It is no secret.
    """
    from gateway.identity import public_keys

    typer.echo(_proof(public_keys.read_private(key), organization, agent)(deployment))


def generate(
    ask: ChangingOf,
    out: Annotated[Path, typer.Option("--out", metavar="KEY.pem", help="The file of the private key; must be new.")],
    agent: Annotated[
        str | None,
        typer.Option("--agent", metavar="AGENT", help="Add the public key to this agent."),
    ] = None,
    key_type: Annotated[KeyType, typer.Option("--type", help="The type of the key.")] = KeyType.ED25519,
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
) -> None:
    """Make a key pair with which an agent signs its requests. The private key is written to a file, mode 0600.

    Without --agent the public key is printed, for `gateway keys add-public` by whoever manages the gateway.
    """
    from gateway.identity import public_keys
    from gateway.identity.key_scope import scope
    from gateway.identity.message_signatures import thumbprint

    scoped = scope(action or (), model or (), network or ())
    key = public_keys.generate("ed25519" if key_type is KeyType.ED25519 else "p256")
    public = key.public_key()
    if agent is None:
        if expires is not None or scoped is not None:
            raise typer.BadParameter("without --agent, say --expires, --action, … to `gateway keys add-public`")
        public_keys.write_private(out, key)
        pem = public_keys.public_pem(public)
        if ask.as_json:
            output.print_json({"key_id": thumbprint(public), "public_key": pem, "file": str(out)})
        else:
            typer.echo(pem, nl=False)
            output.note(f"the private key is in {out}; add what is printed here: `gateway keys add-public`")
        return
    body = key_requests.body(agent, expires, scoped, ask.reason)
    with ask.gateway() as gateway:
        public_keys.write_private(out, key)
        try:
            record = key_requests.add_public(
                gateway, ask.organization, public, body, _proof(key, ask.organization, agent)
            )
        except BaseException:
            out.unlink()  # of no use: its public half is nobody's
            raise
        if ask.as_json:
            output.print_json(output.plain(record) | {"file": str(out)})
        else:
            typer.echo(f"added public key {record.key_id} ({record.id}) to agent {record.agent}")
            output.note(f"the private key is in {out}: move it to where the agent runs")
