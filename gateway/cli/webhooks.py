"""`gateway webhooks`: who is told of what happens, by a signed POST."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import options, output
from gateway.cli.asking import App, Of
from gateway.cli.options import DATA, Data, Organization
from gateway.errors import GatewayError
from gateway.management import documents, gateways

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
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Allow a receiver on this machine, and plain HTTP to it.")
    ] = False,
    allow_private: Annotated[
        bool, typer.Option("--allow-private", help="Allow private addresses: a receiver in your own network.")
    ] = False,
) -> None:
    """Add a webhook: it is told of what happens from now on. A secret that is made is shown this once."""
    from gateway.registry.records import WebhookRecord

    given = None if secret_file is None else _secret(secret_file)
    body = {
        "url": url,
        "events": event or None,
        "secret": given,
        "insecure": insecure,
        "allow_private": allow_private,
    }
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "webhooks", body=body, organization=ask.organization).body
    made, secret = documents.record(WebhookRecord, reply), reply["secret"]
    if secret is None and given is None:  # the first answer was lost, and secrets are not kept for the second
        message = f"webhook {made.id} was added, but its secret was lost on the way"
        raise GatewayError("answer_lost", message, hint=f"type `gateway webhooks remove {made.id}` and add it anew")
    if ask.as_json:
        output.print_json({"webhook": made, "secret": secret})
        return
    typer.echo(f"webhook {made.id} is told of {', '.join(made.events)}")
    if secret is not None:
        typer.echo(f"its secret, shown this once: {secret}")
    output.note(f"next: `gateway webhooks test {made.id}{options.of(ask.organization)}`")


@app.command("list")
def list_webhooks(ask: Of) -> None:
    """List the webhooks, and how their last deliveries went."""
    from gateway.registry.records import WebhookRecord
    from gateway.webhooks.deliveries import fares, state_document, state_of

    with ask.gateway() as gateway:
        found = [
            (documents.record(WebhookRecord, each), state_of(each["state"]))
            for each in gateway.items("webhooks", organization=ask.organization)
        ]
    if ask.as_json:
        output.print_json({"webhooks": [{"webhook": each, "state": state_document(state)} for each, state in found]})
        return
    now_ns = time.time_ns()
    output.print_table(
        ("ID", "URL", "EVENTS", "WAITING", "LAST DELIVERY"),
        [
            (
                each.id,
                each.url,
                ", ".join(each.events),
                str(state.waiting),
                output.printable(fares(state, now_ns)),
            )
            for each, state in found
        ],
        empty="no webhooks: type `gateway webhooks add URL`",
    )


@app.command()
def remove(ask: Of, webhook: Webhook) -> None:
    """Remove a webhook. What it has not got yet is not delivered any more."""
    from gateway.registry.records import WebhookRecord

    with ask.gateway() as gateway:
        reply = gateway.send("DELETE", "webhooks", webhook, organization=ask.organization)
    removed = documents.record(WebhookRecord, reply.body)
    ask.show(removed, f"webhook {removed.id} at {removed.url} is removed")


@app.command("test")
def try_out(webhook: Webhook, organization: Organization = "default", data: Data = DATA) -> None:
    """Send the event `webhook.test` to a webhook now. Exit codes: 0 it was accepted, 1 it was not."""
    from gateway.webhooks.trial import Trial

    with gateways.client(data, output.warn) as gateway:
        reply = gateway.send("POST", "webhooks", webhook, "test", organization=organization)
    done = documents.record(Trial, reply.body)
    if not done.accepted:
        hint = "see that the receiver is up and takes a POST there"
        message = f"{done.url} has not accepted it: {done.error}"
        raise GatewayError("not_delivered", message, subject=done.webhook, hint=hint)
    typer.echo(f"{done.url} has accepted {done.event} after {done.milliseconds} ms")


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SECRET).decode("utf-8", "replace").strip()
    except OSError as error:
        why = (error.strerror or "").lower()
        raise GatewayError("secret_missing", f"cannot read `{path}`: {why}", subject=str(path)) from error
