"""`gateway keys add-spiffe`: agents whose clients have a certificate."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import key_requests, output
from gateway.cli.options import DATA, Data, Expires, Json, OnlyActions, OnlyModels, OnlyNetworks, Organization, Reason
from gateway.management import gateways


def add_spiffe(
    name: Annotated[
        str, typer.Argument(metavar="SPIFFE-ID", help="spiffe://TRUST-DOMAIN/PATH, as in the certificate.")
    ],
    agent: Annotated[str, typer.Option("--agent", metavar="AGENT", help="An agent's name or id.")],
    expires: Expires = None,
    action: OnlyActions = None,
    model: OnlyModels = None,
    network: OnlyNetworks = None,
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Let clients whose certificate has this SPIFFE ID be an agent. They need no key.

    The gateway must have the settings tls_cert, tls_key and client_ca. See docs/how-to/identity/mtls.md.
    """
    from gateway.identity.key_scope import scope

    scoped = scope(action or (), model or (), network or ())
    body = key_requests.body(agent, expires, scoped, reason) | {"spiffe_id": name}
    with gateways.client(data, output.warn) as gateway:
        record = key_requests.added(gateway, organization, "spiffe", body)
        if as_json:
            output.print_json(output.plain(record))
        else:
            typer.echo(f"added {record.key_id} ({record.id}) to agent {record.agent}")
