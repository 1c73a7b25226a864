"""`gateway adopt`: let programs go on with the provider's key that they share, while they move to keys of their own."""

from __future__ import annotations

import getpass
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.options import ReplaceRevoked
from gateway.cli.upstreams import read_secret
from gateway.errors import GatewayError
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.management.client import Client
    from gateway.registry.adoptions import AdoptionRecord, Started
    from gateway.runtime.legacy_clients import Client as LegacyClient

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
    expires_ns = output.parse_expiry(until)
    keys = [read_secret(each) for each in key_env] if key_env else _from_input()
    body: dict[str, Any] = {
        "upstream": upstream,
        "expires": documents.time_text(expires_ns),
        "owner": owner,
        "reason": ask.reason,
        **({"replace_revoked": True} if replace_revoked else {}),
    }
    with ask.gateway() as gateway:
        started = _started(gateway, ask.organization, keys, body)
        if ask.as_json:
            output.print_json(
                {
                    "adoptions": output.plain(started.adoptions),
                    "registered": started.registered,
                    "granted": started.granted,
                }
            )
            return
        first = started.adoptions[0]
        if started.registered:
            typer.echo(f"registered agent {first.agent} ({first.agent_id})")
        many = "the old key" if len(started.adoptions) == 1 else f"{len(started.adoptions)} old keys"
        typer.echo(f"calls to {first.upstream} with {many} pass until {output.timestamp(first.expires_ns)}")
        at = "" if ask.organization == "default" else f" --org {ask.organization}"
        if first.agent_status != "active":
            output.warn(
                f"agent {first.agent} is {first.agent_status}, so every such call is refused",
                f"`gateway agents resume {first.agent}{at}` lets them pass",
            )
        if not started.granted:
            output.warn(
                f"no policy allows agent {first.agent} anything, so every such call is denied `no_policy`",
                f"type `gateway bind {first.agent} BUNDLE{at}`",
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
    from gateway.runtime import legacy_clients

    with ask.gateway() as gateway:
        found = [each for each in _listed(gateway, ask.organization) if each.revoked_ns is None]
        clients = _clients(gateway, ask.organization, address)
    now_ns = output.now_ns()
    to_move = [each for each in clients if not each.moved(now_ns)]
    moved = [each for each in clients if each.moved(now_ns)]
    if ask.as_json:
        output.print_json(
            {
                "adoptions": [output.plain(each) | {"state": each.state(now_ns)} for each in found],
                "to_move": [output.plain(legacy_clients.document(each)) for each in to_move],
                "moved": [output.plain(legacy_clients.document(each)) for each in moved],
            }
        )
        return
    for each in found:
        typer.echo(f"{each.upstream}: {_until(each, now_ns)}")
    if not found:
        output.note(f"organization {ask.organization} adopts no key: see `gateway adopt start --help`")
    output.print_table(
        ("CLIENT", "FROM", "CALLS", "FIRST SEEN", "LAST SEEN", "MODELS", "NOTE"),
        [_row(each, now_ns) for each in (clients if everything else to_move)],
        empty="every client that was seen has moved" if moved else "no call with the old key was seen yet",
    )
    if moved and to_move and not everything:
        clients_have = "1 client has" if len(moved) == 1 else f"{len(moved)} clients have"
        output.note(f"{clients_have} moved: `gateway adopt status --all` shows them too")


@app.command("list")
def list_adoptions(ask: Of) -> None:
    """List the old keys that pass, or did. Of the keys themselves nothing is known."""
    with ask.gateway() as gateway:
        found = _listed(gateway, ask.organization)
    now_ns = output.now_ns()
    if ask.as_json:
        output.print_json({"adoptions": [output.plain(each) | {"state": each.state(now_ns)} for each in found]})
        return
    output.print_table(
        ("ID", "UPSTREAM", "AGENT", "STATE", "FROM", "UNTIL", "BY"),
        [
            (
                each.id,
                each.upstream,
                each.agent,
                each.state(now_ns),
                output.timestamp(each.created_ns),
                output.timestamp(each.revoked_ns or each.expires_ns),
                each.actor,
            )
            for each in found
        ],
        empty="no old key was ever adopted: see `gateway adopt start --help`",
    )


@app.command()
def stop(
    ask: ChangingOf,
    upstream: Annotated[
        str | None, typer.Option("--upstream", metavar="NAME", help="Only the keys of this upstream; otherwise all.")
    ] = None,
) -> None:
    """Let the old keys pass no longer. The next call with one of them is refused."""
    from gateway.registry.adoptions import AdoptionRecord

    body = {"upstream": upstream, "reason": ask.reason}
    with ask.gateway() as gateway:
        reply = gateway.send("POST", "adoptions", "stop", body=body, organization=ask.organization)
        stopped = documents.records(AdoptionRecord, reply.body["stopped"])
        left = [each for each in _listed(gateway, ask.organization) if each.revoked_ns is None]
        if ask.as_json:
            output.print_json({"stopped": output.plain(stopped)})
            return
        many = "1 old key opens" if len(stopped) == 1 else f"{len(stopped)} old keys open"
        typer.echo(f"{many} nothing any more")
        if not left:
            at = "" if ask.organization == "default" else f" --org {ask.organization}"
            agent = stopped[0].agent
            output.note(
                f"next: `gateway agents retire {agent}{at}`, and a new key at the provider for the gateway alone"
            )


def _started(gateway: Client, organization: str, keys: Sequence[str], body: dict[str, Any]) -> Started:
    """Here all or none; elsewhere one key after the other, and if it breaks off, the same command does the rest."""
    from gateway.identity import legacy_keys
    from gateway.registry.adoptions import AdoptionRecord, Started

    keys = list(dict.fromkeys(keys))
    for each in keys:
        legacy_keys.check(each)
    if gateway.transport.is_here:
        done = gateway.send("POST", "adoptions", "several", body=body | {"keys": keys}, organization=organization).body
        return Started(documents.records(AdoptionRecord, done["adoptions"]), done["registered"], done["granted"])
    made = [
        gateway.send("POST", "adoptions", body=body | {"key": each}, organization=organization).body for each in keys
    ]
    registered, granted = any(each["registered"] for each in made), made[-1]["granted"]
    return Started(documents.records(AdoptionRecord, made), registered, granted)


def _listed(gateway: Client, organization: str) -> list[AdoptionRecord]:
    """Also those that have ended, the oldest first."""
    from gateway.registry.adoptions import AdoptionRecord

    return documents.records(AdoptionRecord, gateway.items("adoptions", organization=organization))


def _clients(gateway: Client, organization: str, address: str | None) -> Sequence[LegacyClient]:
    """All that were seen, or those at an address, also those that have moved."""
    from gateway.identity import key_scope
    from gateway.runtime import legacy_clients

    named = None if address is None else key_scope.address(address)
    found = gateway.items("adoptions", "clients", organization=organization, moved=True, address=named)
    return sorted((_client(organization, each) for each in found), key=legacy_clients.place_in_lists)


def _client(organization: str, document: dict[str, Any]) -> LegacyClient:
    """The way back from `legacy_clients.document`."""
    moved = document["moved"]
    from gateway.runtime.legacy_clients import Client as LegacyClient

    return LegacyClient(
        organization=organization,
        product=document["client"] or "",
        peer=document["from"] or "",
        calls=document["calls"],
        first_ns=documents.nanoseconds(document["first_seen"]),
        last_ns=documents.nanoseconds(document["last_seen"]),
        models=json.dumps(document["models"]),
        moved_ns=None if moved is None else documents.nanoseconds(moved),
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


def _until(record: AdoptionRecord, now_ns: int) -> str:
    end = output.timestamp(record.expires_ns)
    state = record.state(now_ns)
    if state == "running":
        return f"the old key passes until {end}, for {output.age(record.expires_ns - now_ns)} more"
    return f"the old key is refused since {end}" if state == "over" else f"the old key is refused: {state}"


def _row(client: LegacyClient, now_ns: int) -> tuple[str, ...]:
    return (
        "others" if client.others else client.product,
        client.peer,
        str(client.calls),
        f"{output.age(now_ns - client.first_ns)} ago",
        f"{output.age(now_ns - client.last_ns)} ago",
        output.printable(output.names(_models(client))),
        _note(client, now_ns),
    )


def _note(client: LegacyClient, now_ns: int) -> str:
    if client.moved(now_ns):
        return f"moved: agent {client.agent}"
    return f"several programs: one is agent {client.agent}" if client.returned and client.agent else ""


def _models(client: LegacyClient) -> list[str]:
    found: list[str] = json.loads(client.models)
    return found
