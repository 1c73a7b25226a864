"""`gateway adopt`: let programs go on with the provider's key that they share, while they move to keys of their own."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import options, output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.options import ReplaceRevoked
from gateway.cli.upstreams import read_secret
from gateway.errors import GatewayError
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient
    from gateway.runtime.legacy_clients import LegacyClient

app = App(no_args_is_help=True, help="Let programs go on with an old provider key for a while, and see which still do.")

_MAX_INPUT = 64 * 1024


@app.command()
def start(
    ask: ChangingOf,
    upstream: Annotated[str, typer.Option("--upstream", metavar="NAME", help="The upstream that the key is for.")],
    until: Annotated[
        str, typer.Option("--until", metavar="WHEN", help="The key opens nothing from then on: 60d, or 2027-01-31.")
    ],
    key_env: Annotated[
        list[str] | None,
        typer.Option(
            "--key-env", metavar="VARIABLE", help="The environment variable that holds the old key; may be repeated."
        ),
    ] = None,
    owner: Annotated[
        str,
        typer.Option("--owner", help="Who moves the programs; needed for the first start, which registers an agent."),
    ] = "",
    replace_revoked: ReplaceRevoked = False,
) -> None:
    """Let calls with a provider's old key pass until an end date, as those of the agent `legacy`.

    The key is read from environment variables, or from standard input, one a line. Only a hash of it is stored. A start
    with the same key again moves the end date.
    """
    expires = documents.time_text(output.parse_expiry(until))
    keys = [read_secret(each) for each in key_env] if key_env else _from_input()
    body: dict[str, Any] = {"upstream": upstream, "expires": expires, "owner": owner}
    if replace_revoked:
        body["replace_revoked"] = True
    with ask.gateway() as gateway:
        started = _started(gateway, keys, body)
    if ask.as_json:
        output.print_json(started)
        return
    first, many = started["adoptions"][0], len(started["adoptions"])
    if started["registered"]:
        typer.echo(f"registered agent {first['agent']} ({first['agent_id']})")
    old = "the old key" if many == 1 else f"{many} old keys"
    typer.echo(f"calls to {first['upstream']} with {old} pass until {first['expires']}")
    at = options.of(ask.organization)
    if first["agent_status"] != "active":
        output.warn(
            f"agent {first['agent']} is {first['agent_status']}, so every such call is refused",
            f"`gateway agents resume {first['agent']}{at}` lets them pass",
        )
    if not started["granted"]:
        output.warn(
            f"no policy allows agent {first['agent']} anything, so every such call is denied `no_policy`",
            f"type `gateway bind {first['agent']} BUNDLE{at}`",
        )
    output.note(f"next: change the base URL of a program, and see it in `gateway adopt status{at}`")


@app.command()
def status(
    ask: Of,
    address: Annotated[
        str | None,
        typer.Option("--address", metavar="IP", help="Only clients at this address, of which only a hash is kept."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Show also those that have moved.")] = False,
) -> None:
    """Show what is still to move: clients that were seen with the old key, and not with one of their own since."""
    from gateway.identity import key_scope
    from gateway.runtime import legacy_clients

    named = None if address is None else key_scope.address(address)
    with ask.gateway() as gateway:
        found = [each for each in gateway.items("adoptions") if each["revoked"] is None]
        listed = gateway.items("adoptions", "clients", moved=True, address=named)
    clients = sorted((_client(each) for each in listed), key=legacy_clients.place_in_lists)
    now_ns = output.now_ns()
    to_move = [each for each in clients if not each.moved(now_ns)]
    moved = [each for each in clients if each.moved(now_ns)]
    for each in () if ask.as_json else found:
        typer.echo(f"{each['upstream']}: {_until(each, now_ns)}")
    if not found and not ask.as_json:
        output.note(f"organization {ask.organization} adopts no key: see `gateway adopt start --help`")
    ask.table(
        clients if everything else to_move,
        ("CLIENT", lambda each: "others" if each.others else each.product),
        *(("FROM", "peer"), "CALLS"),
        ("FIRST SEEN", lambda each: f"{output.age(now_ns - each.first_ns)} ago"),
        ("LAST SEEN", lambda each: f"{output.age(now_ns - each.last_ns)} ago"),
        ("MODELS", lambda each: output.printable(output.names(json.loads(each.models)))),
        ("NOTE", lambda each: _note(each, now_ns)),
        empty="every client that was seen has moved" if moved else "no call with the old key was seen yet",
        document={
            "adoptions": found,
            "to_move": [legacy_clients.document(each) for each in to_move],
            "moved": [legacy_clients.document(each) for each in moved],
        },
    )
    if moved and to_move and not everything and not ask.as_json:
        clients_have = "1 client has" if len(moved) == 1 else f"{len(moved)} clients have"
        output.note(f"{clients_have} moved: `gateway adopt status --all` shows them too")


@app.command("list")
def list_adoptions(ask: Of) -> None:
    """List the old keys that pass, or did. Of the keys themselves nothing is known."""
    found = ask.items("adoptions")
    ask.table(
        found,
        *("ID", "UPSTREAM", "AGENT", "STATE", ("FROM", "created")),
        ("UNTIL", lambda each: each["revoked"] or each["expires"]),
        ("BY", "actor"),
        empty="no old key was ever adopted: see `gateway adopt start --help`",
        document={"adoptions": found},
    )


@app.command()
def stop(
    ask: ChangingOf,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="NAME", help="Only the keys of this upstream; otherwise all.")
    ] = None,
) -> None:
    """Let the old keys pass no longer. The next call with one of them is refused."""
    with ask.gateway() as gateway:
        stopped = gateway.send("POST", "adoptions", "stop", body={"upstream": upstream})["stopped"]
        left = [each for each in gateway.items("adoptions") if each["revoked"] is None]
    many = "1 old key opens" if len(stopped) == 1 else f"{len(stopped)} old keys open"
    retired = f"`gateway agents retire {stopped[0]['agent']}{options.of(ask.organization)}`" if stopped else ""
    ask.show(
        {"stopped": [each.without("state") for each in stopped]},
        f"{many} nothing any more",
        *([] if left else [f"next: {retired}, and a new key at the provider for the gateway alone"]),
    )


def _started(gateway: ManagementClient, keys: Sequence[str], body: dict[str, Any]) -> dict[str, Any]:
    """Here all or none; elsewhere one key after the other, and if it breaks off, the same command does the rest."""
    from gateway.identity import legacy_keys

    keys = list(dict.fromkeys(keys))
    for each in keys:
        legacy_keys.check(each)
    if gateway.transport.is_here:
        done = gateway.send("POST", "adoptions", "several", body=body | {"keys": keys})
        made, registered, granted = done["adoptions"], done["registered"], done["granted"]
    else:
        made = [gateway.send("POST", "adoptions", body=body | {"key": each}) for each in keys]
        registered, granted = any(each["registered"] for each in made), made[-1]["granted"]
    adoptions = [each.without("state", "registered", "granted") for each in made]
    return {"adoptions": adoptions, "registered": registered, "granted": granted}


def _client(document: AnswerDocument) -> LegacyClient:
    """The way back from `legacy_clients.document`."""
    from gateway.runtime.legacy_clients import LegacyClient

    moved = document["moved"]
    return LegacyClient(
        organization="",
        product=document["client"] or "",
        peer=document["from"] or "",
        calls=document["calls"],
        first_ns=output.parse_time(document["first_seen"]),
        last_ns=output.parse_time(document["last_seen"]),
        models=json.dumps(document["models"]),
        moved_ns=None if moved is None else output.parse_time(moved),
        agent=document["agent"],
        returned=int(document["several_programs"]),
    )


def _from_input() -> list[str]:
    """The keys on standard input, one a line; on a terminal it asks for one, and does not show it."""
    if sys.stdin.isatty():
        return [getpass.getpass("The old key (it is not shown): ").strip()]
    text = sys.stdin.buffer.read(_MAX_INPUT).decode("latin-1")
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if not keys:
        hint = "name its variable, `--key-env OPENAI_API_KEY`, or give it on standard input"
        raise GatewayError("invalid_key", "no key was given", hint=hint)
    return keys


def _until(adoption: AnswerDocument, now_ns: int) -> str:
    end, state = adoption["expires"], adoption["state"]
    if state == "running":
        left = output.parse_time(end) - now_ns
        return f"the old key passes until {end}, for {output.age(left)} more"
    return f"the old key is refused since {end}" if state == "over" else f"the old key is refused: {state}"


def _note(client: LegacyClient, now_ns: int) -> str:
    if client.moved(now_ns):
        return f"moved: agent {client.agent}"
    return f"several programs: one is agent {client.agent}" if client.returned and client.agent else ""
