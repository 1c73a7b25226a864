"""The quick look at a fleet file: whatever it accepts, `jsonschema` accepts."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from gateway.registry.fleet import conformance, document

FLEET: dict[str, Any] = {
    "v": 1,
    "organization": "default",
    "settings": {"zone": "Europe/Zurich", "review_days": 90, "suspend_after_days": 14},
    "teams": [{"name": "support", "owner": "dana", "description": "who answers"}],
    "agents": [
        {"name": "lead", "team": "", "capabilities": ["chat"], "labels": {"tier": "1"}, "review_days": 0},
        {"name": "helper", "parent": "lead", "status": "suspended", "expires": "2027-01-31T00:00:00Z"},
    ],
    "spiffe_ids": [{"agent": "lead", "spiffe_id": "spiffe://acme.example/lead", "actions": ["chat.*"]}],
    "public_keys": [{"agent": "lead", "public_key": "-----BEGIN PUBLIC KEY-----\n", "models": ["gpt-4o*"]}],
    "upstreams": [
        {"name": "openai", "default": True, "headers": {"x-title": "a"}, "key": {"env": "KEY"}},
        {"name": "local", "provider": "vllm", "base_url": "http://127.0.0.1:1/v1", "key": {"none": True}},
    ],
    "routes": [{"name": "any", "members": [{"upstream": "openai", "tier": 0, "weight": 1, "models": {"a": "b"}}]}],
    "bindings": [
        {"team": "support", "bundle": "support", "effect": "grant", "pinned": "abcdef0", "shadow": False},
        {"organization": True, "bundle": "base"},
    ],
    "limits": [{"agent": "lead", "limit": "tokens_per_day", "value": 5000, "model": "gpt-4o*", "upstream": "openai"}],
}
OTHERS: list[Any] = [None, True, False, 0, 1, -1, 2, 1.0, 10**6, "", "x", "x" * 64, "x" * 2000, [], [1], ["x"], {}]
OTHERS += [{"x": "y"}, {"env": "A", "file": "b"}, {"none": False}]


def changed(value: Any) -> Iterator[Any]:
    """The value with one place in it changed, added or left out, in turn."""
    yield from OTHERS
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        for each in changed(value[key]):
            other = copy.copy(value)
            other[key] = each
            yield other
        other = copy.copy(value)
        del other[key]
        yield other
    if isinstance(value, dict):
        yield from ({**value, name: each} for name in ("other", "team", "agent", "none") for each in OTHERS[:4])


def test_a_file_without_mistakes_is_not_looked_at_twice() -> None:
    assert conformance.compiled(document.whole_schema())(FLEET)
    assert set(FLEET) | {"$schema"} == set(document.whole_schema()["properties"])


def test_what_it_accepts_is_valid() -> None:
    schema = document.whole_schema()
    looks, accepted = {}, 0
    for section, value in FLEET.items():
        part = schema["properties"][section]
        looks[section] = conformance.compiled(part)
        judge = jsonschema.Draft202012Validator(part)
        every = list(changed(value))
        for each in random.Random(section).sample(every, min(len(every), 150)):
            fits, valid = looks[section](each), judge.is_valid(each)
            assert valid or not fits, (section, each)
            # It is sure of nearly everything; what it is not sure of is a fraction that is whole.
            assert fits == valid or "1.0" in repr(each), (section, each)
            accepted += fits
    assert accepted > 50


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "string", "pattern": "a"},
        {"type": ["string", "null"]},
        {"not": {"type": "string"}},
        {"enum": ["a"], "type": "string"},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "properties": {}, "oneOf": [{"properties": {}}]},
        {},
        True,
    ],
)
def test_what_it_does_not_know_it_does_not_accept(schema: Any) -> None:
    look = conformance.compiled(schema)
    assert not any(look(each) for each in ("a", None, {"a": "a"}, 1))
