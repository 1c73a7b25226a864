"""What nearly every command is told: which gateway and organization it is for, why, and how it answers.

A command takes all of that as its first parameter, `ask`, and an `App` gives it the options. So each option has one
place, and a command lists only what is its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_args, get_origin

import typer
from typer.models import OptionInfo

from gateway.cli import options, output
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.management.client import Client

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Asking:
    """What the options said. Without an organization or a reason of its own, a command has the usual one."""

    data: Path
    as_json: bool = False
    organization: str = "default"
    reason: str = ""

    def gateway(self) -> AbstractContextManager[Client]:
        """The gateway that is meant, for one change or some questions."""
        return gateways.client(self.data, output.warn)

    def show(self, document: Any, line: str) -> None:
        """The answer of a change: a document for programs, or a line for people."""
        if self.as_json:
            output.print_json(document)
        else:
            typer.echo(line)


Everywhere: TypeAlias = Annotated[Asking, "data", "as_json"]
"""Asks about the whole gateway."""
Changing: TypeAlias = Annotated[Asking, "reason", "data", "as_json"]
"""Changes the whole gateway."""
Of: TypeAlias = Annotated[Asking, "organization", "data", "as_json"]
"""Asks about an organization."""
ChangingOf: TypeAlias = Annotated[Asking, "reason", "organization", "data", "as_json"]
"""Changes something of an organization."""

_OPTIONS: dict[str, tuple[Any, object]] = {
    "reason": (options.Reason, ""),
    "organization": (options.Organization, "default"),
    "data": (options.Data, options.DATA),
    "as_json": (options.Json, False),
}


class Several(dict[str, OptionInfo]):
    """In the annotation of a parameter that holds optional texts by their names: the option of each."""


class App(typer.Typer):
    """Commands, of which any may have `ask` as its first parameter, and any parameter may stand for `Several`."""

    def command(self, *given: Any, **more: Any) -> Callable[[Command], Command]:
        """As in Typer. The function itself stays as it is, so that others can call it."""
        register = super().command(*given, **more)

        def take(function: Command) -> Command:
            register(_with_options(function))
            return function

        return take


def _with_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with the shared options at the end, in the place of `ask`, and several in the place of `Several`."""
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())
    if not own or get_origin(own[0].annotation) is not Annotated or get_args(own[0].annotation)[0] is not Asking:
        return function
    names = get_args(own[0].annotation)[1:]
    several = {each.name: found for each in own for found in get_args(each.annotation) if isinstance(found, Several)}

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        for name, texts in several.items():
            given = {each: values.pop(each) for each in texts}
            values[name] = {each: text for each, text in given.items() if text is not None}
        return function(Asking(**{name: values.pop(name) for name in names}), **values)

    options_: list[tuple[str, Any, object]] = []
    for each in own[1:]:
        texts = several.get(each.name)
        if texts is None:
            options_.append((each.name, each.annotation, each.default))
        else:
            options_ += [(name, Annotated[str | None, kind], None) for name, kind in texts.items()]
    options_ += [(name, *_OPTIONS[name]) for name in names]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, kind, default in options_
    ]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as inspect reads it
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
