"""The text of an export: whatever the registry holds, readers of YAML find it in there."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.registry.fleet import document, export

ODD = ["yes", "No", "null", "~", "1e3", "12:30", "a: b", "a #b", "a:b", "a :b", "https://x.example:80/v1", "2026-01-01"]
ODD += [
    "",
    "-",
    " a",
    "a ",
    "y",
    "a:",
    " a : b",
    "\U0001f600 x",
    "a\u2028b",
    "\x85",
    "\ufeff",
    "'",
    '"',
    "\\",
    "a\nb\n",
]
TEXTS = st.sampled_from(ODD) | st.text(max_size=8) | st.text(alphabet="ab:# -'\"\n.1@/~[]{},&*!%`", max_size=8)
SCALARS = TEXTS | st.integers(-(2**53), 2**53) | st.booleans()
MEMBERS = st.dictionaries(TEXTS, SCALARS | st.dictionaries(TEXTS, TEXTS, max_size=2) | st.lists(SCALARS, max_size=2))
DOCUMENTS = st.dictionaries(TEXTS, MEMBERS | SCALARS | st.lists(MEMBERS | SCALARS, max_size=3), min_size=1, max_size=3)


@settings(max_examples=60)
@given(DOCUMENTS)
def test_readers_of_yaml_find_what_was_written(wanted: dict[str, Any]) -> None:
    text = export.text(wanted)
    assert yaml.safe_load(text) == wanted, text


def test_it_looks_as_people_write_it() -> None:
    agent = {
        "name": "lead",
        "owner": "Dana Who",
        "capabilities": ["chat"],
        "labels": {"tier": "1"},
        "expires": "2027-01-31",
    }
    text = export.text({"v": 1, "agents": [agent], "bindings": [{"organization": True, "bundle": "base"}]})
    assert text == (
        "v: 1\nagents:\n- name: lead\n  owner: Dana Who\n  capabilities:\n  - chat\n  labels:\n"
        '    tier: "1"\n  expires: "2027-01-31"\nbindings:\n- organization: true\n  bundle: base\n'
    )


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("v: 1\nagents:\n- name: !!str a\n", 3),
        ("v: 1\nagents:\n- !x name: a\n", 3),
        ("v: 1\nagents: !x\n- name: a\n", 2),
        ("!x {v: 1}", 1),
    ],
)
def test_tags_are_refused(text: str, line: int) -> None:
    with pytest.raises(document.FleetError) as caught:
        document.read(text.encode(), "f.yaml")
    assert caught.value.texts()[0].startswith(f"f.yaml:{line}: tags are not supported")
