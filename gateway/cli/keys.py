"""`gateway keys`: the credentials of agents."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.processes import local
from gateway.settings import DataDirectory

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke agents' keys.")


class KeyKind(Enum):
    """The types of keys that agents sign with."""

    ED25519 = "ed25519"
    P256 = "p256"


@app.command()
def create(
    agent: Annotated[str, typer.Argument(help="An agent's name or id.")],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Let it expire after 90s, 15m, 12h or 30d.")
    ] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Create a key. It is printed once, alone on standard output, and cannot be shown again.

    An agent may have two live keys, so that one can replace the other without a gap.
    """
    from gateway.identity.credentials import Peppers
    from gateway.registry import changes

    lifetime_ns = None if expires is None else output.parse_duration(expires)
    with local.changing(data) as registry:
        made = changes.create_key(
            registry,
            Peppers.load(DataDirectory(data).keys),
            actor=local.actor(),
            organization=organization,
            agent=agent,
            lifetime_ns=lifetime_ns,
        )
        if as_json:
            output.print_json(output.plain(made.record) | {"key": made.text})
        else:
            typer.echo(made.text)
            output.note(f"{made.record.id} for agent {made.record.agent}; this is the only time the key is shown")


@app.command("add-public")
def add_public(
    file: Annotated[Path, typer.Argument(metavar="KEY.pem", help="A public key, Ed25519 or P-256, as PEM.")],
    agent: Annotated[str, typer.Option("--agent", help="An agent's name or id.")],
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Let it expire after 90s, 15m, 12h or 30d.")
    ] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Add the public key of an agent that signs its requests. Its private half stays where the agent runs.

    An agent may have two live public keys beside its API keys. See docs/signatures.md.
    """
    from gateway.identity import public_keys
    from gateway.registry.public_keys import add_public_key

    key = public_keys.read_public(file)
    lifetime_ns = None if expires is None else output.parse_duration(expires)
    with local.changing(data) as registry:
        record = add_public_key(
            registry, key, actor=local.actor(), organization=organization, agent=agent, lifetime_ns=lifetime_ns
        )
        if as_json:
            output.print_json(output.plain(record))
        else:
            typer.echo(f"added public key {record.key_id} ({record.id}) of agent {record.agent}")


@app.command()
def generate(
    out: Annotated[Path, typer.Option("--out", metavar="KEY.pem", help="The file of the private key; must be new.")],
    agent: Annotated[
        str | None, typer.Option("--agent", help="Also add the public key to this agent; needs the data directory.")
    ] = None,
    kind: Annotated[KeyKind, typer.Option("--type", help="The type of the key.")] = KeyKind.ED25519,
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="DURATION", help="Let it expire after 90s, 15m, 12h or 30d.")
    ] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Make a key pair with which an agent signs its requests. The private key is written to a file, mode 0600.

    Without --agent the public key is printed, for `gateway keys add-public` on the gateway's machine.
    """
    from gateway.identity import public_keys
    from gateway.identity.message_signatures import thumbprint

    key = public_keys.generate("ed25519" if kind is KeyKind.ED25519 else "p256")
    public = key.public_key()
    if agent is None:
        if expires is not None:
            raise typer.BadParameter("without --agent it is for `gateway keys add-public`", param_hint="--expires")
        public_keys.write_private(out, key)
        pem = public_keys.public_pem(public)
        if as_json:
            output.print_json({"key_id": thumbprint(public), "public_key": pem, "file": str(out)})
        else:
            typer.echo(pem, nl=False)
            output.note(f"key {thumbprint(public)}, private half in {out}; add what is printed to an agent")
        return
    from gateway.registry.public_keys import add_public_key

    lifetime_ns = None if expires is None else output.parse_duration(expires)
    with local.changing(data) as registry:
        public_keys.write_private(out, key)
        try:
            record = add_public_key(
                registry, public, actor=local.actor(), organization=organization, agent=agent, lifetime_ns=lifetime_ns
            )
        except BaseException:
            out.unlink()  # of no use: its public half is nobody's
            raise
        if as_json:
            output.print_json(output.plain(record) | {"file": str(out)})
        else:
            typer.echo(f"added public key {record.key_id} ({record.id}) of agent {record.agent}")
            output.note(f"the private key is in {out}: move it to where the agent runs")


@app.command("list")
def list_keys(
    agent: Annotated[str | None, typer.Argument(help="Only this agent's keys.")] = None,
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """List keys without their secrets, including dead ones."""
    from gateway.registry import queries

    with local.reading(data) as registry:
        keys = queries.keys(registry, organization, agent)
    now_ns = output.now_ns()
    if as_json:
        output.print_json([output.plain(each) | {"status": each.status(now_ns)} for each in keys])
        return
    output.print_table(
        ("KEY", "AGENT", "STATUS", "CREATED", "EXPIRES", "ID"),
        [
            (
                k.key_id,
                k.agent,
                k.status(now_ns),
                output.timestamp(k.created_ns),
                "" if k.expires_ns is None else output.timestamp(k.expires_ns),
                k.id,
            )
            for k in keys
        ],
        empty="no keys yet: type `gateway keys create AGENT`",
    )


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="A key's id (key_…), its beginning, or a public key's name.")],
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Revoke a key, for good. The next request with it is refused."""
    from gateway.identity.credentials import public_part
    from gateway.registry import changes

    with local.restricting(data, output.warn) as registry:
        revoked = changes.revoke_key(registry, actor=local.actor(), organization=organization, key=key)
        if as_json:
            output.print_json({"key_id": public_part(key), "revoked": True, "changed": revoked is not None})
        elif revoked is None:
            typer.echo("the key is already revoked")
        else:
            typer.echo(f"revoked key {revoked.key_id} ({revoked.id}) of agent {revoked.agent}")
