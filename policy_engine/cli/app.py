"""The `policy` program: its verbs, and what becomes of errors that none of them handles."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated

import typer
from typer.main import get_command

from policy_engine.cli import bench, capabilities, check, evaluate, signing, test
from policy_engine.cli.diagnostics import complain, standard_error

ABOUT = """Write, check and test policies in Rego.

Exit codes: 0 all is well, 1 something was found, 2 wrong usage or policies that cannot be loaded."""


def build() -> typer.Typer:
    app = typer.Typer(
        name="policy",
        help=ABOUT,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        # Boxes and colours are for a terminal; a pipe gets plain text.
        rich_markup_mode="rich" if sys.stdout.isatty() else None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_root)
    app.command("test")(test.run_tests)
    app.command("check")(check.check)
    app.command("eval")(evaluate.evaluate)
    app.command("sign")(signing.sign)
    app.command("bench")(bench.bench)
    app.command("capabilities")(capabilities.capabilities)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Nothing ends in a traceback, unless POLICY_DEBUG asks for it."""
    if not os.environ.get("POLICY_DEBUG"):
        sys.excepthook = _last_words
    try:
        code = get_command(build())(arguments, prog_name="policy", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _complain_usage(error)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader has gone (`policy test … | head`). Nothing is wrong, and nothing may be written any more, not even
        # by the interpreter when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code if isinstance(code, int) else 0


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"policy {version('agent-identity-gateway')}")
        raise typer.Exit


def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """`policy` alone gets the help text; it is wrong usage all the same."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _last_words(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """What nobody expected: a defect of this program, said in the shape of all other errors."""
    text = f"the program failed ({kind.__name__}: {error}), which is a defect of it"
    complain(standard_error(), text, "please report it, with the traceback that POLICY_DEBUG=1 shows")


def _complain_usage(error: typer.TyperException) -> None:
    """A usage error in the shape of all others."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    hint = f"see `{context.command_path} --help`" if context is not None else ""
    complain(standard_error(), message[:1].lower() + message[1:].rstrip("."), hint)
