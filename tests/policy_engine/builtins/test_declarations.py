"""The table says of every builtin what OPA's capabilities file says: its types, and its marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from policy_engine import types
from policy_engine.builtins import FAMILIES, TABLE
from policy_engine.builtins.table import Cost


@pytest.fixture(scope="module")
def capabilities(conformance_dir: Path) -> dict[str, dict[str, Any]]:
    (file,) = conformance_dir.glob("opa-*-capabilities.json")
    return {builtin["name"]: builtin for builtin in json.loads(file.read_text())["builtins"]}


def test_every_builtin_is_one_of_opas(capabilities: dict[str, dict[str, Any]]) -> None:
    assert not TABLE.keys() - capabilities.keys()


def test_no_name_is_in_two_families() -> None:
    assert sum(len(family.BUILTINS) for family in FAMILIES) == len(TABLE)


@pytest.mark.parametrize("name", sorted(TABLE))
def test_declaration(name: str, capabilities: dict[str, dict[str, Any]]) -> None:
    builtin, theirs = TABLE[name], capabilities[name]
    assert types.to_json(builtin.decl) == theirs["decl"]
    assert builtin.infix == theirs.get("infix", "")
    for mark in ("nondeterministic", "relation", "deprecated"):
        assert getattr(builtin, mark) == theirs.get(mark, False), mark


def test_a_declaration_says_one_thing_about_cost() -> None:
    """A builtin that takes the context charges for itself, and a form in place takes all operands."""
    assert [name for name, builtin in TABLE.items() if builtin.context and builtin.cost is not Cost.SIZES] == []
    assert [name for name, one in TABLE.items() if one.inline and len(one.inline.classes) != len(one.decl.args)] == []
