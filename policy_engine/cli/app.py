"""The `policy` program: its verbs, and the errors that no verb handles."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated

import typer
from typer.main import get_command

from policy_engine.cli import bench, capabilities, check, completion, deps, evaluate, inspect, parse, signing, test
from policy_engine.cli.diagnostics import complain, standard_error

ABOUT = """Write, check and test policies in Rego.

Exit codes: 0 success, 1 a problem was found, 2 wrong usage or policies that cannot be loaded."""


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
    app.command("parse")(parse.parse)
    app.command("inspect")(inspect.inspect)
    app.command("deps")(deps.deps)
    app.command("sign")(signing.sign)
    app.command("bench")(bench.bench)
    app.command("capabilities")(capabilities.capabilities)
    app.command("completion")(completion.completion)
    return app


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit code. Shows a traceback only if POLICY_DEBUG is set."""
    if not os.environ.get("POLICY_DEBUG"):
        sys.excepthook = _excepthook
    completion.prepare()
    try:
        program = get_command(build())
        for verb in getattr(program, "commands", {}).values():
            verb.short_help = verb.get_short_help_str(1000)  # help would cut it off to fit into a line
        code = program(arguments, prog_name="policy", standalone_mode=False)
        sys.stdout.flush()
    except typer.TyperException as error:
        _complain_usage(error)
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        # The reader has closed the pipe (`policy test … | head`), which is no error. Nothing more may be written, not
        # even by the interpreter, which flushes at exit.
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
    """Show the help text for `policy` without a verb, and exit as for wrong usage."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _excepthook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    """Report an unexpected exception, which is a defect of this program, in the form of every other error."""
    text = f"internal error ({kind.__name__}: {error})"
    complain(standard_error(), text, "this is a defect: run again with POLICY_DEBUG=1 and report the traceback")


def _complain_usage(error: typer.TyperException) -> None:
    """Report a usage error in the form of every other error."""
    context = getattr(error, "ctx", None)
    message = error.format_message()
    hint = f"see `{context.command_path} --help`" if context is not None else ""
    complain(standard_error(), message[:1].lower() + message[1:].rstrip("."), hint)
