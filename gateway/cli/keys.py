"""`gateway keys`: the credentials of agents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import key_requests, key_texts, output, signing_keys, workload_names
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.key_leaks import leaked, pattern
from gateway.cli.key_rotation import rotate
from gateway.cli.options import Expires, OnlyActions, OnlyModels, OnlyNetworks
from gateway.cli.peppers import add_pepper, peppers, remove_pepper
from gateway.cli.secret_out import secret_file
from gateway.management import documents

app = App(no_args_is_help=True, help="Create, list, rotate and revoke agents' keys.")
app.command()(rotate)
app.command()(leaked)
app.command()(pattern)
app.command()(peppers)
app.command("add-pepper")(add_pepper)
app.command("remove-pepper")(remove_pepper)


@app.command()
def create(
    ask: ChangingOf,
    agent: Annotated[str | None, typer.Argument(help="An agent's name or id.")] = None,
    named: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The same.")] = None,
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write it to this file instead of printing it.")
    ] = None,
) -> None:
    """Create a key. It is printed once, alone on standard output, and cannot be shown again.

    An agent may have two live keys, so that one can replace the other without a gap. With --action, --model or
    --network the key is for a part of what its agent may do; policies are asked all the same.
    """
    from gateway.identity.key_scope import scope

    if (agent is None) == (named is None):
        raise typer.BadParameter("name the agent, once" if agent else "say whose key: `gateway keys create AGENT`")
    scoped = scope(action or (), model or (), network or ())
    body = key_requests.body(agent or named or "", expires, scoped, ask.reason)
    with ask.gateway() as gateway, secret_file(out) as put:
        made = key_requests.made(gateway.send("POST", "keys", body=body, organization=ask.organization).body)
        put(made.text)
        if ask.as_json:
            shown = {"key": made.text} if out is None else {"file": str(out)}
            output.print_json(output.plain(made.record) | shown)
        elif out is not None:
            output.note(f"{made.record.id} for agent {made.record.agent} is in {out}: this is the only copy")
        else:
            typer.echo(made.text)
            output.note(f"{made.record.id} for agent {made.record.agent}; this is the only time the key is shown")


app.command("add-public")(signing_keys.add_public)
app.command("generate")(signing_keys.generate)
app.command("prove")(signing_keys.prove)
app.command("add-spiffe")(workload_names.add_spiffe)


@app.command("list")
def list_keys(ask: Of, agent: Annotated[str | None, typer.Argument(help="Only this agent's keys.")] = None) -> None:
    """List keys without their secrets, including dead ones. A last use is known to the hour."""
    from gateway.registry.records import KeyRecord

    with ask.gateway() as gateway:
        found = gateway.items("keys", organization=ask.organization, agent=agent)
    keys, uses = documents.records(KeyRecord, found), key_texts.uses_of(found)
    now_ns = output.now_ns()
    if ask.as_json:
        typer.echo(json.dumps([key_texts.document(each, uses, now_ns) for each in keys], indent=2, ensure_ascii=False))
        return
    output.print_table(
        ("KEY", "AGENT", "STATUS", "CREATED", "EXPIRES", "LAST USED", "ONLY FOR", "ID"),
        [
            (
                k.key_id,
                k.agent,
                k.status(now_ns),
                output.timestamp(k.created_ns),
                "" if k.expires_ns is None else output.timestamp(k.expires_ns),
                key_texts.last_use(uses.get(k.id), now_ns),
                key_texts.shown(k.scope),
                k.id,
            )
            for k in keys
        ],
        empty="no keys yet: type `gateway keys create AGENT`",
    )


@app.command()
def revoke(
    ask: ChangingOf,
    key: Annotated[str, typer.Argument(help="A key's id (key_…), its beginning, a public key's name, or a SPIFFE ID.")],
) -> None:
    """Revoke a key, for good. The next request with it is refused."""
    from gateway.identity.credentials import public_part
    from gateway.registry.records import KeyRecord

    with ask.gateway() as gateway:
        before = gateway.get("keys", public_part(key), organization=ask.organization).body
        path = ("keys", before["id"], "revoke")
        reply = gateway.send("POST", *path, body={"reason": ask.reason}, organization=ask.organization)
        revoked = None if before["revoked"] is not None else documents.record(KeyRecord, reply.body)
        if ask.as_json:
            output.print_json({"key_id": public_part(key), "revoked": True, "changed": revoked is not None})
        elif revoked is None:
            typer.echo("the key is already revoked")
        else:
            typer.echo(f"revoked key {revoked.key_id} ({revoked.id}) of agent {revoked.agent}")
