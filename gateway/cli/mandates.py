"""`gateway mandates`: agents that act for others, to an amount and until a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from gateway.cli import files, output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.limits import amount as parsed_amount

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Let an agent act for another one, to an amount and until a time.")

_MAX_KEYS = 64 * 1024

Mandate = Annotated[str, typer.Argument(metavar="ID", help="The mandate.")]


@app.command()
def grant(
    ask: ChangingOf,
    agent: Annotated[str, typer.Argument(help="The agent that is acted for.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="AGENT", help="The agent that may act: its id, or ORG/AGENT of a published one."),
    ],
    action: Annotated[
        list[str],
        typer.Option("--action", metavar="NAME", help="What it may do; `a2a.*` for all that begin so; repeatable."),
    ],
    amount: Annotated[str, typer.Option("--amount", metavar="MONEY", help="What it may spend in all: 50usd.")],
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="For how long: 8h, 30d; at most 366d.")],
    purpose: Annotated[str, typer.Option("--purpose", metavar="TEXT", help="What it is for: both sides see it.")],
    model: Annotated[
        list[str] | None, typer.Option("--model", metavar="MODEL", help="Only with these models; repeatable.")
    ] = None,
    requests: Annotated[int | None, typer.Option("--requests", metavar="N", help="At most so many requests.")] = None,
) -> None:
    """Let another agent act for one of yours: for these actions, to this amount, until then.

    That agent names the mandate in the header `Gateway-Mandate`. Its own policies judge as ever; what it uses counts
    against the mandate, against your limits and against its own.
    """
    body = {
        "agent": agent,
        "to": to,
        "actions": action,
        "models": model or [],
        "amount_microusd": parsed_amount("spend_microusd", amount),
        "requests": requests,
        "for_seconds": output.seconds(duration),
        "purpose": purpose,
    }
    made = ask.send("POST", "mandates", body=body)
    ask.show(
        made,
        output.copyable(f"{_side(made, 'to_')} may act for {_side(made)} until {made['expires']}: {made['id']}"),
        f"next: it calls with the header `Gateway-Mandate: {made['id']}`",
    )


@app.command("list")
def list_mandates(ask: Of) -> None:
    """List the mandates that the organization has granted, or that its agents were given."""
    ask.table(
        ask.items("mandates"),
        *("ID", ("BY", _side), ("TO", lambda each: _side(each, "to_")), ("ACTIONS", _actions), ("AMOUNT", _amount)),
        *("EXPIRES", "STATE", ("PURPOSE", lambda each: output.printable(each["purpose"]))),
        empty="no mandates: type `gateway mandates grant AGENT --to AGENT …`",
    )


@app.command()
def show(ask: Of, mandate: Mandate) -> None:
    """Show a mandate and what is left of its amount."""
    with ask.gateway() as gateway:
        found = gateway.get("mandates", mandate)
    ask.show(
        found,
        output.copyable(f"mandate {found['id']}: {found['state']}"),
        f"{_side(found, 'to_')} may act for {_side(found)}: {output.printable(found['purpose'])}",
        f"actions {_actions(found)}, until {found['expires']}",
        f"amount {_amount(found)}: {_amount(found, 'left_microusd')} left, {_amount(found, 'spent_microusd')} spent, "
        f"{_amount(found, 'reserved_microusd')} reserved by calls under way",
    )


@app.command()
def revoke(ask: ChangingOf, mandate: Mandate) -> None:
    """Revoke a mandate: no call under it is let through any more."""
    ask.show(ask.send("POST", "mandates", mandate, "revoke"), f"revoked mandate {mandate}")


@app.command()
def export(ask: Of, mandate: Mandate) -> None:
    """Print a mandate's document, signed by the organization that granted it."""
    with ask.gateway() as gateway:
        output.print_json(gateway.get("mandates", mandate, "document")["document"])


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The document; - is standard input.")],
    keys: Annotated[
        Path, typer.Option("--keys", metavar="FILE", help="The JWK set of its organization: `agents card-keys`.")
    ],
) -> None:
    """Verify a mandate's document offline, with the keys that the organization has given you, and nothing else.

    Exit code 1 says that it cannot be trusted. It does not say if the mandate was revoked since.
    """
    from gateway.a2a import cards
    from gateway.errors import GatewayError
    from gateway.identity import jose

    trusted = jose.key_set(files.read(keys, _MAX_KEYS, code="invalid_jwks", hint="check the path"))
    raw = files.read(file, cards.MAX_BYTES + 1, code="invalid_card", hint="check the path")
    try:
        document = orjson.loads(raw) if len(raw) <= cards.MAX_BYTES else None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict) or not isinstance(document.get("grantor"), dict):
        hint = "it must be the whole document that `gateway mandates export` prints"
        raise GatewayError("invalid_card", f"`{file}` is not the document of a mandate", hint=hint)
    key = cards.verify(document, trusted)
    granted = document["grantor"].get("organization")
    typer.echo(output.copyable(f"{document.get('id')}, granted by {granted}: signed by {key.kid}"))


def _side(each: AnswerDocument, prefix: str = "") -> str:
    return f"{each[prefix + 'organization']}/{each[prefix + 'agent']}"


def _actions(each: AnswerDocument) -> str:
    return " ".join([*each["actions"], *(f"({model})" for model in each["models"])])


def _amount(each: AnswerDocument, which: str = "amount_microusd") -> str:
    from gateway.usage.prices import dollars

    return dollars(each[which] * 1000)
