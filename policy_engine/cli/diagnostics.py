"""Errors for people: the place, the message, the source line with carets, and a hint.

    policies/support/authz.rego:12:7: rego_parse_error: unexpected `}`
      12 | allow if }
         |          ^
      hint: a body needs at least one expression

Editors and terminals make the first line clickable. Colours appear on a terminal only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from policy_engine.errors import BUNDLE_ERROR, PolicyError
from policy_engine.location import Location

MAX_LINE = 160
"""Longer lines are cut around the error: a screen full of data would hide the carets."""


def show(console: Console, error: PolicyError, sources: Mapping[str, str]) -> None:
    """Print every error that `error` combines. `sources` holds the text of each file that a location can name."""
    for single in error.errors:
        console.print(render(single, sources), soft_wrap=True)


def complain(console: Console, message: str, hint: str = "") -> None:
    """Print an error that has no place in a policy: a missing file, a wrong option."""
    text = Text.assemble(("error", "bold red"), f": {message}")
    if hint:
        text.append(f"\n  hint: {hint}", "cyan")
    console.print(text, soft_wrap=True)


def render(error: PolicyError, sources: Mapping[str, str]) -> Text:
    """One error as text, with the source line if `sources` has it."""
    where = error.location
    text = Text()
    if where and where.file:
        text.append(f"{where.file}:{where.row}:{where.col}: " if where.row else f"{where.file}: ", "bold")
    elif where and where.row:
        text.append(f"{where.row}:{where.col}: ", "bold")
    # An error about a path and not about a policy has no code worth looking up.
    text.append("error" if error.code == BUNDLE_ERROR and not where else error.code, "bold red")
    text.append(f": {error.message}")
    if where and where.row and where.file in sources:
        text.append_text(_excerpt(sources[where.file], where))
    if error.hint:
        text.append(f"\n  hint: {error.hint}", "cyan")
    return text


def text_at(source: str, where: Location) -> str:
    """The source text of a span."""
    lines = source.split("\n")[where.row - 1 : where.end_row]
    lines[-1] = lines[-1][: where.end_col - 1]  # the end first: both ends may be on the same line
    lines[0] = lines[0][where.col - 1 :]
    return "\n".join(lines)


def _excerpt(source: str, where: Location) -> Text:
    """The first line of a span, with carets under the part of the span that is on it."""
    lines = source.split("\n")  # as the lexer counts lines: splitlines() also splits at form feeds
    line = lines[where.row - 1].rstrip("\r") if where.row <= len(lines) else ""
    start = where.col - 1
    end = max(where.end_col - 1 if where.end_row == where.row else len(line), start + 1)
    if len(line) > MAX_LINE:
        cut = max(0, start - MAX_LINE // 2)
        line, start, end = line[cut : cut + MAX_LINE], start - cut, min(end - cut, MAX_LINE)
    margin = " " * len(str(where.row))
    text = Text("\n")
    text.append(f"  {where.row} | ", "dim")
    text.append(line)
    text.append(f"\n  {margin} | ", "dim")
    text.append(_blank(line[:start]))
    text.append("^" * max(1, sum(map(_width, line[start:end]))), "bold red")
    return text


def _blank(text: str) -> str:
    """White space as wide as `text` on the screen; tabs stay tabs."""
    return "".join(char if char == "\t" else " " * _width(char) for char in text)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def standard_error() -> Console:
    return Console(stderr=True, highlight=False)


def standard_output() -> Console:
    return Console(highlight=False)
