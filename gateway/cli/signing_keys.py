"""`gateway keys add-public`, `generate` and `prove`: keys of agents that sign; and what all kinds of keys share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import ChangingOf
from gateway.cli.options import Expires, OnlyActions, OnlyModels, OnlyNetworks, OnlyUpstreams

if TYPE_CHECKING:
    from gateway.identity.message_signatures import PrivateKey, PublicKey
    from gateway.management.client import AnswerDocument, ManagementClient

_MOST_PEM = 64 * 1024  # bytes


# ---- shared by keys of all kinds


def key_body(
    agent: str,
    expires: str | None,
    action: Sequence[str] | None,
    model: Sequence[str] | None,
    network: Sequence[str] | None,
    upstream: Sequence[str] | None,
) -> dict[str, Any]:
    """The agent of a new key, its lifetime, and its scope; None: for ever, and for everything."""
    from gateway.identity.key_scope import scope

    found = {"agent": agent, "expires_in": output.seconds(expires)}
    scoped = scope(action or (), model or (), network or (), upstream or ())
    return found if scoped is None else found | {"scope": scoped.document()}


def with_text(made: AnswerDocument) -> AnswerDocument:
    """A key that was made, if its text has come with it."""
    if made["key"] is None:
        raise files.answer_lost(f"key {made['id']} was created", after_loss(made["id"]))
    return made


def after_loss(key: str) -> str:
    return f"type `gateway keys revoke {key}` and create another"


def shown_scope(scope: dict[str, list[str]] | None) -> str:
    """A scope in one line; empty if there is none."""
    return "; ".join(f"{name} {' '.join(part)}" for name, part in (scope or {}).items())


def last_use(used: str | None, now_ns: int) -> str:
    """When a key was used last, in one unit; empty if that is not known."""
    return "" if used is None else f"{output.age(now_ns - output.parse_time(used))} ago"


# ---- public keys


class KeyType(Enum):
    """The types of keys that agents sign with."""

    ED25519 = "ed25519"
    P256 = "p256"


def add_public(
    ask: ChangingOf,
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
    upstream: OnlyUpstreams = None,
) -> None:
    """Add the public key of an agent that signs its requests. Its private half stays where the agent runs.

    An agent may have two live public keys beside its API keys. An operator of one organization proves that the private
    half is there, with --private-key or --proof. See docs/how-to/identity/signatures.md.
    """
    from gateway.identity import public_keys

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
    prove = _proof(private, ask.organization, agent) if private is not None else (lambda _: proof) if proof else None
    with ask.gateway() as gateway:
        made = _added(gateway, key, key_body(agent, expires, action, model, network, upstream), prove)
    ask.show(made, f"added public key {made['key_id']} ({made['id']}) to agent {made['agent']}")


def _added(
    gateway: ManagementClient, key: PublicKey, body: dict[str, Any], prove: Callable[[str], str] | None
) -> AnswerDocument:
    """`prove` makes the proof that a public key needs, for the deployment with this name."""
    from gateway.identity.public_keys import public_pem

    body = body | {"public_key": public_pem(key)}
    # An older gateway does not say its name, and takes no proof.
    if prove is not None and (deployment := gateway.get("me", organization=None).get("deployment")) is not None:
        body["proof"] = prove(deployment)
    return gateway.send("POST", "keys", "public", body=body).without("status", "last_used")


def _proof(key: PrivateKey, organization: str | None, agent: str) -> Callable[[str], str]:
    from gateway.identity import possession

    return lambda deployment: possession.prove(
        key, deployment=deployment, organization=organization or "default", agent=agent
    )


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
    upstream: OnlyUpstreams = None,
) -> None:
    """Make a key pair with which an agent signs its requests. The private key is written to a file, mode 0600.

    Without --agent the public key is printed, for `gateway keys add-public` by whoever manages the gateway.
    """
    from gateway.identity import public_keys
    from gateway.identity.message_signatures import thumbprint

    body = key_body(agent or "", expires, action, model, network, upstream)
    key = public_keys.generate("ed25519" if key_type is KeyType.ED25519 else "p256")
    public = key.public_key()
    if agent is None:
        if expires is not None or "scope" in body:
            raise typer.BadParameter("without --agent, say --expires, --action, … to `gateway keys add-public`")
        public_keys.write_private(out, key)
        pem = public_keys.public_pem(public)
        if ask.as_json:
            output.print_json({"key_id": thumbprint(public), "public_key": pem, "file": str(out)})
        else:
            typer.echo(pem, nl=False)
            output.note(f"the private key is in {out}; add what is printed here: `gateway keys add-public`")
        return
    with ask.gateway() as gateway:
        public_keys.write_private(out, key)
        try:
            made = _added(gateway, public, body, _proof(key, ask.organization, agent))
        except BaseException:
            out.unlink()  # of no use: its public half is nobody's
            raise
    ask.show(
        made | {"file": str(out)},
        f"added public key {made['key_id']} ({made['id']}) to agent {made['agent']}",
        f"the private key is in {out}: move it to where the agent runs",
    )
