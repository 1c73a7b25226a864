from __future__ import annotations

import io

from rich.console import Console

from policy_engine.cli.diagnostics import complain, show
from policy_engine.errors import COMPILE_ERROR, PARSE_ERROR, PolicyError, combine
from policy_engine.location import Location
from policy_engine.reports import excerpts, findings_of


def render(error: PolicyError, sources: dict[str, str]) -> str:
    (finding,) = findings_of(error)
    return str(excerpts.render(finding, sources))


def test_a_caret_stands_under_the_span() -> None:
    error = PolicyError(
        PARSE_ERROR, "unexpected `}`", Location("p.rego", 3, 10, 3, 11), hint="a body needs an expression"
    )
    assert render(error, {"p.rego": "package p\n\nallow if }\n"}) == (
        "p.rego:3:10: rego_parse_error: unexpected `}`\n"
        "  3 | allow if }\n"
        "    |          ^\n"
        "  hint: a body needs an expression"
    )


def test_the_caret_keeps_its_place_behind_tabs_and_wide_characters() -> None:
    source = 'package p\n\tx := "日本"; y\n'
    error = PolicyError(COMPILE_ERROR, "var y is unsafe", Location("p.rego", 2, 13, 2, 14))
    line, caret = render(error, {"p.rego": source}).splitlines()[1:]
    assert line == '  2 | \tx := "日本"; y'
    assert caret == "    | \t" + " " * 13 + "^"


def test_carets_mark_only_the_first_line_of_a_span() -> None:
    error = PolicyError(PARSE_ERROR, "not closed", Location("p.rego", 1, 6, 3, 2))
    assert render(error, {"p.rego": "x := [1,\r\n 2\n}"}).splitlines()[1:] == ["  1 | x := [1,", "    |      ^^^"]


def test_an_error_behind_the_last_character_has_a_caret_there() -> None:
    error = PolicyError(PARSE_ERROR, "unexpected end of file", Location("p.rego", 2, 1, 2, 1))
    assert render(error, {"p.rego": "package p\n"}).splitlines()[1:] == ["  2 | ", "    | ^"]


def test_a_very_long_line_is_cut_around_the_place() -> None:
    source = "x := [" + "1, " * 5000 + "?]"
    error = PolicyError(PARSE_ERROR, "unexpected `?`", Location("p.rego", 1, 15007, 1, 15008))
    line, caret = render(error, {"p.rego": source}).splitlines()[1:]
    assert len(line) < 200
    assert line[caret.index("^")] == "?"


def test_errors_without_a_place_or_without_a_source_are_one_line() -> None:
    assert render(PolicyError(COMPILE_ERROR, "no"), {}) == "rego_compile_error: no"
    elsewhere = PolicyError(COMPILE_ERROR, "no", Location("gone.rego", 1, 1))
    assert render(elsewhere, {}) == "gone.rego:1:1: rego_compile_error: no"


def test_every_error_is_shown_and_lines_are_not_wrapped() -> None:
    errors = combine(PolicyError(COMPILE_ERROR, "long " * 40, Location("p.rego", row, 1)) for row in (2, 1))
    output = io.StringIO()
    show(Console(file=output, width=30), errors, {})
    assert [line.split(" ")[0] for line in output.getvalue().splitlines()] == ["p.rego:1:1:", "p.rego:2:1:"]


def test_markup_in_a_message_is_text() -> None:
    output = io.StringIO()
    complain(Console(file=output, width=200), "no such file: `[red]x[/red].rego`", hint="[bold]look[/bold]")
    assert output.getvalue() == "error: no such file: `[red]x[/red].rego`\n  hint: [bold]look[/bold]\n"
