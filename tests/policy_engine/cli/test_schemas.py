"""`--schema` of check, eval and test: a file for `input`, a directory for what annotations name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from policy_engine.cli.app import run

Policy = Callable[..., tuple[int, str, str]]

ROOT = Path(__file__).parents[3]

POLICY = """package authz

allow if input.user == "ann"

# METADATA
# schemas:
#   - input: schema.acme["user-1"]
admin if input.role == "admin"
"""
TEST = """package authz_test

import data.authz

test_ann if authz.allow with input as {"user": "ann"}
"""


@pytest.fixture(autouse=True)
def _directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write("p/authz.rego", POLICY)
    write("p/authz_test.rego", TEST)


def write(name: str, content: object) -> None:
    Path(name).parent.mkdir(parents=True, exist_ok=True)
    Path(name).write_text(content if isinstance(content, str) else json.dumps(content), "utf-8")


def described(**types: str) -> object:
    return {"type": "object", "properties": {name: {"type": type_} for name, type_ in types.items()}}


@pytest.fixture
def policy(capsys: pytest.CaptureFixture[str]) -> Policy:
    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_file_is_the_schema_of_input(policy: Policy) -> None:
    write("input.json", described(user="string", role="string"))
    # The name in the annotation means something as soon as there are schemas.
    assert policy("check", "p", "--schema", "input.json")[::2] == (
        1,
        'p/authz.rego:8:1: rego_type_error: undefined schema: schema.acme["user-1"]\n'
        '  8 | admin if input.role == "admin"\n    | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^\n',
    )
    write("p/authz.rego", POLICY.partition("# METADATA")[0])
    assert policy("check", "p", "-s", "input.json") == (0, "", "")
    write("input.yaml", "type: object\nproperties:\n  name: {type: string}\n")
    code, _, text = policy("check", "p", "-s", "input.yaml")
    assert (code, text.splitlines()[0]) == (1, "p/authz.rego:3:10: rego_type_error: undefined ref: input.user")


def test_a_directory_has_schemas_for_annotations(policy: Policy) -> None:
    write("s/acme/user-1.json", described(role="string"))
    assert policy("check", "p", "--schema", "s") == (0, "", "")
    write("s/acme/user-1.json", described(role="number"))
    code, _, text = policy("check", "p", "--schema", "s")
    assert (code, text.splitlines()[0]) == (
        1,
        "p/authz.rego:8:10: rego_type_error: match error: the two sides are never equal",
    )


def test_queries_and_tests_are_checked_too(policy: Policy) -> None:
    write("s/acme/user-1.json", described(role="string"))
    assert policy("test", "p", "--schema", "s")[0] == 0
    write("p/authz.rego", POLICY.partition("# METADATA")[0])
    write("input.json", described(name="string"))
    for arguments in (("test", "p"), ("eval", "-d", "p", "-f", "pretty", "1")):
        code, _, text = policy(*arguments, "--schema", "input.json")
        assert (code, text.splitlines()[0]) == (2, "p/authz.rego:3:10: rego_type_error: undefined ref: input.user")
    write("p/authz.rego", "package authz\n")
    code, _, text = policy("eval", "-d", "p/authz.rego", "-f", "pretty", "input.user", "--schema", "input.json")
    assert (code, text.splitlines()[0]) == (2, "1:1: rego_type_error: undefined ref: input.user")


@pytest.mark.parametrize("verb", [("check", "p"), ("test", "p"), ("eval", "-f", "pretty", "1")])
def test_schemas_that_cannot_be_read(policy: Policy, verb: tuple[str, ...]) -> None:
    assert policy(*verb, "--schema", "none.json")[::2] == (
        2,
        "error: cannot read `none.json`: No such file or directory\n",
    )
    write("s/a.json", "{")
    write("s/b.yaml", "a: b: c")
    code, _, text = policy(*verb, "--schema", "s")
    assert code == 2
    assert [line.partition(": bundle_error: ")[0] for line in text.splitlines() if "bundle_error" in line] == [
        "s/a.json:1:1",
        "s/b.yaml:1:1",
    ]


def test_check_rejects_an_invalid_schema(policy: Policy) -> None:
    write("input.json", {"type": "objec"})
    code, _, text = policy("check", "p", "--schema", "input.json")
    assert code == 1
    assert text.startswith("rego_type_error: unable to compile the schema: has a primitive type that is NOT VALID")


@pytest.mark.parametrize("schema", [str(ROOT / "schemas" / "input.schema.json"), "input"])
def test_the_gateways_input_is_a_schema_for_its_bundles(policy: Policy, schema: str) -> None:
    assert policy("check", str(ROOT / "policies"), "--schema", schema)[:2] == (0, "")
    write("p/authz.rego", "package authz\n\ndeny contains 1 if input.request.max_tokens > 1\n")
    code, _, text = policy("check", "p/authz.rego", "--schema", schema)
    assert code == 1
    assert text.startswith("p/authz.rego:3:20: rego_type_error: undefined ref: input.request.max_tokens\n")
    assert "hint: did you mean `max_output_tokens`?" in text


def test_a_misspelt_name_of_a_schema_has_a_hint(policy: Policy) -> None:
    code, _, text = policy("check", "p", "--schema", "inptu")
    assert (code, text) == (
        2,
        "error: cannot read `inptu`: No such file or directory\n  hint: did you mean `input`?\n",
    )


def test_a_file_of_that_name_comes_first(policy: Policy) -> None:
    write("input", "type: object\nproperties: {user: {type: string}, role: {type: string}}\n")
    write("p/authz.rego", 'package authz\n\nallow if input.user == "ann"\n')
    assert policy("check", "p", "--schema", "input")[0] == 0
