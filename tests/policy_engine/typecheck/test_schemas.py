"""JSON Schemas as types: `schemas.yaml`, and the `schemas` of `pe.compile`. Annotations are among `cases/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import policy_engine as pe
from policy_engine.builtins.json_schema.references import SchemaError
from policy_engine.compiler.typecheck.messages import type_text
from policy_engine.compiler.typecheck.schemas import type_of
from tests.cases import read_yaml
from tests.oracle import Oracle

DATA = read_yaml(Path(__file__).with_name("schemas.yaml"))
INPUT = {"type": "object", "properties": {"user": {"type": "string"}, "roles": {"type": "array"}}}


def named(items: list[dict[str, Any]]) -> list[Any]:
    return [pytest.param(item, id=json.dumps(item["schema"])) for item in items]


@pytest.mark.parametrize("item", named(DATA["schemas"]))
def test_type(item: dict[str, Any]) -> None:
    assert type_text(type_of(item["schema"])) == item["type"]


@pytest.mark.parametrize("item", named(DATA["errors"]))
def test_no_type(item: dict[str, Any]) -> None:
    with pytest.raises(SchemaError) as caught:
        type_of(item["schema"])
    assert str(caught.value) == item["text"]


@pytest.mark.parametrize("item", named([*DATA["schemas"], *DATA["errors"]]))
def test_opa_agrees(item: dict[str, Any], oracle: Oracle) -> None:
    if item.get("opa") in ("crashes", "fetches"):
        pytest.skip("OPA does not survive it, or asks another host")
    # The error shows a value that does not fit, of any type.
    source = (
        f"package t\n\n# METADATA\n# schemas:\n#   - input: {json.dumps(item['schema'])}\np if [input] == 1\n\n"
        "q := rego.metadata.rule()\n"
    )
    message = oracle.query("true", modules={"t.rego": source}, data={}, input={}).message
    assert (f"left  : array<{item.get('opa', item['type'])}>\n" if "type" in item else item["text"]) in message


def errors(source: str, **options: Any) -> list[str]:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": f"package t\n\n{source}"}, **options)
    return [f"{error.location}: {error.code}: {error.message}".split("\n")[0] for error in caught.value.errors]


MATCH = "rego_type_error: match error: the two sides are never equal"


def test_the_schema_of_input_applies_to_every_rule_and_query() -> None:
    source = "p if input.user == 1\n\nq if input.name\n\nr if count(input.roles) == 1"
    assert errors(source, schemas={"schema": INPUT}) == [
        f"t.rego:3: {MATCH}",
        "t.rego:5: rego_type_error: undefined ref: input.name",
    ]
    policies = pe.compile({"t.rego": "package t\n\np if input.user"}, schemas={"schema": INPUT})
    assert policies.entrypoint("data.t.p")({"user": "ann"}) is True
    with pytest.raises(pe.PolicyError, match=r"undefined ref: input\.name"):
        policies.prepare("input.name")


ANNOTATED = """# METADATA
# schemas:
#   - input: schema.person
#   - data.people: schema.org["people-1"]
p if input.user == data.people[_]"""


def test_annotations_name_schemas() -> None:
    schemas = {"schema.person": INPUT, 'schema.org["people-1"]': {"type": "array", "items": {"type": "number"}}}
    assert errors(ANNOTATED, schemas=schemas) == [f"t.rego:7: {MATCH}"]
    schemas['schema.org["people-1"]'] = {"type": "array", "items": {"type": "string"}}
    pe.compile({"t.rego": f"package t\n\n{ANNOTATED}"}, schemas=schemas)


def test_names_mean_nothing_until_there_are_schemas() -> None:
    pe.compile({"t.rego": f"package t\n\n{ANNOTATED}"})
    assert errors(ANNOTATED, schemas={"schema.person": INPUT}) == [
        't.rego:7: rego_type_error: undefined schema: schema.org["people-1"]',
    ]


def test_a_schema_with_an_unknown_name_is_refused() -> None:
    assert errors("p := 1", schemas={"input": INPUT}) == [
        "None: rego_compile_error: invalid schema reference: input",
    ]


def test_an_entry_may_have_several_documents() -> None:
    # OPA keeps one of them, now this and now that.
    source = """# METADATA
# schemas:
#   - input: {type: string}
#     data.x: {type: string}
p if {
	input == 1
	data.x == 1
}"""
    assert errors(source) == [f"t.rego:8: {MATCH}", f"t.rego:9: {MATCH}"]


def test_deep_and_large_schemas_end_in_an_error() -> None:
    deep: dict[str, Any] = {}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    assert errors("p := 1", schemas={"schema": deep}) == [
        "None: rego_type_error: unable to compile the schema: it is nested too deeply",
    ]
    # Each refers to the next one twice: as a type this is a tree of 2²⁵ leaves.
    steps = {f"d{n}": {"items": [{"$ref": f"#/definitions/d{n + 1}"}] * 2} for n in range(25)}
    wide = {"$ref": "#/definitions/d0", "definitions": {**steps, "d25": {}}}
    assert errors("p if input == 1", schemas={"schema": wide}) == [
        "None: rego_type_error: type checking: the schema stands for too large a type",
    ]


def test_schemas_are_part_of_what_a_cache_knows(tmp_path: Path) -> None:
    modules = {"t.rego": "package t\n\np if input.user == 1"}
    tmp_path.chmod(0o700)
    for _ in range(2):
        pe.compile(modules, cache=tmp_path).entrypoint("data.t.p")({"user": 1})
    with pytest.raises(pe.PolicyError, match="match error"):
        pe.compile(modules, cache=tmp_path, schemas={"schema": INPUT})
    fits = {"schema": {"type": "object", "properties": {"user": {"type": "number"}}}}
    for _ in range(2):
        assert pe.compile(modules, cache=tmp_path, schemas=fits).entrypoint("data.t.p")({"user": 1}) is True


def test_values_that_are_no_json_are_refused() -> None:
    with pytest.raises(pe.PolicyError) as caught:
        pe.compile({"t.rego": "package t\n\np := 1"}, schemas={"schema": {"type": object()}})
    assert caught.value.code == "invalid_input"
