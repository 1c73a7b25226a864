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
from gateway.management.servers import Server, ServerAccess

Address = Annotated[
    str | None, typer.Option("--server", metavar="URL", help="Where its control API is: https://gw.example:8081.")
]


def login(
    server: Address = None,
    browser: Annotated[
        bool | None,
        typer.Option(
            "--browser/--no-browser",
            help="Log in with the gateway's provider, and open a browser for that, or only print where to go.",
        ),
    ] = None,
    provider: Annotated[
        str | None, typer.Option("--provider", metavar="NAME", help="Log in there, if the gateway has several.")
    ] = None,
    organization: Annotated[
        str | None,
        typer.Option("--organization", "--org", metavar="NAME", help="Work in this organization."),
    ] = None,
    port: Annotated[
        int,
        typer.Option("--port", min=0, max=65535, help="Where the browser comes back to; 0: to any free port."),
    ] = 0,
    with_token: Annotated[
        bool, typer.Option("--with-token", help="Ask for an operator's token, or read it from standard input.")
    ] = False,
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
    """Log in to a gateway elsewhere, and keep the token for later commands.

    At a terminal you log in with your browser, if the gateway has a provider for that. Otherwise an operator's token is
    asked for, or read from standard input: `gateway operators token create NAME --expires 30d` makes one. The token is
    kept in a file that only this user can read.
    """
    chosen = _server(server, token_file, ca_file, insecure_http=insecure_http)
    trusted = chosen.ca_file or _ca_file_before(chosen.origin)
    asked = not (browser is None and provider is None and organization is None and port == 0)
    if asked and (with_token or token_file is not None):
        raise remote.refusal("a login with a token needs no browser: leave --with-token and --token-file out")
    session = None
    if chosen.token_file is None and not with_token and (asked or sys.stdin.isatty()):
        access = ServerAccess(origin=chosen.origin, token="", ca_file=trusted)
        session = _session(access, provider, organization, port, opens_browser=browser is not False, must=asked)
    token = session or _given(chosen)
    me = gateways.who(ServerAccess(origin=chosen.origin, token=token, ca_file=trusted))
    path = logins.store(
        Login(
            origin=chosen.origin,
            token=token,
            ca_file=trusted,
            insecure_http=chosen.insecure_http,
            session=session is not None,
        )
    )
    if as_json:
        output.print_json({"server": chosen.origin, "operator": me, "file": str(path)})
        return
    typer.echo(output.printable(f"logged in to {chosen.origin} as {_named(me)}"))
    output.note(f"next: `gateway --server {chosen.origin} agents list`, or `export {servers.SERVER}={chosen.origin}`")


def _session(
    access: ServerAccess, provider: str | None, organization: str | None, port: int, *, opens_browser: bool, must: bool
) -> str | None:
    """The token of a login in the browser; None if the gateway has no provider, and the person did not ask for one."""
    from gateway.management import browser_login

    wanted = browser_login.Wanted(provider=provider, organization=organization, port=port, opens_browser=opens_browser)
    try:
        found = browser_login.log_in(access, wanted, output.note)
    except GatewayError as error:
        if not must and error.code in ("no_login", "unknown_path"):  # the latter of an older gateway
            return None
        raise
    return str(found["token"])


def _given(chosen: Server) -> str:
    """The token that the person has: from the file, or asked for, or from standard input."""
    if chosen.token_file is not None:
        return servers.read_token(chosen.token_file)
    if sys.stdin.isatty():
        asked: str = typer.prompt(f"operator's token for {chosen.origin}", hide_input=True, err=True)
        return servers.checked(asked, "what was typed")
    return servers.checked(sys.stdin.read(_MOST), "standard input")


def logout(server: Address = None, as_json: Json = False) -> None:
    """Forget the token of a login. One of a login in the browser ends at the gateway, too.

    Any other still works: `gateway operators token revoke` ends it.
    """
    chosen = _server(server, None, None, insecure_http=True)
    ended = _end_session(chosen)
    removed = logins.remove(chosen.origin)
    if as_json:
        output.print_json({"server": chosen.origin, "changed": removed, "ended": ended})
    elif removed:
        typer.echo(f"logged out from {chosen.origin}")
    else:
        typer.echo(f"there is no login for {chosen.origin}")


def _end_session(chosen: Server) -> bool:
    """End the token of a login in the browser; whether that was done. The login is forgotten all the same."""
    from gateway.management import browser_login

    try:
        known = logins.find(chosen.origin)
        if known is None or not known.session:
            return False
        browser_login.end(
            ServerAccess(origin=chosen.origin, token=known.token, ca_file=chosen.ca_file or known.ca_file)
        )
    except GatewayError as error:
        if error.code == "bad_credentials":  # it has ended already
            return False
        hint = "it works until it expires; an operator can end it: `gateway operators token revoke`"
        output.warn(f"the login is forgotten here, and its token was not ended: {error.message}", hint)
        return False
    return True


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
            ("deployment", me.get("deployment", "")),  # an older gateway does not say
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
