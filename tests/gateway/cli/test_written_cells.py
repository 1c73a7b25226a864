"""All output of a command is text: no escape, no direction mark and no forged line reaches a terminal or a parser."""

from __future__ import annotations

import csv
import io
import json
import sys

import pytest
import typer

from gateway import cli
from gateway.cli import output

HOSTILE = "a\x1b[2Jb\x1b]0;x\x07c\u202ed\x9b1me\x7ff\u2066g\rh\x1b[8mi"


def harmless(text: str) -> bool:
    return not any(each in text for each in ("\x1b", "\x07", "\u202e", "\x9b", "\x7f", "\u2066", "\r"))


def test_every_way_of_writing_is_guarded(capsys: pytest.CaptureFixture[str]) -> None:
    with output.guarded():
        typer.echo(HOSTILE)
        output.print_table(("A", "B"), [(HOSTILE, f"x\n{HOSTILE}")], empty="nothing")
        output.print_fields([("field", f"x\nforged: {HOSTILE}")])
        csv.writer(sys.stdout, lineterminator="\n").writerow([HOSTILE, "ok"])
        output.print_json({"name": HOSTILE, "emoji": "👩‍💻 é"})
    output.note(HOSTILE)
    said = capsys.readouterr()
    assert harmless(said.out)
    assert harmless(said.err)
    assert "\nforged" not in said.out
    document = said.out[said.out.index("{") :]
    assert json.loads(document) == {"name": HOSTILE, "emoji": "👩‍💻 é"}, "JSON says what it said"


def test_every_command_is_guarded(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that writes by itself, as most do."""
    app = typer.Typer()
    app.command("status")(lambda: typer.echo(HOSTILE))
    app.command("top")(lambda: None)
    monkeypatch.setattr(cli, "build", lambda _only: app)
    assert cli.main(["status"]) == 0
    assert harmless(capsys.readouterr().out)


def test_the_colours_of_this_program_pass() -> None:
    written = io.StringIO()
    before, sys.stdout = sys.stdout, written
    try:
        with output.guarded():
            typer.echo(typer.style("bold", fg="red", bold=True), color=True)
    finally:
        sys.stdout = before
    assert written.getvalue() == "\x1b[31m\x1b[1mbold\x1b[0m\n"
