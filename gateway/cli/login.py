"""`gateway login|logout|whoami`: the operator's token with which commands manage a gateway elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli import output, remote
from gateway.cli.options import Json
from gateway.errors import GatewayError
from gateway.management import gateways, logins, servers
from gateway.management.logins import Login
from gateway.management.servers import Access, Server

Address = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="Where its control API is: https://gw.example:8081.")
]


def login(
    server: Address = None,
    token_file: Annotated[
        Path | None, typer.Option("--token-file", metavar="FILE", help="Read the token from this file.")
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option("--ca-file", metavar="FILE", help="Trust the certificates of this authority only.")
    ] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Allow http:// to another machine; the token can be read then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check an operator's token with a gateway elsewhere, and keep it for later commands.

    The token is asked for, or read from standard input if that is no terminal. It is kept in a file that only this user
    can read. An operator of the gateway makes one: `gateway operators token create NAME --expires 30d`.
    """
    chosen = _server(server, token_file, ca_file, insecure_http=insecure_http)
    if chosen.token_file is not None:
        token = servers.read_token(chosen.token_file)
    elif sys.stdin.isatty():
        asked: str = typer.prompt(f"operator's token for {chosen.origin}", hide_input=True, err=True)
        token = servers.checked(asked, "what was typed")
    else:
        token = servers.checked(sys.stdin.read(_MOST), "standard input")
    trusted = chosen.ca_file or _ca_file_before(chosen.origin)
    me = gateways.who(Access(origin=chosen.origin, token=token, ca_file=trusted))
    path = logins.store(Login(origin=chosen.origin, token=token, ca_file=trusted, insecure_http=chosen.insecure_http))
    if as_json:
        output.print_json({"server": chosen.origin, "operator": me, "file": str(path)})
        return
    typer.echo(output.printable(f"logged in to {chosen.origin} as {_named(me)}"))
    output.note(f"next: `gateway --server {chosen.origin} agents list`, or `export {servers.SERVER}={chosen.origin}`")


def logout(server: Address = None, as_json: Json = False) -> None:
    """Forget the token of a login. It still works: `gateway operators token revoke` ends it."""
    chosen = _server(server, None, None, insecure_http=True)
    removed = logins.remove(chosen.origin)
    if as_json:
        output.print_json({"server": chosen.origin, "changed": removed})
    elif removed:
        typer.echo(f"logged out from {chosen.origin}")
    else:
        typer.echo(f"there is no login for {chosen.origin}")


def whoami(server: Address = None, as_json: Json = False) -> None:
    """Say which operator the token belongs to, what it may do, and until when."""
    chosen = _server(server, None, None, insecure_http=False)
    me = gateways.who(gateways.access_to(chosen))
    if as_json:
        output.print_json({"server": chosen.origin, "operator": me})
        return
    token = me["token"]
    output.print_fields(
        [
            ("server", chosen.origin),
            ("operator", f"{me['name']} ({me['id']})"),
            ("of", _whose(me)),
            ("role", me["role"]),
            ("token", f"{token['token_id']}… ({token['id']})"),
            ("only for", " ".join(token["scopes"] or [])),
            ("expires", token["expires"] or "never"),
        ]
    )


_MOST = 4096


def _ca_file_before(origin: str) -> Path | None:
    """What an earlier login has trusted. One that is of no use is replaced."""
    with suppress(GatewayError):
        if (known := logins.find(origin)) is not None:
            return known.ca_file
    return None


def _server(address: str | None, token_file: Path | None, ca_file: Path | None, *, insecure_http: bool) -> Server:
    """The server of this command's own option, or that of the program."""
    if address is not None:
        return remote.server(address, token_file, ca_file, insecure_http=insecure_http)
    chosen = gateways.chosen()
    if chosen is None:
        raise remote.refusal(f"say which gateway is meant: --server URL, or {servers.SERVER}")
    return Server(
        origin=chosen.origin,
        ca_file=ca_file or chosen.ca_file,
        insecure_http=insecure_http or chosen.insecure_http,
        token_file=token_file or chosen.token_file,
    )


def _named(me: dict[str, Any]) -> str:
    expires = me["token"]["expires"]
    scopes = me["token"]["scopes"]
    only = f", for {' '.join(scopes)} only" if scopes else ""
    return f"{me['role']} {me['name']} of {_whose(me)}{only}, " + (f"until {expires}" if expires else "without an end")


def _whose(me: dict[str, Any]) -> str:
    return "the whole gateway" if me["organization"] is None else f"organization {me['organization']}"
