"""The `gateway` command line: one file for each noun, put together here (docs/architecture.md, sections 1 and 2).

These files import little at module level. The ORM, the log, git and the server are imported inside the commands that
need them, so that `gateway --help` is instant and a data worker never loads any of it.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage. Every error is one line on standard error.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated

import typer
from typer.main import get_command

from gateway.cli import (
    adopt,
    agents,
    audit,
    bindings,
    completion,
    decide,
    demo,
    explain,
    fleet,
    init,
    issuers,
    keys,
    limits,
    login,
    login_providers,
    mock_provider,
    operators,
    orgs,
    output,
    permissions,
    policies,
    prices,
    remote,
    routes,
    sign_proxy,
    status,
    stops,
    teams,
    tokens,
    top,
    up,
    upstreams,
    usage,
    vault,
    webhooks,
)
from gateway.errors import GatewayError
from gateway.management.servers import SERVER, TOKEN

ABOUT = """Give every AI agent its own identity, decide each of its requests by policy, and prove what happened.

Begin with `gateway init`, then `gateway up`."""

operators.app.command("readmit")(login_providers.readmit)
operators.app.add_typer(login_providers.providers, name="login-provider")
operators.app.add_typer(login_providers.rules, name="login-rule")


def build() -> typer.Typer:
    """The root command with all its nouns, in the order in which a newcomer needs them."""
    app = typer.Typer(
        help=ABOUT,
        no_args_is_help=True,
        add_completion=False,
        # Boxes and colours are for a terminal; a pipe gets plain text.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("demo")(demo.demo)
    app.command("init")(init.init)
    app.command("up")(up.up)
    app.command("login")(login.login)
    app.command("logout")(login.logout)
    app.command("whoami")(login.whoami)
    app.command("status")(status.status)
    app.command("top")(top.top)
    app.add_typer(agents.app, name="agents")
    app.add_typer(keys.app, name="keys")
    app.add_typer(vault.app, name="vault")
    app.add_typer(tokens.app, name="tokens")
    app.add_typer(issuers.app, name="issuers")
    app.add_typer(adopt.app, name="adopt")
    app.add_typer(teams.app, name="teams")
    app.add_typer(orgs.app, name="orgs")
    app.add_typer(operators.app, name="operators")
    app.command("stop")(stops.stop)
    app.command("resume")(stops.resume)
    app.command("bind")(bindings.bind)
    app.command("unbind")(bindings.unbind)
    app.add_typer(bindings.app, name="bindings")
    app.add_typer(limits.app, name="limits")
    app.add_typer(policies.app, name="policies")
    app.add_typer(upstreams.app, name="upstreams")
    app.add_typer(routes.app, name="routes")
    app.command("apply")(fleet.apply)
    app.command("export")(fleet.export)
    app.add_typer(usage.app, name="usage")
    app.add_typer(prices.app, name="prices")
    app.add_typer(webhooks.app, name="webhooks")
    app.add_typer(audit.app, name="audit")
    app.command("explain")(explain.explain)
    app.command("decide")(decide.decide)
    app.command("permissions")(permissions.permissions)
    app.command("sign-proxy")(sign_proxy.sign_proxy)
    app.command("mock-provider")(mock_provider.mock_provider)
    app.command("completion")(completion.completion)
    return app


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
        code = get_command(build())(given, prog_name="gateway", standalone_mode=False)
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
        from gateway.processes.version import version as program_version

        typer.echo(f"gateway {program_version()}")
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
