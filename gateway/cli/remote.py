"""`gateway --server URL …`: which commands speak to a gateway elsewhere, and the refusal of those that cannot.

No command falls back to a data directory when a server is named (remote.md).
"""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Final

import typer

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management import gateways, logins, servers
from gateway.management.servers import Server
from gateway.settings import PREFIX

ONLY_HERE: Final = frozenset(
    {
        *("init", "up", "top", "dashboard", "backup"),
        *("policies new", "policies check", "prices check", "prices update"),
        *("audit verify", "audit match", "audit publish", "audit adopt", "audit accept-clock"),
    }
)
"""The commands that create, run or copy a gateway, or work on files beside it. All others ask its operations."""

NO_DIRECTORY: Final = frozenset({"demo", "mock-provider", "sign-proxy", "completion"})
"""Commands that use no gateway that is there already."""


_NAME_IT: Final = {"login", "logout", "whoami", "keys pattern", "keys prove"}
"""Commands whose own option says the server, or that need none."""
_COMMAND: Final = re.compile(r"`gateway ([^`]+)`")


def choose(
    context: typer.Context, address: str | None, token_file: Path | None, ca_file: Path | None, insecure_http: bool
) -> None:
    """Take the options of the program: from here on commands are for that server, if there is one."""
    gateways.choose(None)
    verb = context.invoked_subcommand
    if not address and (token_file is not None or ca_file is not None or insecure_http):
        raise refusal("--token-file, --ca-file and --insecure-http need --server")
    if not address:
        return
    named = _given(context.get_parameter_source("server"))
    if verb in NO_DIRECTORY:
        if named:
            raise refusal(f"`gateway {verb}` has nothing to do with a server: leave --server out")
        return
    found = server(address, token_file, ca_file, insecure_http=insecure_http)
    options = [("--server", found.origin)] if named else []
    options += [(name, str(file)) for name, file in (("--token-file", token_file), ("--ca-file", ca_file)) if file]
    words = [word for option in options for word in option] + ["--insecure-http"] * insecure_http
    gateways.choose(replace(found, named=shlex.join(words)))


def server(address: str, token_file: Path | None, ca_file: Path | None, *, insecure_http: bool) -> Server:
    """The server of an address. A wrong address is wrong usage."""
    try:
        trusted = insecure_http or _was_insecure(address)
        origin = servers.origin(address, insecure_http=trusted)
    except GatewayError as error:
        if error.code in ("invalid_server", "insecure_http"):
            raise refusal(f"--server: {error.message}: {error.hint}") from error
        raise
    return Server(origin=origin, ca_file=ca_file, insecure_http=trusted, token_file=token_file)


def check(context: typer.Context, param: typer.CallbackParam, value: Path) -> Path:
    """The data directory, unless a server is named: then refuse what is not for a server.

    No command gets to see a data directory that another user may have written.
    """
    if context.resilient_parsing:
        return value
    if gateways.chosen() is None:
        return _owned(value)
    named = _given(context.find_root().get_parameter_source("server"))
    if _given(context.get_parameter_source(str(param.name))):
        if named:
            raise refusal("--server and --data exclude each other: name one gateway")
        gateways.choose(None)  # an option counts more than the environment
        return _owned(value)
    if not named and os.environ.get(f"{PREFIX}DATA"):
        both = f"the variables {servers.SERVER} and {PREFIX}DATA"
        raise refusal(f"{both} exclude each other: unset one, or say --server or --data")
    if (command := context.command_path.partition(" ")[2]) in ONLY_HERE:
        instead = "leave --server out" if named else f"unset {servers.SERVER}, or say --data DIR"
        raise refusal(f"`gateway {command}` works on the gateway's own machine only: run it there, and {instead}")
    return value


def _owned(data: Path) -> Path:
    """A data directory that nobody else can have written. No command has looked at anything yet: exit code 2."""
    try:
        DataDirectory(data).check_owner()
    except GatewayError as error:
        raise refusal(f"{error.message}: {error.hint}" if error.hint else error.message) from error
    return data


def organization(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """The organization that is named, or else that of the operator whose token is used."""
    if gateways.chosen() is None or context.resilient_parsing or _given(context.get_parameter_source(str(param.name))):
        return value
    return gateways.own_organization()


def refusal(message: str) -> typer.TyperException:
    """Wrong usage, in one line."""
    error = typer.TyperException(message)
    error.exit_code = 2
    return error


def _was_insecure(address: str) -> bool:
    """Whether a login says that plain HTTP to this server is meant."""
    if not address.startswith("http://"):
        return False
    login = logins.find(servers.origin(address, insecure_http=True))
    return login is not None and login.insecure_http


def _given(source: object) -> bool:
    """Whether an option stands in the command, and not in the environment."""
    return getattr(source, "name", "") == "COMMANDLINE"


def copyable(text: str) -> str:
    """The text with `gateway --server URL …` where it says `gateway …`, if the server was named by an option.

    So commands that remarks and hints name can be copied. A server of `AIG_SERVER` needs none, and commands that work
    on the gateway's own machine only stay as they are.
    """
    server = gateways.chosen()
    if server is None or not server.named:
        return text
    return _COMMAND.sub(lambda found: f"`gateway {server.named} {found[1]}`" if _remote(found[1]) else found[0], text)


def _remote(command: str) -> bool:
    words = command.split()
    begins = {" ".join(words[:count]) for count in (1, 2)}
    return "--help" not in words and not begins & (ONLY_HERE | NO_DIRECTORY | _NAME_IT)
