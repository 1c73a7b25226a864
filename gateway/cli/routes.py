"""`gateway routes`: several upstreams under one name, which share the load and take each other's place."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.upstreams import put
from gateway.errors import GatewayError, did_you_mean

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Share load between upstreams, and say which one follows if one fails.")

_MEMBER = re.compile(r"([A-Za-z0-9._-]+)(?::(\d{1,9}))?", re.ASCII)
_RENAME = re.compile(r"([A-Za-z0-9._-]+):([^=\s]+)=([^=\s]+)")


@app.command("set")
def set_route(
    ask: ChangingOf,
    name: Annotated[str, typer.Argument(help="Its name, which stands in the base URL as an upstream's does.")],
    tiers: Annotated[
        list[str],
        typer.Argument(
            metavar="TIER...",
            help="Upstreams, `openai:3,groq:1` with their weights. A later TIER is tried when all before it failed.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="UPSTREAM:MODEL=NAME",
            help="What an upstream calls a model that clients call otherwise; may be repeated.",
        ),
    ] = None,
    default: Annotated[
        bool | None,
        typer.Option("--default/--no-default", help="Serve it under `/v1/…` as well, before the default upstream."),
    ] = None,
) -> None:
    """Make a route, or give one other upstreams: `gateway routes set chat openai:3,groq:1 azure`."""
    body = {"members": _members(tiers, _renames(model or [])), "default": default}
    with ask.gateway() as gateway:
        route = put(gateway, "routes", name, body) or gateway.send("POST", "routes", body=body | {"name": name})
    order = ", then ".join(" or ".join(each["upstream"] for each in tier) for tier in _tiers(route))
    ask.show(route, f"route {name} leads to {order}" + (", also under /v1/…" if route["default"] else ""))


@app.command("list")
def list_routes(ask: Of) -> None:
    """List the routes and where they lead."""
    ask.table(
        ask.items("routes"),
        *("NAME", ("LEADS TO", _leads_to), "DEFAULT", "ID"),
        empty="no routes yet: type `gateway routes set NAME UPSTREAM OTHER`",
    )


def _leads_to(route: AnswerDocument) -> str:
    tiers = (",".join(f"{each['upstream']}:{each['weight']}" for each in tier) for tier in _tiers(route))
    return " ".join(tiers) or "nowhere: its upstreams were removed"


def _tiers(route: AnswerDocument) -> list[list[AnswerDocument]]:
    """The members of a route, in the order in which they are tried."""
    found: dict[int, list[AnswerDocument]] = {}
    for each in sorted(route["members"], key=lambda one: one["tier"]):
        found.setdefault(each["tier"], []).append(each)
    return list(found.values())


@app.command()
def show(ask: Of, name: Annotated[str, typer.Argument(help="The route.")]) -> None:
    """Show the upstreams of a route: in which order they are tried, and what each calls the models."""
    route = ask.get("routes", name)
    weights = {tier[0]["tier"]: sum(each["weight"] for each in tier) for tier in _tiers(route)}
    ask.table(
        [each for tier in _tiers(route) for each in tier],
        *("TIER", "UPSTREAM", "WEIGHT"),
        ("SHARE", lambda each: f"{100 * each['weight'] / weights[each['tier']]:.0f} %"),
        ("MODELS", lambda each: [f"{before} = {after}" for before, after in each["models"].items()]),
        empty="its upstreams were removed: type `gateway routes set` to give it others",
        document=route,
    )


@app.command()
def remove(ask: ChangingOf, name: Annotated[str, typer.Argument(help="The route.")]) -> None:
    """Remove a route. Its upstreams stay."""
    removed = ask.send("DELETE", "routes", name)
    ask.show(removed, f"removed route {removed['name']}")


def _members(tiers: list[str], renames: dict[str, dict[str, str]]) -> list[dict[str, Any]]:
    members: list[dict[str, Any]] = []
    for number, tier in enumerate(tiers, 1):
        for text in tier.split(","):
            found = _MEMBER.fullmatch(text)
            if found is None:
                what = f"`{text[:80]}` is not an upstream and its weight"
                hint = "put commas between upstreams, and whole numbers as weights after a colon: openai:3,groq:1"
                raise GatewayError("invalid_route", what, subject=text[:80], hint=hint)
            name, weight = found[1], int(found[2] or 1)
            models = renames.pop(name, {})
            members.append({"upstream": name, "weight": weight, "tier": number, "models": models})
    if renames:
        known = [each["upstream"] for each in members]
        what = f"--model names upstream `{next(iter(renames))}`, which the route does not have"
        raise GatewayError("invalid_route", what, hint=did_you_mean(next(iter(renames)), known))
    return members


def _renames(given: list[str]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for text in given:
        parts = _RENAME.fullmatch(text)
        if parts is None:
            hint = "write it as --model azure:gpt-5=gpt-5-prod"
            raise GatewayError("invalid_route", f"`{text[:80]}` does not rename a model", hint=hint)
        models = found.setdefault(parts[1], {})
        if parts[2] in models:
            raise GatewayError("invalid_route", f"upstream `{parts[1]}` has two names for `{parts[2]}`")
        models[parts[2]] = parts[3]
    return found
