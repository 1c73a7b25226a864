"""`gateway webhooks`: who is told of what happens, by a signed POST."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import files, options, output
from gateway.cli.asking import App, GivenOptions, Of
from gateway.errors import GatewayError

app = App(no_args_is_help=True, help="Tell other programs of limits, refused policies and revoked agents.")

_MAX_SECRET = 1024

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, the beginning of it, or its URL.")]


@app.command()
def add(
    ask: Of,
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send events, over https.")],
    event: Annotated[
        list[str] | None,
        typer.Option(
            "--event", metavar="EVENT", help="Only these events; may be repeated. See docs/how-to/operate/webhooks.md."
        ),
    ] = None,
    secret_file: Annotated[
        Path | None,
        typer.Option("--secret-file", metavar="FILE", help="The secret that signs, `whsec_…`; else one is made."),
    ] = None,
    shape: Annotated[
        str,
        typer.Option("--shape", metavar="SHAPE", help="What the receiver takes: generic (signed), slack or teams."),
    ] = "generic",
    team: Annotated[
        str | None, typer.Option("--team", metavar="TEAM", help="Only events that name this team, such as its agents'.")
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="OWNER", help="Only events of the agents of this owner.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a receiver on this machine, and plain HTTP to it.")
    ] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Allow private addresses: a receiver in your own network.")
    ] = False,
) -> None:
    """Add a webhook: it is told of what happens from now on. A secret that is made is shown this once."""
    given = None if secret_file is None else files.text(secret_file, _MAX_SECRET, code="secret_missing")
    body = {"url": url, "events": event or None, "secret": given, "insecure": insecure, "allow_private": allow_private}
    only = {"shape": None if shape == "generic" else shape, "team": team, "owner": owner}
    body |= {name: value for name, value in only.items() if value is not None}
    made = ask.send("POST", "webhooks", body=body)
    secret, identifier = made["secret"], made["id"]
    if secret is None and given is None and shape == "generic":
        hint = f"type `gateway webhooks remove {identifier}` and add it anew"
        raise files.answer_lost(f"webhook {identifier} was added", hint, "secret")
    ask.show(
        {"webhook": made.without("state", "secret"), "secret": secret},
        f"webhook {identifier} is told of {', '.join(made['events'])}"
        + ("" if secret is None else f"\nits secret, shown this once: {secret}"),
        f"next: `gateway webhooks test {identifier}{options.of(ask.organization)}`",
    )


@app.command("list")
def list_webhooks(ask: Of) -> None:
    """List the webhooks, and how their last deliveries went."""
    from gateway.webhooks.deliveries import fares, state_of

    now_ns = time.time_ns()
    found = ask.items("webhooks")
    ask.table(
        found,
        *("ID", "URL", "SHAPE", "EVENTS"),
        ("WAITING", lambda each: each["state"]["waiting"]),
        ("LAST DELIVERY", lambda each: output.printable(fares(state_of(each["state"]), now_ns))),
        empty="no webhooks: type `gateway webhooks add URL`",
        document={"webhooks": [{"webhook": each.without("state"), "state": each["state"]} for each in found]},
    )


@app.command()
def remove(ask: Of, webhook: Webhook) -> None:
    """Remove a webhook. What it has not got yet is not delivered any more."""
    removed = ask.send("DELETE", "webhooks", webhook)
    ask.show(removed.without("state"), f"webhook {removed['id']} at {removed['url']} is removed")


@app.command("test")
def try_out(ask: Annotated[GivenOptions, "organization", "data"], webhook: Webhook) -> None:
    """Send the event `webhook.test` to a webhook now. Exit codes: 0 it was accepted, 1 it was not."""
    done = ask.send("POST", "webhooks", webhook, "test")
    if not done["accepted"]:
        hint = "see that the receiver is up and takes a POST there"
        message = f"{done['url']} has not accepted it: {done['error']}"
        raise GatewayError("not_delivered", message, subject=done["webhook"], hint=hint)
    typer.echo(f"{done['url']} has accepted {done['event']} after {done['milliseconds']} ms")
