"""Commands typed out of habit: verbs of other tools, an agent where a key may be named, a file that holds a key."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from gateway.cli import build, usual_verbs
from tests.gateway.conftest import Home, Run


@pytest.mark.parametrize(
    ("typed", "hint"),
    [
        ("agents create x", "did you mean 'register'?"),
        ("agents ls", "did you mean 'list'?"),
        ("agents rm x", "did you mean 'revoke' or 'retire'?"),
        ("agents describe x", "did you mean 'show'?"),
        ("keys delete x", "did you mean 'revoke'?"),
        ("keys add x", "did you mean 'create'?"),
        ("limits add x", "did you mean 'set'?"),
        ("upstreams rm x", "did you mean 'remove'?"),
        ("upstreams update x", "type `gateway upstreams add NAME --replace …`"),
        ("bindings create x", "type `gateway bind AGENT BUNDLE`"),
        ("tokens rotate", "did you mean 'rotate-key'?"),
        ("start", "did you mean 'up'?"),
        ("serve", "did you mean 'up'?"),
        ("logs", "did you mean 'audit'?"),
        ("create agent", "the noun comes first, such as `gateway agents register`"),
        ("delete agent x", "the noun comes first, such as `gateway agents revoke`"),
        ("agents lst", "did you mean 'list'?"),
        ("org list", "did you mean 'orgs'?"),
        ("agents frobnicate", "see `gateway agents --help`"),
    ],
)
def test_a_verb_of_another_tool_is_answered_with_the_command_meant(typed: str, hint: str, at: Run) -> None:
    assert at(*typed.split()).complains(2).endswith(f": {hint}")


def test_the_table_names_commands_that_there_are() -> None:
    def names(group: Any) -> set[str]:
        inner = getattr(group, "commands", {})
        return set(inner).union(*(names(each) for each in inner.values()))

    assert {each for meant in usual_verbs.USUAL.values() for each in meant} <= names(get_command(build()))


def test_a_key_is_rotated_by_its_agents_name(at: Run, home: Home) -> None:
    home.agent()
    first = home.key()
    rotated = at("keys", "rotate", "bot", "--json").json["rotated"][0]
    assert rotated["replaces"]["agent"] == "bot"
    assert "unknown agent `nobody`" in at("keys", "rotate", "nobody").complains()
    assert at("keys", "rotate", first[:19]).complains().startswith("key ")  # it is a key, and was replaced already


def test_a_file_keeps_its_key_until_there_is_a_new_one(at: Run, home: Home, tmp_path: Path) -> None:
    home.agent()
    assert at("operators", "add", "ci", "--role", "owner").code == 0
    for command, prefix in (
        (("keys", "create", "bot"), "aig_sk_"),
        (("operators", "token", "create", "ci"), "aig_op_"),
    ):
        file = tmp_path / f"{command[0]}.txt"
        file.write_text("the old one\n")
        *before, _ = command
        assert at(*before, "nobody", "--out", str(file)).code == 1
        assert file.read_text() == "the old one\n"
        made = at(*command, "--out", str(file))
        assert (made.code, made.out) == (0, ""), made.err
        assert file.read_text().startswith(prefix)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "cannot be written" in at("keys", "create", "bot", "--out", str(tmp_path / "none" / "key.txt")).complains()
    assert "is a directory" in at("keys", "create", "bot", "--out", str(tmp_path)).complains()
    assert len(at("keys", "list", "bot", "--json").json) == 1, "no key was made that nobody has"
    assert not list(tmp_path.glob(".*.new"))


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        (
            "bind support bot",
            "`support` is a bundle, and `bot` an agent: the agent comes first: `gateway bind bot support`",
        ),
        ("bind nobody support", "unknown agent `nobody`"),
        ("agents show bto", "unknown agent `bto`: did you mean `bot`?"),
        ("usage --agent bot", "no such option: --agent: write `--only agent=NAME`"),
        ("limits set bot requests_per_minute -5", "`-5` is below 0: no value here is"),
    ],
)
def test_what_is_in_the_wrong_place_is_said(typed: str, says: str, at: Run, home: Home) -> None:
    home.activate("support")
    home.agent()
    done = at(*typed.split())
    assert done.code in (1, 2)
    assert done.complains(done.code).startswith(says)
