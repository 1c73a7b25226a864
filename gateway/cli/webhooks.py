"""`gateway webhooks`: who is told of what happens, by a signed POST."""

from __future__ import annotations

import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options, output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.errors import GatewayError
from gateway.processes import local
from gateway.settings import DataDirectory

if TYPE_CHECKING:
    from gateway.webhooks.deliveries import State

app = typer.Typer(no_args_is_help=True, help="Tell other programs of limits, refused policies and revoked agents.")

_MAX_SECRET = 1024

Webhook = Annotated[str, typer.Argument(metavar="WEBHOOK", help="Its id, the beginning of it, or its URL.")]


@app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where to send events, over https.")],
    event: Annotated[
        list[str] | None,
        typer.Option("--event", metavar="EVENT", help="Only these events; may be repeated. See docs/webhooks.md."),
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
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Add a webhook: it is told of what happens from now on. A secret that is made is shown this once."""
    from gateway.audit import search, storage
    from gateway.registry import webhooks
    from gateway.registry.vault import Vault
    from gateway.webhooks import addresses, events, signature

    url = addresses.check_url(url, insecure=insecure)
    webhooks.check_events(event or (), events.EVENTS)
    reach = addresses.PRIVATE if allow_private else addresses.LOOPBACK if insecure else addresses.PUBLIC
    addresses.check_literal(url, reach)
    secret = signature.new_secret() if secret_file is None else _secret(secret_file)
    signature.key_of(secret)
    with local.changing(data) as registry:
        with closing(storage.connect_read_only(DataDirectory(data).audit_db)) as db:
            since = search.last_position(db)
        made = webhooks.add_webhook(
            registry,
            Vault.load(DataDirectory(data).keys),
            actor=local.actor(),
            organization=organization,
            url=url,
            reach=reach,
            events=sorted(set(event or events.USUAL)),
            secret=secret,
            since=since,
        )
    if as_json:
        output.print_json({"webhook": made, "secret": secret if secret_file is None else None})
        return
    typer.echo(f"webhook {made.id} is told of {', '.join(made.events)}")
    if secret_file is None:
        typer.echo(f"its secret, shown this once: {secret}")
    output.note(f"next: `gateway webhooks test {made.id}{options.of(organization)}`")


@app.command("list")
def list_webhooks(organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """List the webhooks, and how their last deliveries went."""
    from gateway.registry import webhooks
    from gateway.webhooks import deliveries

    with local.reading(data) as registry:
        found = webhooks.webhooks(registry, organization)
    states = deliveries.states(DataDirectory(data).runtime_db)
    if as_json:
        output.print_json({"webhooks": [{"webhook": each, "state": states.get(each.id)} for each in found]})
        return
    now_ns = time.time_ns()
    output.print_table(
        ("ID", "URL", "EVENTS", "WAITING", "LAST DELIVERY"),
        [
            (each.id, each.url, ", ".join(each.events), str(state.waiting), output.printable(fares(state, now_ns)))
            for each in found
            for state in [states.get(each.id, deliveries.State())]
        ],
        empty="no webhooks: type `gateway webhooks add URL`",
    )


@app.command()
def remove(webhook: Webhook, organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """Remove a webhook. What it has not got yet is not delivered any more."""
    from gateway.registry import webhooks

    with local.changing(data) as registry:
        removed = webhooks.remove_webhook(registry, actor=local.actor(), organization=organization, webhook=webhook)
    if as_json:
        output.print_json(removed)
    else:
        typer.echo(f"webhook {removed.id} at {removed.url} is removed")


@app.command("test")
def try_out(webhook: Webhook, organization: Organization = "default", data: Data = DATA) -> None:
    """Send the event `webhook.test` to a webhook now. Exit codes: 0 it was accepted, 1 it was not."""
    from gateway.registry.vault import Vault
    from gateway.webhooks import trial

    with local.reading(data) as registry:
        done = trial.carry_out(registry, Vault.load(DataDirectory(data).keys), organization, webhook)
    if not done.accepted:
        hint = "see that the receiver is up and takes a POST there"
        message = f"{done.url} has not accepted it: {done.error}"
        raise GatewayError("not_delivered", message, subject=done.webhook, hint=hint)
    typer.echo(f"{done.url} has accepted {done.event} after {done.milliseconds} ms")


def fares(state: State, now_ns: int) -> str:
    """How the deliveries to a webhook go, in a few words."""
    good = f"accepted {output.age(now_ns - state.success_ns)} ago" if state.success_ns else "none yet"
    if state.failures:
        good += f"; failed {output.age(now_ns - state.error_ns)} ago: {state.error}"
    return good + (f"; {state.given_up} given up" if state.given_up else "")


def _secret(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_SECRET).decode("utf-8", "replace").strip()
    except OSError as error:
        why = (error.strerror or "").lower()
        raise GatewayError("secret_missing", f"cannot read `{path}`: {why}", subject=str(path)) from error
