"""The published schemas: well formed, true of their examples, and false of what stands right beside them.

The product's own reading is compared with a schema where the product reads: decisions, inputs and manifests
in `tests/gateway/policy`. Entries are checked against both here, because
the two are two spellings of one table.
"""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from gateway.audit import entry
from gateway.audit.errors import AuditError

HERE = Path(__file__).parent
SCHEMAS = HERE.parents[1] / "schemas"
NAMES = sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.schema.json"))
EXAMPLES = {path.stem: json.loads(path.read_text("utf-8")) for path in sorted((SCHEMAS / "examples").glob("*.json"))}


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return loaded


def valid(name: str, document: Any) -> bool:
    return jsonschema.Draft202012Validator(schema(name)).is_valid(document)


def near_misses() -> list[Any]:
    cases = yaml.safe_load((HERE / "refused.yaml").read_text("utf-8"))
    return [pytest.param(case, id=f"{case['example']}: {case['note']}") for case in cases]


def changed(document: Any, case: dict[str, Any]) -> Any:
    document = copy.deepcopy(document)
    *parents, last = [int(step) if step.isdigit() else step for step in case["at"].split(".")]
    inner = document
    for step in parents:
        inner = inner[step]
    if case.get("remove"):
        del inner[last]
    else:
        inner[last] = case["set"]
    return document


@pytest.mark.parametrize("name", NAMES)
def test_a_schema_names_itself_and_its_version(name: str) -> None:
    document = schema(name)
    jsonschema.Draft202012Validator.check_schema(document)
    assert document["$id"] == f"urn:agent-identity-gateway:{name}:{document['v']}"
    assert f"[{name}]({name}.schema.json)" in (SCHEMAS / "README.md").read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_has_examples_and_near_misses(name: str) -> None:
    assert any(example.split(".")[0] == name for example in EXAMPLES)
    assert any(case.values[0]["example"].split(".")[0] == name for case in near_misses())


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_valid(example: str) -> None:
    jsonschema.Draft202012Validator(schema(example.split(".")[0])).validate(EXAMPLES[example])


@pytest.mark.parametrize("case", near_misses())
def test_a_near_miss_is_not(case: dict[str, Any]) -> None:
    name, document = case["example"].split(".")[0], changed(EXAMPLES[case["example"]], case)
    assert not valid(name, document)
    if name == "audit-entry":
        with pytest.raises(AuditError):
            entry.check(document)


@pytest.mark.parametrize("example", [example for example in EXAMPLES if example.startswith("audit-entry.")])
def test_an_entry_survives_the_log(example: str) -> None:
    document = EXAMPLES[example]
    entry.check(document)
    assert entry.decode(entry.encode(document)) == document


def test_the_schema_of_entries_lists_what_the_log_demands() -> None:
    document = schema("audit-entry")
    assert set(document["required"]) == set(entry.COMMON)
    assert set(document["properties"]["kind"]["enum"]) == set(entry.KINDS)
    for kind, members in entry.KINDS.items():
        assert document["$defs"][kind]["required"] == list(members), kind
        # Further members are described, but the log takes them as they are.
        described = document["$defs"][kind]["properties"]
        assert list(described)[: len(members)] == list(members), kind
        assert all(each.keys() == {"description"} for each in list(described.values())[len(members) :]), kind
        assert {"if": {"properties": {"kind": {"const": kind}}}, "then": {"$ref": f"#/$defs/{kind}"}} in document[
            "allOf"
        ]


@pytest.mark.parametrize("kind", sorted(entry.KINDS))
def test_a_members_type_is_the_logs(kind: str) -> None:
    """For each member of each kind and a value of each type: the schema takes it exactly if the log does."""
    samples: dict[type, Any] = {str: "x", int: 1, bool: True, type(None): None}
    blank = {name: samples[types[0]] for name, types in (entry.COMMON | entry.KINDS[kind]).items()}
    blank |= {"v": 1, "kind": kind, "time": "1772618400123456789"}
    entry.check(blank)
    assert valid("audit-entry", blank)
    for name in set(entry.COMMON | entry.KINDS[kind]) - {"v", "kind", "time"}:
        for value in samples.values():
            document = blank | {name: value}
            try:
                entry.check(document)
                taken = True
            except AuditError:
                taken = False
            assert valid("audit-entry", document) == taken, (name, value)
