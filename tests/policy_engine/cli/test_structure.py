"""`policy parse`, `inspect` and `deps`: what policies consist of and depend on."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

import policy_engine as pe
from policy_engine.cli.app import run

Policy = Callable[..., tuple[int, str, str]]

AUTHZ = """# METADATA
# title: Who may do what
package authz

# METADATA
# description: |
#   Guests read.
#   Nothing else.
allow if {
	_guest
	input.method == "GET"
}

_guest if not input.user in data.users.known

limits[name] := data.limits[name] if some name in input.names
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("b/users").mkdir(parents=True)
    Path("b/.manifest").write_text('{"roots": ["authz", "users"], "revision": "7"}', "utf-8")
    Path("b/authz.rego").write_text(AUTHZ, "utf-8")
    Path("b/users/data.json").write_text('{"known": ["ann"]}', "utf-8")


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str]) -> Policy:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_parse_prints_a_tree_or_the_json_of_opa(policy: Policy) -> None:
    code, out, err = policy("parse", "b/authz.rego")
    assert (code, err) == (0, "")
    assert out.startswith("module\n  package authz\n  rule\n    head\n      allow\n")
    assert "    not expr\n" in out
    code, out, _ = policy("parse", "b/authz.rego", "-f", "json")
    ask = pe.compile({}).prepare("rego.parse_module(input.file, input.text)")
    ((value,), _), = ask.results({"file": "b/authz.rego", "text": AUTHZ})  # fmt: skip
    assert json.loads(out) == value


def test_what_cannot_be_parsed_is_an_error(policy: Policy) -> None:
    Path("bad.rego").write_text("package bad\n\np if {\n", "utf-8")
    code, out, err = policy("parse", "bad.rego")
    assert (code, out) == (2, "")
    assert err.startswith("bad.rego:3:6: rego_parse_error: ")
    assert policy("parse", "none.rego")[::2] == (2, "error: cannot read `none.rego`: No such file or directory\n")


def test_inspect_shows_the_manifest_and_the_namespaces(policy: Policy) -> None:
    with tarfile.open("b.tar.gz", "w:gz") as archive:
        archive.add("b", ".")
    for path in ("b", "b.tar.gz"):
        code, out, err = policy("inspect", path)
        assert (code, err) == (0, "")
        assert out.splitlines() == [
            "manifest  value",
            'roots     ["authz","users"]',
            "revision  7",
            "",
            "namespace   file",
            "data.authz  authz.rego",
            "data.users  users/data.json",
        ]
    document = json.loads(policy("inspect", "b", "-f", "json")[1])
    assert document["namespaces"] == {"data.authz": ["authz.rego"], "data.users": ["users/data.json"]}
    assert document["manifest"]["roots"] == ["authz", "users"]


def test_inspect_shows_annotations(policy: Policy) -> None:
    _, out, _ = policy("inspect", "b/authz.rego", "-a")
    assert out.splitlines()[-3:] == [
        "annotation       scope    of",
        "Who may do what  package  data.authz",
        "Guests read.     rule     data.authz.allow",
    ]
    assert len(json.loads(policy("inspect", "b", "-a", "-f", "json")[1])["annotations"]) == 2


@pytest.mark.parametrize("path", ["none", "none.rego"])
def test_what_cannot_be_inspected_is_an_error(policy: Policy, path: str) -> None:
    code, out, err = policy("inspect", path)
    assert (code, out) == (2, "")
    assert path in err


def test_deps_lists_base_and_virtual_documents(policy: Policy) -> None:
    code, out, err = policy("deps", "-d", "b", "data.authz.allow")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "base documents    virtual documents",
        "input.method      data.authz._guest",
        "input.user        data.authz.allow",
        "data.users.known",
    ]


def test_deps_takes_any_query(policy: Policy) -> None:
    code, out, _ = policy("deps", "-d", "b", "-f", "json", "some x in data.authz.limits; x > input.most")
    assert code == 0
    assert json.loads(out) == {
        "base": ["input.most", "input.names", "data.limits"],
        "virtual": ["data.authz.limits"],
    }
    code, out, err = policy("deps", "-d", "b", "x > 1")
    assert (code, out) == (2, "")
    assert err.startswith("1:1: rego_unsafe_var_error: ")
