"""Mistakes that authors make, as data: what an error says, and that it stands where the mistake is.

`mistakes/*.yaml`: each case is a `module`, or a `base` (bases.yaml) with a `change`: texts that occur once in it, and
what stands there instead. A `§` marks each row with a mistake and is no part of the module. The errors must stand in
these rows and no others; `words` are what each must say in its message or hint (a list for each if there are several).
"""

from __future__ import annotations

from typing import Any

import pytest

import policy_engine as pe
from policy_engine.errors import LIMIT_REACHED, MAX_ERRORS
from tests.cases import read_yaml
from tests.policy_engine.refusals.bases import BASES, DIRECTORY

CASES = [
    pytest.param(fields, id=f"{path.stem}: {fields['note']}")
    for path in sorted(DIRECTORY.glob("*.yaml"))
    if path.stem != "bases"
    for fields in read_yaml(path)["cases"]
]
FIELDS = {"note", "module", "base", "change", "words", "code", "strict"}


def marked(fields: dict[str, Any]) -> str:
    """The module with its marks."""
    assert set(fields) <= FIELDS, f"unknown fields: {set(fields) - FIELDS}"
    if "module" in fields:
        return str(fields["module"])
    text = BASES[fields["base"]]
    for old, new in fields["change"].items():
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times"
        text = text.replace(old, new)
    return text


def errors(fields: dict[str, Any]) -> tuple[pe.PolicyError, ...]:
    module = marked(fields).replace(" §", "").replace("§", "")
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": module}, strict=fields.get("strict", False))
    return caught.value.errors


@pytest.mark.parametrize("fields", CASES)
def test_case(fields: dict[str, Any]) -> None:
    found = errors(fields)
    rows = [number for number, row in enumerate(marked(fields).split("\n"), 1) if "§" in row]
    report = "\n".join(f"{error} | {error.hint}" for error in found)
    assert sorted({error.location.row for error in found if error.location}) == rows, report
    words: list[Any] = fields["words"]
    for error, wanted in zip(found, words if isinstance(words[0], list) else [words], strict=True):
        assert error.code == fields.get("code", "rego_parse_error")
        assert error.location is not None
        assert error.location.col >= 1
        for word in wanted:
            assert word in f"{error.message} {error.hint}", report


@pytest.mark.parametrize("open_", ["[", "{x | ", "{{1: ", "(", "not {", "{ a := ", "every x in [", '$"{', "[{x: y | "])
def test_what_nests_too_deep(open_: str) -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": f"package t\nimport future.keywords\np if {open_ * 300}"})
    assert {error.location.row for error in caught.value.errors if error.location} == {3}


@pytest.mark.parametrize("times", [4001, pytest.param(20_001, marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["1 + ", "x.", "[1, ", "- ", "x | ", "p if x else ", '"\\', "x x ", "&& ", "{\n", "`"])
def test_a_long_text_is_refused_as_well(part: str, times: int) -> None:
    with pytest.raises(pe.PolicyError):
        pe.compile({"t.rego": "package t\np := " + part * times})


def test_many_mistakes() -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": "package t\n" + "p if input.x === 'a'\n" * 40})
    assert [error.message for error in caught.value.errors][-1] == LIMIT_REACHED
    assert len(caught.value.errors) == MAX_ERRORS + 1


@pytest.mark.parametrize("name", BASES)
def test_bases_have_no_mistake(name: str) -> None:
    pe.compile({"t.rego": BASES[name]}, strict=True)


def test_notes_are_unique() -> None:
    notes = [case.id for case in CASES]
    assert sorted(notes) == sorted(set(notes))
