"""Findings for people: the place, the message, the source line with carets, values, and a hint.

    policies/support/authz.rego:12:7: rego_parse_error: unexpected `}`
      12 | allow if }
         |          ^
      hint: a body needs at least one expression

Editors and terminals make the first line clickable. Colours appear on a terminal only.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

from rich.text import Text

from policy_engine.errors import BUNDLE_ERROR
from policy_engine.location import Location
from policy_engine.reports.findings import Finding

MAX_LINE = 160
"""Longer lines are cut around the error: a screen full of data would hide the carets."""


def render(finding: Finding, sources: Mapping[str, str]) -> Text:
    """One finding as text, with the source line if `sources` has it."""
    text = Text.assemble((place(finding), "bold"))
    # An error about a path and not about a policy has no code worth looking up.
    code = "error" if finding.code == BUNDLE_ERROR and not finding.file else finding.code
    text.append(code, "bold red" if finding.severity == "error" else "bold yellow")
    text.append(f": {finding.message}")
    text.append_text(excerpt(finding.location, finding.values, sources))
    if finding.hint:
        text.append(f"\n  hint: {finding.hint}", "cyan")
    return text


def place(finding: Finding) -> str:
    """`authz.rego:3:7: `, as far as the place is known."""
    file = f"{finding.file}:" if finding.file else ""
    where = f"{file}{finding.row}:{finding.col}:" if finding.row else file
    return f"{where} " if where else ""


def excerpt(where: Location, values: Sequence[str], sources: Mapping[str, str], label: str = "") -> Text:
    """The source line of a place, if `sources` has it, with a label, and the values that the expression there saw."""
    text = _line(sources[where.file], where) if where.row and where.file in sources else Text()
    text.append(f" {label}" if label else "", "bold red")
    margin = " " * len(str(where.row)) if where.row else ""
    for value in values:
        text.append(f"\n  {margin} | ", "dim").append(value, "cyan")
    return text


def _line(source: str, where: Location) -> Text:
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
