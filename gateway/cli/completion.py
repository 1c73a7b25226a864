"""`gateway completion`: completes commands and options in a shell.

The script that is printed runs `gateway` itself, with `_GATEWAY_COMPLETE` in its environment, for each press of the tab
key; typer answers then. Its own options `--install-completion` and `--show-completion` would stand in every help text.
"""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer

_VARIABLE = "_GATEWAY_COMPLETE"


class Shell(StrEnum):
    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def prepare() -> None:
    """Let typer answer, if it is a shell that asks."""
    if _VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # typer has no list of exports

        completion_init()


def completion(shell: Annotated[Shell, typer.Argument(help="The shell that is to complete commands.")]) -> None:
    """Print a script that makes a shell complete commands and options.

    \b
    bash  put this into ~/.bashrc:  eval "$(gateway completion bash)"
    zsh   put this into ~/.zshrc, after compinit:  eval "$(gateway completion zsh)"
    fish  gateway completion fish > ~/.config/fish/completions/gateway.fish
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # typer has no list of exports

    typer.echo(get_completion_script(prog_name="gateway", complete_var=_VARIABLE, shell=shell.value))
