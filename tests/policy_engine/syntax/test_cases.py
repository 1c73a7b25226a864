"""The grammar, as data: `cases/*.yaml`, one text and its tree or its error each.

A case has a `note`, a text and what is wanted. The text's field says what stands around it: `term` (the value of a
rule), `body` (in the braces of a rule), `logic` (the same behind `import future.keywords`), `rules` (behind a package),
`module` (nothing). `want` is the tree as tree.py writes it; `error` is the row of the only error, whose words are the
business of refusals/test_mistakes.py.

Each tree must survive being printed and read again. If OPA is installed, it must agree that the text parses or does
not, unless `opa_differs` says why not.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from policy_engine.errors import PARSE_ERROR, PolicyError
from policy_engine.syntax.nodes import Module
from policy_engine.syntax.parser import parse_module
from policy_engine.syntax.printer import to_text
from policy_engine.syntax.versions import RegoV2
from tests.cases import read_yaml
from tests.policy_engine.syntax.around import AROUND
from tests.policy_engine.syntax.tree import dump
from tests.policy_engine.syntax.verdicts import opa_verdicts

FIELDS = {"note", "want", "error", "opa_differs", *AROUND}
CASES = [
    pytest.param(fields, id=f"{path.stem}: {fields['note']}")
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
    for fields in read_yaml(path)["cases"]
]


def source_of(fields: dict[str, Any]) -> tuple[str, str]:
    assert set(fields) <= FIELDS, f"unknown fields: {set(fields) - FIELDS}"
    assert ("want" in fields) != ("error" in fields), "a case wants a tree or an error"
    (place,) = AROUND.keys() & fields.keys()
    return place, AROUND[place].format(fields[place])


def part(place: str, module: Module) -> str:
    if place == "module":
        return dump(module)
    if place == "rules":
        return " ".join(map(dump, module.rules))
    rule = module.rules[0]
    return dump(rule.head.value) if place == "term" else dump(rule.body)


@pytest.mark.parametrize("fields", CASES)
def test_case(fields: dict[str, Any]) -> None:
    place, source = source_of(fields)
    if "error" in fields:
        with pytest.raises(PolicyError) as raised:
            parse_module(source, "t.rego")
        (error,) = raised.value.errors
        assert error.location is not None
        assert error.location.row == fields["error"], error
        assert error.location.file == "t.rego"
        return
    module = parse_module(source)
    assert part(place, module) == fields["want"]
    assert parse_module(to_text(module)) == module, to_text(module)


@pytest.mark.parametrize("fields", [case for case in CASES if "logic" in case.values[0]])
def test_rego_v2_is_all_three_keywords(fields: dict[str, Any]) -> None:
    """OPA's issue 9224 defines it as that and nothing else, so every case of `future.keywords` is one of it, too."""
    source = AROUND["logic"].format(fields["logic"])
    texts = source.replace("future.keywords", "rego.v2"), RegoV2(source.replace("import future.keywords", ""))
    for text in texts:
        if "error" in fields:
            with pytest.raises(PolicyError) as raised:
                parse_module(text)
            assert [error.location and error.location.row for error in raised.value.errors] == [fields["error"]]
        else:
            assert part("logic", parse_module(text)) == fields["want"]


def test_a_mistake_leaves_the_version() -> None:
    """A text with a mistake is read again without it, still as v2: its other rules are right."""
    with pytest.raises(PolicyError) as raised:
        parse_module(RegoV2("package t\n\np if {\n\tx = = 1\n}\n\nq if input.a or input.b\n"))
    assert [error.location and error.location.row for error in raised.value.errors] == [4]


def test_opa_agrees() -> None:
    cases = [case.values[0] for case in CASES if "opa_differs" not in case.values[0]]  # type: ignore[operator,union-attr]
    sources = [source_of(fields)[1] for fields in cases]  # type: ignore[arg-type]
    differ = []
    for source, opa in zip(sources, opa_verdicts(sources), strict=True):
        try:
            parse_module(source)
            ours = ""
        except PolicyError as error:
            ours = str(error) if error.code == PARSE_ERROR else ""
        if bool(opa) != bool(ours):
            differ.append(f"{source!r}\n  OPA  {opa or 'parses'}\n  here {ours or 'parses'}")
    assert not differ, "\n".join(differ)


def test_notes_are_unique() -> None:
    notes = [case.id for case in CASES]
    assert len(notes) == len(set(notes)), [note for note in notes if notes.count(note) > 1]
