"""Errors on a command line, and the consoles they go to. Colours appear on a terminal only."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from policy_engine.errors import PolicyError
from policy_engine.reports.excerpts import render
from policy_engine.reports.findings import findings_of


def show(console: Console, error: PolicyError, sources: Mapping[str, str]) -> None:
    """Print every error that `error` combines. `sources` holds the text of each file that a location can name."""
    for finding in findings_of(error):
        console.print(render(finding, sources), soft_wrap=True)


def complain(console: Console, message: str, hint: str = "") -> None:
    """Print an error that has no place in a policy: a missing file, a wrong option."""
    text = Text.assemble(("error", "bold red"), f": {message}")
    if hint:
        text.append(f"\n  hint: {hint}", "cyan")
    console.print(text, soft_wrap=True)


def standard_error() -> Console:
    return Console(stderr=True, highlight=False)


def standard_output() -> Console:
    return Console(highlight=False)
