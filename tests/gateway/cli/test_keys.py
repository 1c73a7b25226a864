"""`gateway keys`: what it prints, what it writes, and what it says to mistakes."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from tests.gateway.conftest import Home, Run


def test_a_key_for_less(home: Home, at: Run) -> None:
    home.agent()
    made = at(
        "keys",
        "create",
        "--agent",
        "bot",
        "--action",
        "chat.*",
        "--model",
        "gpt-4o*",
        "--network",
        "10.0.0.0/8",
        "--json",
    )
    assert made.json["scope"] == {"actions": ["chat.*"], "models": ["gpt-4o*"], "networks": ["10.0.0.0/8"]}
    assert "actions chat.*; models gpt-4o*; networks 10.0.0.0/8" in at("keys", "list").out
    assert "models gpt-4o*" in at("agents", "show", "bot").out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["bot", "--action", "chat.completion"], "did you mean `chat.completions`?"),
        (["bot", "--network", "10.0.0.1/8"], "write 10.0.0.0/8"),
        (["bot", "--model", "gpt *"], "no model"),
        (["bot", "--agent", "bot"], "once"),
        ([], "whose key"),
    ],
)
def test_a_mistake_makes_no_key(home: Home, at: Run, arguments: list[str], says: str) -> None:
    home.agent()
    failed = at("keys", "create", *arguments)
    assert failed.code != 0
    assert says in failed.err
    assert at("keys", "list", "--json").json == []


@pytest.mark.slow
def test_rotation_prints_the_new_key_alone(home: Home, at: Run) -> None:
    home.agent()
    old = at("keys", "create", "bot").out.strip()
    rotated = at("keys", "rotate", "--agent", "bot", "--overlap", "1h")
    assert home.credential(rotated.out.strip())
    assert f"{old[:19]} works until" in rotated.err
    assert [each["status"] for each in at("keys", "list", "--json").json] == ["retiring", "active"]
    again = at("keys", "rotate", old[:19])
    assert again.code == 1
    assert "replaced already" in again.err


@pytest.mark.slow
def test_many_keys_go_into_a_file(home: Home, at: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        home.agent(name, team="red")
        home.key(name)
    home.agent("c", team="red")
    out = tmp_path / "keys.csv"
    assert "add --out FILE" in at("keys", "rotate", "--team", "red").err
    done = at("keys", "rotate", "--team", "red", "--out", str(out))
    assert (done.code, done.out) == (0, f"rotated 2 keys; the new ones are in {out}\n")
    assert "not rotated: agent `c` has no key that works" in done.err
    assert out.stat().st_mode & 0o777 == 0o600
    rows = list(csv.DictReader(out.read_text("utf-8").splitlines()))
    assert [row["agent"] for row in rows] == ["a", "b"]
    assert all(home.credential(row["key"]) for row in rows)
    assert all(row["key"] not in at("keys", "list").out for row in rows)
    # A file that is there is not overwritten, and then nothing is rotated.
    failed = at("keys", "rotate", "--all", "--out", str(out))
    assert failed.code == 1
    assert "file exists" in failed.err


@pytest.mark.slow
def test_keys_that_are_not_rotated_leave_no_file(home: Home, at: Run, tmp_path: Path) -> None:
    home.agent()
    failed = at("keys", "rotate", "--agent", "bot", "--out", str(tmp_path / "key.csv"))
    assert failed.code == 1
    assert not (tmp_path / "key.csv").exists()
    for arguments in ([], ["--all", "--agent", "bot"], ["--agent", "bot", "--overlap", "soon"]):
        assert at("keys", "rotate", *arguments).code != 0
