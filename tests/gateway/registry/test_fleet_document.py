"""Fleet files as text: what is read, and what is complained about, with its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.registry.fleet import document
from gateway.registry.fleet.document import FleetError

MISTAKES = [
    ("", "f.yaml:1: the file is empty"),
    ("agents: []", "f.yaml:1: `v` is missing"),
    ("v: 2", "f.yaml:1: v: must be 1, not 2"),
    ("- v: 1", "f.yaml:1: must be a mapping, not a list"),
    ("v: 1\nagents: [", "this is not YAML"),
    ("v: 1\nagent: []", "f.yaml:2: unknown member `agent`: did you mean `agents`?"),
    ("v: 1\nagents:\n- name: a\n  onwer: x", "f.yaml:4: agents[0]: unknown member `onwer`: did you mean `owner`?"),
    ("v: 1\nagents:\n- owner: x", "f.yaml:3: agents[0]: `name` is missing"),
    ("v: 1\nagents:\n- name: 5", "f.yaml:3: agents[0].name: must be a text, not 5: put it in quotes"),
    ("v: 1\nagents:\n- {name: a, labels: {x: true}}", "agents[0].labels.x: must be a text, not true: put it in quotes"),
    ("v: 1\nagents:\n- {name: a, status: gone}", 'agents[0].status: must be "active" or "suspended", not "gone"'),
    ("v: 1\nagents:\n- name: a\n  name: b", "f.yaml:4: `name` is given twice"),
    ("v: 1\nagents: &x []\nroutes: *x", "f.yaml:2: aliases are not supported"),
    ("v: 1\nagents:\n- {name: &x a, owner: *x}", "f.yaml:3: aliases are not supported"),
    ("v: 1\nagents:\n- {&x name: a}\n- {*x : b}", "f.yaml:3: aliases are not supported"),
    ("v: 1\nagents:\n- &x\n  name: a\n- *x", "f.yaml:3: aliases are not supported"),
    ("v: 1\nlimits:\n- {agent: a, limit: x}", "f.yaml:3: limits[0]: `value` is missing"),
    ("v: 1\nlimits:\n- {agent: a}", "f.yaml:3: limits[0]: `value` is missing"),
    ("v: 1\nlimits:\n- {agent: a, limit: x, value: many}", "limits[0].value: must be a whole number, not a text"),
    ("v: 1\nbindings:\n- bundle: b", "bindings[0]: give exactly one of `agent` or `team` or `organization`"),
    ("v: 1\nbindings:\n- {bundle: b, agent: a, team: t}", "bindings[0]: give exactly one of"),
    ("v: 1\nupstreams:\n- {name: a, key: {}}", "upstreams[0].key: give exactly one of `env` or `file` or `none`"),
    ("v: 1\nupstreams:\n- {name: a, key: sk-abc}", "upstreams[0].key: must be a mapping"),
]


@pytest.mark.parametrize(("text", "complaint"), MISTAKES)
def test_mistakes_are_found_with_their_lines(text: str, complaint: str) -> None:
    with pytest.raises(FleetError) as caught:
        document.read(text.encode(), "f.yaml")
    assert any(complaint in each for each in caught.value.texts()), caught.value.texts()


def test_all_mistakes_are_found_at_once() -> None:
    with pytest.raises(FleetError) as caught:
        document.read(b"v: 1\nagents:\n- nmae: a\n- name: 5\nroutes: no\n", "f.yaml")
    assert [each.line for each in caught.value.mistakes] == [3, 3, 4, 5]


def test_scalars_are_those_of_yaml_1_2() -> None:
    read = document.read(
        b"v: 1\nagents:\n- name: no\n  owner: 12:30\n  team: ''\n  environment: 2026-01-01\n", "f.yaml"
    )
    assert next(read.items("agents")) == ({"name": "no", "owner": "12:30", "team": "", "environment": "2026-01-01"}, 3)


def test_a_key_that_stands_in_the_file_is_not_repeated() -> None:
    with pytest.raises(FleetError) as caught:
        document.read(b"v: 1\nupstreams:\n- {name: a, key: {value: sk-secret-secret-secret}}\n", "f.yaml")
    assert "sk-secret" not in str(caught.value.texts())
    with pytest.raises(FleetError) as caught:
        document.read(b"v: 1\nupstreams:\n- {name: a, key: sk-secret-secret-secret}\n", "f.yaml")
    assert "sk-secret" not in str(caught.value.texts())


TABLES = [
    ("nam,owner\n", "f.csv:1: unknown column `nam`: did you mean `name`?"),
    ("name;owner\na;b\n", "f.csv:1: the columns are divided by semicolons: divide them by commas"),
    ("name,name\n", "f.csv:1: column `name` is there twice"),
    ("owner\nx\n", "one must be `name`"),
    ("name,owner\na\n", "f.csv:2: this row has 1 cells, and there are 2 columns"),
    ("name,labels\na,x\n", "f.csv:2: `x` is not a label: write `name=value;name=value`"),
    ("name,owner\n,x\n", "f.csv:2: `name` is missing"),
    ('name\n"a\n', "f.csv:2: this is not CSV"),
]


@pytest.mark.parametrize(("text", "complaint"), TABLES)
def test_mistakes_in_tables(text: str, complaint: str) -> None:
    with pytest.raises(FleetError) as caught:
        document.read(text.encode(), "f.csv")
    assert any(complaint in each for each in caught.value.texts()), caught.value.texts()


def test_a_table() -> None:
    text = '\ufeffname,owner,capabilities,labels\r\na,,chat; tools,tier=1;cost=c=7\r\n\r\nb,"x, y",,\r\n'
    read = document.read(text.encode(), "f.CSV")
    assert list(read.items("agents")) == [
        ({"name": "a", "capabilities": ["chat", "tools"], "labels": {"tier": "1", "cost": "c=7"}}, 2),
        ({"name": "b", "owner": "x, y"}, 4),
    ]


PRINTABLE = st.characters(exclude_categories=("C", "Z"), include_characters=" ")
TEXT = st.text(PRINTABLE, max_size=12)
AGENTS = st.lists(
    st.fixed_dictionaries(
        {"name": st.text(PRINTABLE, min_size=1, max_size=12)},
        optional={"owner": TEXT, "capabilities": st.lists(TEXT), "labels": st.dictionaries(TEXT, TEXT, max_size=3)},
    ),
    max_size=4,
)


@settings(max_examples=40)
@given(AGENTS)
def test_json_and_yaml_are_read_alike(agents: list[dict[str, Any]]) -> None:
    value = {"v": 1, "agents": agents}
    assert document.read(json.dumps(value, ensure_ascii=False).encode(), "f.json").value == value
    assert document.read(yaml.safe_dump(value, allow_unicode=True).encode(), "f.yaml").value == value


@given(st.text(alphabet=st.sampled_from("v:1 agents\n-{}[],&*!'\"#|>%@?\t\x00é"), max_size=60) | st.binary(max_size=60))
def test_any_text_is_read_or_refused(text: str | bytes) -> None:
    for source in ("f.yaml", "f.csv"):
        try:
            document.read(text if isinstance(text, bytes) else text.encode(), source)
        except FleetError as error:
            found = error
        else:
            continue
        assert found.texts()
