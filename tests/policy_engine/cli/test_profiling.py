"""`policy eval --profile`: the output. tests/policy_engine/test_profile.py tests the counts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policy_engine.cli.app import run

POLICY = """package authz

allow if {
	some role in input.roles
	_admin(role)
}

_admin(role) if role == "admin"
"""


@pytest.fixture
def profile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    """Runs `policy eval --profile`; gives exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)
    Path("authz.rego").write_text(POLICY, "utf-8")
    Path("input.json").write_text('{"roles": ["guest", "admin"]}', "utf-8")

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(("eval", "-d", "authz.rego", "-i", "input.json", "--profile", *arguments))
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return call


def test_people_see_two_tables(profile) -> None:
    code, out, err = profile("-f", "pretty", "--profile-sort", "line", "data.authz.allow")
    assert (code, err) == (0, "")
    answer, rules, lines = (part.splitlines() for part in out.split("\n\n"))
    assert answer == ["true"]
    assert rules[0].split() == ["time", "evaluations", "line", "rule"]
    assert [row.split()[2:] for row in rules[1:]] == [
        ["1", "authz.rego:3", "data.authz.allow"],
        ["2", "authz.rego:8", "data.authz._admin"],
    ]
    assert [row.split(maxsplit=4)[2:] for row in lines[1:]] == [
        ["1", "query:1", "data.authz.allow"],
        ["1", "authz.rego:4", "some role in input.roles"],
        ["2", "authz.rego:5", "_admin(role)"],
        ["2", "authz.rego:8", '_admin(role) if role == "admin"'],
    ]
    assert all(row.split()[1] in ("ns", "µs", "ms", "s") for row in rules[1:] + lines[1:])


def test_programs_get_the_names_of_opa(profile) -> None:
    code, out, _ = profile("data.authz.allow")
    found = json.loads(out)
    assert code == 0
    assert found["result"][0]["expressions"][0]["value"] is True
    assert {(line["location"]["row"], line["num_eval"]) for line in found["profile"] if line["location"]["file"]} == {
        (4, 1),
        (5, 2),
        (8, 2),
    }
    assert [rule["name"] for rule in found["profile_rules"]] == ["data.authz.allow", "data.authz._admin"]
    times = [line["total_time_ns"] for line in found["profile"]]
    assert times == sorted(times, reverse=True)
    assert all(time > 0 for time in times)


def test_order_and_length_can_be_chosen(profile) -> None:
    out = profile("--profile-sort", "evaluations", "--profile-limit", "1", "data.authz.allow")[1]
    found = json.loads(out)
    assert [line["num_eval"] for line in found["profile"]] == [2]
    assert [rule["name"] for rule in found["profile_rules"]] == ["data.authz._admin"]


def test_without_the_option_nothing_is_profiled(profile, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(("eval", "-d", "authz.rego", "data.authz.allow")) == 0
    assert "profile" not in capsys.readouterr().out


def test_an_undefined_answer_has_a_profile_too(profile) -> None:
    code, out, _ = profile("--fail", "data.authz.allow with input as {}")
    assert code == 1
    assert list(json.loads(out)) == ["profile", "profile_rules"]


def test_errors_come_without_a_profile(profile) -> None:
    code, out, _ = profile("to_number(input.roles[0])", "--strict-builtin-errors")
    assert code == 2
    assert list(json.loads(out)) == ["errors"]
