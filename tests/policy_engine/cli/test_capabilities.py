"""`policy capabilities` prints what OPA prints, as far as this engine has it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from policy_engine.cli.app import run

NOT_OFFERED = {"internal.test_case"}
"""An instruction to OPA's own test runner, which policies do not call."""

LATER = {"rego_v2_import"}
"""Features of OPA 1.22, which the file does not have."""


def test_it_is_what_opa_has(capsys: pytest.CaptureFixture[str], conformance_dir: Path) -> None:
    assert run(["capabilities"]) == 0
    ours = json.loads(capsys.readouterr().out)
    (file,) = conformance_dir.glob("opa-*-capabilities.json")
    theirs = json.loads(file.read_text())
    assert ours["future_keywords"] == theirs["future_keywords"]
    assert ours["features"] == sorted((*theirs["features"], *LATER))
    known = {builtin["name"]: builtin for builtin in ours["builtins"]}
    expected = {builtin["name"]: builtin for builtin in theirs["builtins"] if builtin["name"] not in NOT_OFFERED}
    missing = expected.keys() - known.keys()
    assert {name: known[name] for name in known} == {name: expected[name] for name in expected if name not in missing}
    assert missing <= {"http.send", "net.lookup_ip_addr", "opa.runtime"}
