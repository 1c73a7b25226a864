"""A command builds the parser of its own noun only, and help, completion and suggestions that of all."""

from __future__ import annotations

import sys

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from gateway import cli


@pytest.mark.parametrize(
    ("given", "noun"),
    [
        ("agents list", "agents"),
        ("agents --help", "agents"),
        ("--server URL agents list", "agents"),
        ("--server agents keys list", "keys"),
        ("--server=agents --token-file agents --ca-file agents --insecure-http --debug keys list", "keys"),
        ("bindings list", "bindings"),
        ("", None),
        ("-h", None),
        ("--help agents", None),
        ("--debug --help agents", None),
        ("agent list", None),
        ("-- agents", None),
        ("--server", None),
    ],
)
def test_which_noun_is_built(given: str, noun: str | None) -> None:
    assert cli._only(given.split()) == noun


def test_a_noun_alone_is_as_it_is_among_all() -> None:
    whole = get_command(cli.build())
    assert isinstance(whole, TyperGroup)
    assert len(whole.commands) > 30
    for name, command in whole.commands.items():
        alone = get_command(cli.build(name))
        assert isinstance(alone, TyperGroup)
        assert list(alone.commands) == [name]
        assert alone.commands[name].get_short_help_str() == command.get_short_help_str()
        if isinstance(command, TyperGroup):
            assert isinstance(found := alone.commands[name], TyperGroup)
            assert found.commands.keys() == command.commands.keys()


@pytest.mark.parametrize("noun", [(), ("agents",), ("operators", "token")])
def test_help_lists_whole_sentences_when_it_is_piped(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, noun: tuple[str, ...]
) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    assert cli.main([*noun, "--help"]) == 0
    out = capsys.readouterr().out
    listed = out.partition("Commands:")[2]
    assert listed
    assert "..." not in listed
    assert max(map(len, out.splitlines())) <= 80


def test_a_command_builds_no_other_noun(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # `main` replaces it
    built: list[str | None] = []
    build = cli.build
    monkeypatch.setattr(cli, "build", lambda only=None: built.append(only) or build(only))
    assert cli.main(["keys", "--help"]) == 0
    assert cli.main(["kyes", "list"]) == 2
    assert "did you mean 'keys'" in capsys.readouterr().err
    assert built == ["keys", None]
