"""`gateway keys add-spiffe`: agents whose clients have a certificate."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import key_requests, output
from gateway.cli.asking import ChangingOf
from gateway.cli.options import Expires, OnlyActions, OnlyModels, OnlyNetworks


def add_spiffe(
    ask: ChangingOf,
    name: Annotated[
        str, typer.Argument(metavar="SPIFFE-ID", help="spiffe://TRUST-DOMAIN/PATH, as in the certificate.")
    ],
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="An agent's name or id.")],
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
) -> None:
    """Let clients whose certificate has this SPIFFE ID be an agent. They need no key.

    The gateway must have the settings tls_cert, tls_key and client_ca. See docs/how-to/identity/mtls.md.
    """
    from gateway.identity.key_scope import scope

    scoped = scope(action or (), model or (), network or ())
    body = key_requests.body(agent, expires, scoped, ask.reason) | {"spiffe_id": name}
    with ask.gateway() as gateway:
        record = key_requests.added(gateway, ask.organization, "spiffe", body)
        ask.show(output.plain(record), f"added {record.key_id} ({record.id}) to agent {record.agent}")
