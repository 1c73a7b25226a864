"""`gateway agents publish`, `withdraw`, `card`, `card-keys` and `verify-card`: agents that other agents call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import orjson
import typer

from gateway.cli import files, options, output
from gateway.cli.agent_show import Agent
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.limits import amount
from gateway.errors import GatewayError

_MAX_KEYS = 64 * 1024

Endpoint = Annotated[str, typer.Option("--endpoint", metavar="URL", help="Where it takes A2A requests.")]


def commands(app: App) -> None:
    """Add these commands to `gateway agents`."""
    for each, name in (
        (publish, "publish"),
        (withdraw, "withdraw"),
        (card, "card"),
        (card_keys, "card-keys"),
        (verify_card, "verify-card"),
    ):
        app.command(name)(each)


def publish(
    ask: ChangingOf,
    agent: Agent,
    endpoint: Endpoint,
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="What it does.")] = "",
    skill: Annotated[
        list[str] | None,
        typer.Option("--skill", metavar="NAME=TEXT", help="Something that it can be asked for; may be repeated."),
    ] = None,
    price: Annotated[
        str,
        typer.Option("--price", metavar="AMOUNT", help="What each message costs its caller: 0.50usd, $2."),
    ] = "0",
    key_file: Annotated[
        Path | None,
        typer.Option("--key-file", metavar="FILE", help="A token that the gateway shows there; - is standard input."),
    ] = None,
    auth: Annotated[
        str | None,
        typer.Option(
            "--auth",
            metavar="KIND",
            help="Show a token of the gateway there for each call instead: `token` names the agent that calls, "
            "`on_behalf_of` the person for whom that acts.",
        ),
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Allow plain HTTP to another machine.")] = False,
) -> None:
    """Publish an agent: others can call it through the gateway, if the policies of both sides allow it.

    It gets a card that says where it is reached, signed by its organization. Bind a bundle to it with the effect
    `receive`, which says who may call it: without one nobody may.
    """
    body: dict[str, Any] = {
        "endpoint": endpoint,
        "description": description,
        "skills": [_skill(each) for each in skill or []],
        "secret": None if key_file is None else files.text(key_file, _MAX_KEYS, code="invalid_key"),
        "insecure": insecure,
    }
    if auth is not None:
        body["auth"] = auth
    if cost := amount("spend_microusd", price):  # an older gateway knows no prices of agents
        body["price_microusd"] = cost
    found = ask.send("POST", "agents", agent, "publish", body=body)
    org = options.of(ask.organization)
    ask.show(
        found,
        output.copyable(f"published agent {found['name']}: others call it at {found['url']}"),
        f"next: `gateway bind {agent} BUNDLE --effect receive{org}`, which says who may",
    )


def _skill(text: str) -> dict[str, str]:
    name, equals, description = text.partition("=")
    if not equals:
        raise GatewayError(
            "invalid_skill", f"`{text[:80]}` is not NAME=TEXT", hint="write --skill order='Takes orders'"
        )
    return {"id": name, "name": name, "description": description}


def withdraw(ask: ChangingOf, agent: Agent) -> None:
    """Withdraw the card of an agent. Nobody can call it any more."""
    ask.show(ask.send("POST", "agents", agent, "withdraw"), f"withdrew the card of agent {agent}")


def card(ask: Of, agent: Agent) -> None:
    """Print the card of a published agent, signed: the document that others verify."""
    with ask.gateway() as gateway:
        output.print_json(gateway.get("agents", agent, "card")["card"])


def card_keys(ask: Of) -> None:
    """Print the public keys of the organization as a JWK set: those who verify its cards need it."""
    with ask.gateway() as gateway:
        output.print_json(gateway.get("card-keys"))


def verify_card(
    file: Annotated[Path, typer.Argument(metavar="CARD", help="The card; - is standard input.")],
    keys: Annotated[Path, typer.Option("--keys", metavar="FILE", help="The JWK set of the organization.")],
) -> None:
    """Verify a card offline: with the keys that its organization has given you, and nothing else.

    Exit code 1 says that it cannot be trusted. Keys that the card itself names are not used.
    """
    from gateway.a2a import cards
    from gateway.identity import jose

    trusted = jose.key_set(files.read(keys, _MAX_KEYS, code="invalid_jwks", hint="check the path"))
    raw = files.read(file, cards.MAX_BYTES + 1, code="invalid_card", hint="check the path")
    try:
        document = orjson.loads(raw) if len(raw) <= cards.MAX_BYTES else None
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        raise cards.invalid(f"`{file}` is not a JSON object of at most {cards.MAX_BYTES} bytes")
    key = cards.verify(document, trusted)
    who = document.get("provider")
    organization = who.get("organization") if isinstance(who, dict) else None
    typer.echo(output.copyable(f"{document.get('name')} of {organization}: signed by {key.kid}"))
