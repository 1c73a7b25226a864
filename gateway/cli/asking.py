"""The options that nearly every command has: which gateway and organization it is for, why, and how it answers.

A command takes all of that as its first parameter, `ask`, and an `App` gives it the options. So each option has one
place, and a command lists only what is its own. It sends one request or several, and says how the answer is shown.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar, get_args, get_origin

import typer
from typer.models import OptionInfo

from gateway.cli import options, output
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

Command = TypeVar("Command", bound=Callable[..., Any])

Column: TypeAlias = str | tuple[str, str | Callable[[Any], object]]
"""A heading with the member that it is over, or what makes a cell of a row; alone it is over the member of its name."""
Field: TypeAlias = str | tuple[str, object]
"""A member, or a name and what stands beside it."""


@dataclass(frozen=True, slots=True)
class GivenOptions:
    """The values of the options. A command without such an option gives no reason, and names no organization."""

    data: Path
    as_json: bool = False
    organization: str | None = None
    reason: str | None = None

    def gateway(self) -> AbstractContextManager[ManagementClient]:
        """The gateway that is meant, for several requests of one command."""
        return gateways.client(self.data, output.warn, organization=self.organization, reason=self.reason)

    def get(self, *path: str, **query: Any) -> AnswerDocument:
        with self.gateway() as gateway:
            return gateway.get(*path, **query)

    def items(self, *path: str, **query: Any) -> list[AnswerDocument]:
        with self.gateway() as gateway:
            return gateway.items(*path, **query)

    def send(self, method: str, *path: str, **more: Any) -> AnswerDocument:
        with self.gateway() as gateway:
            return gateway.send(method, *path, **more)

    def show(self, document: Any, line: str, *notes: str) -> None:
        """The answer of a change: a document for programs, or a line for people, and remarks beside it."""
        if self.as_json:
            output.print_json(document)
            return
        typer.echo(line)
        for each in notes:
            output.note(each)

    def secret(self, document: AnswerDocument, name: str, secret: str, out: Path | None, whose: str, it: str) -> None:
        """A secret that was made, alone on standard output; or where it was written."""
        if self.as_json:
            output.print_json(document | ({name: secret} if out is None else {"file": str(out)}))
        elif out is not None:
            output.note(f"{whose} is in {out}: this is the only copy")
        else:
            typer.echo(secret)
            output.note(f"{whose}; this is the only time {it} is shown")

    def updated(self, what: str, name: str, changed: AnswerDocument | None, *notes: str) -> None:
        """The answer of `update`: the thing as it is now, or None if it was like that already."""
        if changed is None:
            self.show({what: name, "changed": False}, f"{what} {name} is like that already")
        else:
            line = f"updated {what} {changed['name']} ({changed['id']}), now version {changed['version']}"
            self.show({what: changed, "changed": True}, line, *notes)

    def table(self, rows: Iterable[Any], *columns: Column, empty: str, document: Any = None) -> None:
        """A list: this document for programs, or the rows themselves; for people a table, or the remark `empty`."""
        rows = list(rows)
        if self.as_json:
            output.print_json(rows if document is None else document)
            return
        heads = [each if isinstance(each, str) else each[0] for each in columns]
        output.print_table(heads, [[_cell(row, each) for each in columns] for row in rows], empty)

    def fields(self, document: Any, *fields: Field) -> None:
        """One thing: a document for programs, or a line for each field."""
        if self.as_json:
            output.print_json(document)
        else:
            output.print_fields(
                (each, text(document[each])) if isinstance(each, str) else (each[0], text(each[1])) for each in fields
            )


def _cell(row: Any, column: Column) -> str:
    _head, source = (column, column.lower().replace(" ", "_")) if isinstance(column, str) else column
    if callable(source):
        return text(source(row))
    return text(row[source] if isinstance(row, dict) else getattr(row, source))


def text(value: object) -> str:
    """A value of an answer in a line."""
    if value is None or value is False:
        return ""
    if value is True:
        return "yes"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


Everywhere: TypeAlias = Annotated[GivenOptions, "data", "as_json"]
"""Asks about the whole gateway."""
Changing: TypeAlias = Annotated[GivenOptions, "reason", "data", "as_json"]
"""Changes the whole gateway."""
Of: TypeAlias = Annotated[GivenOptions, "organization", "data", "as_json"]
"""Asks about an organization."""
ChangingOf: TypeAlias = Annotated[GivenOptions, "reason", "organization", "data", "as_json"]
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
    """The function with the shared options at the end, in the place of `ask`, and several in the place of `Several`.

    An annotation of `ask` names the options in their order; one that differs from the shared one is given as it is.
    """
    signature = inspect.signature(function, eval_str=True)
    own = list(signature.parameters.values())
    if not own or get_origin(own[0].annotation) is not Annotated or get_args(own[0].annotation)[0] is not GivenOptions:
        return function
    shared = [
        (each, *_OPTIONS[each]) if isinstance(each, str) else ("organization", each, None)
        for each in get_args(own[0].annotation)[1:]
    ]
    several = {each.name: found for each in own for found in get_args(each.annotation) if isinstance(found, Several)}

    @functools.wraps(function)
    def command(**values: Any) -> Any:
        for name, texts in several.items():
            given = {each: values.pop(each) for each in texts}
            values[name] = {each: text for each, text in given.items() if text is not None}
        return function(GivenOptions(**{name: values.pop(name) for name, *_ in shared}), **values)

    options_: list[tuple[str, Any, object]] = []
    for each in own[1:]:
        texts = several.get(each.name)
        if texts is None:
            options_.append((each.name, each.annotation, each.default))
        else:
            options_ += [(name, Annotated[str | None, kind], None) for name, kind in texts.items()]
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=default)
        for name, kind, default in [*options_, *shared]
    ]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]  # as inspect reads it
    command.__annotations__ = {each.name: each.annotation for each in parameters}
    return command
