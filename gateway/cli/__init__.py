"""The `gateway` command line: one file for each noun, put together here (architecture.md, sections 1 and 2).

A command loads the file of its own noun; only the help of the program loads all. These files import little at module
level. The ORM, the log, git and the server are imported inside the commands that need them, so that `gateway --help` is
quick and a data worker never loads any of it.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Every error is one line on standard error.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Final

import typer
from typer.main import get_command

from gateway.cli import completion, output, remote
from gateway.cli.asking import App
from gateway.errors import GatewayError
from gateway.management.servers import SERVER, TOKEN

ABOUT = """Give every AI agent its own identity, decide each of its requests by policy, and prove what happened.

Begin with `gateway init`, then `gateway up`."""

_COMMANDS: Final = {
    "demo": "demo:demo",
    "init": "init:init",
    "up": "up:up",
    "login": "login:login",
    "logout": "login:logout",
    "whoami": "login:whoami",
    "status": "status:status",
    "top": "top:top",
    "dashboard": "dashboard:dashboard",
    "agents": "agents:app",
    "keys": "keys:app",
    "vault": "vault:app",
    "tokens": "tokens:app",
    "issuers": "issuers:app",
    "peers": "peers:app",
    "adopt": "adopt:app",
    "teams": "teams:app",
    "orgs": "orgs:app",
    "operators": "login_providers:operators",
    "stop": "stops:stop",
    "resume": "stops:resume",
    "bind": "bindings:bind",
    "unbind": "bindings:unbind",
    "bindings": "bindings:app",
    "limits": "limits:app",
    "mandates": "mandates:app",
    "policies": "policies:app",
    "approvals": "approvals:app",
    "upstreams": "upstreams:app",
    "tools": "tools:app",
    "routes": "routes:app",
    "apply": "fleet:apply",
    "export": "fleet:export",
    "backup": "backup:backup",
    "usage": "usage:app",
    "prices": "prices:app",
    "webhooks": "webhooks:app",
    "audit": "audit:app",
    "explain": "explain:explain",
    "decide": "decide:decide",
    "permissions": "permissions:permissions",
    "sign-proxy": "local_servers:sign_proxy",
    "mock-provider": "local_servers:mock_provider",
    "completion": "completion:completion",
}
"""Each command or noun, in the order in which a newcomer needs them: its file, and what it is called there."""

_VALUED: Final = ("--server", "--token-file", "--ca-file")
"""The program's own options that have a value."""

_SENTENCE: Final = 1000
"""Characters; no first sentence of a command's help is longer."""


def build(only: str | None = None) -> typer.Typer:
    """The root command with all its nouns, or with one of them.

    To import and to build all of them takes several times as long as what most commands do.
    """
    app = App(
        help=ABOUT,
        no_args_is_help=True,
        add_completion=False,
        # Boxes and colours are for a terminal; a pipe gets plain text.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    for name, place in _COMMANDS.items():
        if only is None or only == name:
            file, _, attribute = place.partition(":")
            found = getattr(importlib.import_module(f"gateway.cli.{file}"), attribute)
            if isinstance(found, typer.Typer):
                app.add_typer(found, name=name)
            else:
                app.command(name)(found)
    return app


def _list_whole_sentences(group: object) -> None:
    """Let help list each command with its first sentence. In 80 columns, as in a pipe, half of it would be cut off."""
    for command in getattr(group, "commands", {}).values():
        command.short_help = command.get_short_help_str(_SENTENCE)
        _list_whole_sentences(command)


def _only(given: Sequence[str]) -> str | None:
    """The noun of a command, or None if all of them are needed: for help, for a suggestion, and in any doubt."""
    words = iter(given)
    for word in words:
        if word in _VALUED:
            next(words, None)
        elif not word.startswith("--"):
            return word if word in _COMMANDS else None
        elif word in ("--", "--help"):
            return None
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. An exception never ends in a traceback, except with `--debug`."""
    sys.excepthook = _excepthook
    _open_streams()
    # A command reports errors itself, once; `gateway up` sets up logging for its processes.
    logging.getLogger("gateway").addHandler(logging.NullHandler())
    given = list(sys.argv[1:] if arguments is None else arguments)
    if not all(map(_is_text, given)):
        output.complain("the arguments are not UTF-8")
        return 2
    completion.prepare()
    try:
        program = get_command(build(_only(given)))
        _list_whole_sentences(program)
        with output.guarded():
            code = program(given, prog_name="gateway", standalone_mode=False)
            sys.stdout.flush()
    except GatewayError as error:
        output.complain(error.message, error.hint)
        return 1
    except typer.TyperException as error:
        output.complain_usage(error)
        return error.exit_code
    except typer.Abort:
        output.complain("aborted")
        return 1
    except BrokenPipeError:
        # The reader has closed the pipe (`gateway agents list | head`). Nothing is wrong, but nothing can be written
        # any more, not even by the interpreter when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _open_streams() -> None:
    """Read nothing from a standard stream that was closed before the start (`<&-`), and write nothing to it.

    It would be None otherwise, and the first file that is opened would have its number.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  # until the process ends


def _is_text(argument: str) -> bool:
    """Whether an argument is UTF-8. Other bytes arrive as lone surrogates, which no database or document can hold."""
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _version(wanted: bool) -> None:
    if wanted:
        from gateway.processes import version as program

        typer.echo(f"gateway {program.version()}, commit {program.commit() or 'not known'}")
        typer.echo(f"schemas: {', '.join(f'{name} {number}' for name, number in program.schemas())}")
        raise typer.Exit


def _debug(wanted: bool) -> None:
    if wanted:
        sys.excepthook = sys.__excepthook__


def _root(
    context: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar=SERVER,
            metavar="URL",
            help="Manage the gateway that has its control API there, instead of one on this machine.",
        ),
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option("--token-file", metavar="FILE", help=f"An operator's token for it; else {TOKEN}, or the login's."),
    ] = None,
    ca_file: Annotated[
        Path | None,
        typer.Option("--ca-file", metavar="FILE", help="Trust the certificates of this authority only (PEM)."),
    ] = None,
    insecure_http: Annotated[
        bool, typer.Option("--insecure-http", help="Allow http:// to another machine; the token can be read then.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show a traceback if the gateway itself fails.", callback=_debug)
    ] = False,
) -> None:
    """The options of the program itself."""
    remote.choose(context, server, token_file, ca_file, insecure_http)


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """One line for an exception that nothing expected: a defect, or a failure of the machine."""
    output.complain(f"internal error: {kind.__name__}: {error}", "`gateway --debug …` shows where; please report it")
