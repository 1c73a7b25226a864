"""The output of the command line: aligned columns or JSON on standard output, one line per error on standard error."""

from __future__ import annotations

import io
import json
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TextIO, cast

import typer

from gateway.cli import usual_verbs
from gateway.cli.remote import copyable as copyable
from gateway.errors import GatewayError
from gateway.logs import without_keys
from gateway.registry.documents import age as age
from gateway.registry.documents import parse_time as parse_time
from gateway.registry.documents import plain as plain
from gateway.registry.documents import timestamp as timestamp

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


_MAX_LINE = 1000
_NAMES = 4  # shown of a list


def complain(message: str, hint: str = "") -> None:
    """Print an error as one line: what is wrong, and what to do."""
    hint = copyable(hint)
    line = printable(without_keys(" ".join(f"{message}: {hint}".split() if hint else message.split())))
    if len(line) > _MAX_LINE:  # it quotes a long text; the hint at its end must stay
        line = f"{line[: _MAX_LINE // 2]} … {line[-_MAX_LINE // 2 :]}"
    typer.echo(typer.style("error", fg="red", bold=True) + f": {line}", err=True)


def warn(message: str, hint: str = "") -> None:
    """One line about what was done all the same."""
    line = copyable(" ".join(f"{message}: {hint}".split() if hint else message.split()))
    typer.echo(typer.style("warning", fg="yellow", bold=True) + f": {printable(line)}", err=True)


def printable(text: str) -> str:
    """Text from outside, escaped: it must not move the cursor, change the direction of writing or forge a line."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


_NO_COMMAND = re.compile(r"No such command ['\"](.*?)['\"]\.")

# What moves the cursor, changes the direction of writing or breaks a line, but for line feeds, tabs and the colours of
# this program. A colour that hides text (8) is none of them.
_HARMFUL: Final = re.compile(
    "\x1b\\[(?!(?:[0-9]+;)*8[;m])[0-9;]*m"
    "|([\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]|\r(?!\n))"
)


def _escaped(found: re.Match[str]) -> str:
    """An escape as JSON and YAML read it, so that documents stay what they are."""
    return f"\\u{ord(found[1]):04x}" if found[1] else found[0]


class _Guarded(io.TextIOBase):
    """Standard output, whatever a command writes to it: texts come from agents, files and servers that may lie."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError("only text is written here")  # typer tries bytes first
        self._stream.write(_HARMFUL.sub(_escaped, text))
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()

    def fileno(self) -> int:
        return self._stream.fileno()

    def writable(self) -> bool:
        return True

    def __getattribute__(self, name: str) -> Any:
        # The base class has these, as None.
        if name in ("encoding", "errors", "buffer", "newlines"):
            return getattr(object.__getattribute__(self, "_stream"), name)
        return super().__getattribute__(name)


@contextmanager
def guarded() -> Iterator[None]:
    """Let nothing that a command prints reach the terminal as anything but text."""
    plain_stream = sys.stdout
    sys.stdout = cast(TextIO, _Guarded(plain_stream))
    try:
        yield
    finally:
        sys.stdout = plain_stream


@contextmanager
def whole_screen() -> Iterator[None]:
    """For what draws a screen, and escapes its texts by itself."""
    guard = sys.stdout
    sys.stdout = getattr(guard, "_stream", guard)
    try:
        yield
    finally:
        sys.stdout = guard


_USED_BY = ("agent", "team", "model", "upstream", "organization")
_NEGATIVE = re.compile(r"-[0-9][0-9,._]*")

# How a validation of arguments says what is wrong with a number, and how a person would.
_VALIDATION = (
    ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "must be a number"),
    ("Input should be greater than or equal to", "must be at least"),
    ("Input should be less than or equal to", "must be at most"),
    ("Input should be", "must be"),
)


def complain_usage(error: typer.TyperException) -> None:
    """Print a usage error in the same form; for a group without a command, print its help text instead."""
    message = error.format_message().replace("Value error, ", "")
    for theirs, ours in _VALIDATION:
        message = message.replace(theirs, ours)
    if not message or message.startswith("Usage: "):
        # The help text of a group; on a terminal it was printed when the error was raised.
        typer.echo(message, err=True)
        return
    context = getattr(error, "ctx", None)
    if context and (unknown := _NO_COMMAND.match(message)) is not None:
        hint = usual_verbs.meant(unknown[1], context.command) or f"see `{context.command_path} --help`"
        complain(copyable(f"no such command {unknown[1]!r}"), hint)
        return
    message = (message[:1].lower() + message[1:].rstrip(".")).replace(". Did you mean", ": did you mean")
    hint = f"see `{context.command_path} --help`" if context and not message.endswith("?") else ""
    kind = str(getattr(error, "option_name", "")).removeprefix("--")
    if context and kind in ("agent", "team") and any(each.name == "subject" for each in context.command.params):
        name = "NAME" if kind == "agent" else "team:NAME"
        message = f"no such option: --{kind}"
        hint = f"the {kind} comes first: `{context.command_path} {name} …`"
    elif context and kind in _USED_BY and context.command.name == "usage":
        message, hint = f"no such option: --{kind}", f"write `--only {kind}=NAME`"
    elif context and _NEGATIVE.fullmatch(kind):
        message, hint = f"`{kind}` is below 0", "no value here is"
    elif context and kind == "data" and context.parent is None:
        message = "--data stands before the command"
        hint = "write it after it: `gateway status --data DIR`, or set AIG_DATA"
    complain(copyable(message), hint)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar, which takes how much is done and of how much, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def working(what: str) -> Iterator[Callable[[], None]]:
    """Say what takes long, and for how many seconds already, if standard error is a terminal.

    Calling what is given takes it away, before something is asked.
    """
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        shown.add_task(what, total=None)
        yield shown.stop


def note(text: str) -> None:
    """Print a remark to standard error, so that standard output has nothing but the result."""
    typer.echo(_HARMFUL.sub(_escaped, copyable(text)), err=True)


def print_json(value: DataclassInstance | Sequence[DataclassInstance] | dict[str, Any]) -> None:
    """Print a record or a list of records as JSON. Times are RFC 3339, and their names lose the `_ns`."""
    typer.echo(json.dumps(plain(value), indent=2, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]], empty: str) -> None:
    """Print aligned columns under a heading, or the remark `empty` if there are no rows."""
    lines = [tuple(_cell(cell) for cell in row) for row in rows]
    if not lines:
        note(empty)
        return
    widths = [max(len(line[i]) for line in [tuple(columns), *lines]) for i in range(len(columns))]
    typer.echo(typer.style(_aligned(columns, widths), bold=True))
    for line in lines:
        typer.echo(_aligned(line, widths))


def print_fields(fields: Iterable[tuple[str, str]]) -> None:
    """Print one thing, a line for each field."""
    shown = [(name, _cell(value)) for name, value in fields]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        typer.echo(typer.style(name.ljust(width), bold=True) + "  " + value)


def _cell(text: str) -> str:
    """One cell on one line. What else could do harm is escaped where it is written (`guarded`)."""
    return _HARMFUL.sub(_escaped, text).replace("\n", "\\n").replace("\r", "\\r") or "-"


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def names(found: Sequence[str], none: str = "") -> str:
    """The first few names of a list and how many more there are; `none` if it is empty."""
    more = f" and {len(found) - _NAMES} more" if len(found) > _NAMES else ""
    return ", ".join(found[:_NAMES]) + more if found else none


def parse_past(text: str) -> int:
    """Nanoseconds from a time, or from an age such as `2h` or `2h ago`."""
    for parse in (lambda text: now_ns() - parse_duration(text.removesuffix("ago").rstrip()), parse_time):
        try:
            return parse(text)
        except GatewayError:
            continue
    message = f"`{text[:80]}` is neither a time nor an age"
    raise GatewayError("invalid_time", message, hint="write 2026-11-25T14:00:00Z, 24h or 7d")


def parse_expiry(text: str) -> int:
    """Nanoseconds from a time, or from a duration that begins now; 0 for `never`."""
    if text == "never":
        return 0
    try:
        return now_ns() + parse_duration(text)
    except GatewayError:
        pass
    try:
        return parse_time(text)
    except GatewayError as error:
        hint = "write 90d, 2027-06-30, 2027-06-30T18:00:00Z or never"
        raise GatewayError("invalid_expiry", f"`{text}` is no time to expire at", hint=hint) from error


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_MAX_SECONDS = 100 * 366 * 86400


def parse_duration(text: str) -> int:
    """Nanoseconds from a number and a unit: `90s`, `15m`, `12h`, `30d`."""
    number, unit = text[:-1], text[-1:]
    if unit in _UNITS and number.isascii() and number.isdecimal() and len(number) <= 10:
        seconds = int(number) * _UNITS[unit]
        if 0 < seconds <= _MAX_SECONDS:
            return seconds * 1_000_000_000
    raise GatewayError("invalid_duration", f"`{text}` is not a duration", hint="write 90s, 15m, 12h or 30d")


def given(wanted: dict[str, Any], noun: str, also: dict[str, Any] | None = None) -> dict[str, Any]:
    """The members of a body of `gateway NOUN update` that its options say: at least one."""
    found = {name: value for name, value in wanted.items() if value is not None} | (also or {})
    if not found:
        raise GatewayError("nothing_to_change", "nothing to change", hint=f"see `gateway {noun} update --help`")
    return found


def seconds(text: str | None) -> int | None:
    """Seconds from a duration that may be left out."""
    return None if text is None else parse_duration(text) // 1_000_000_000


def now_ns() -> int:
    return time.time_ns()
