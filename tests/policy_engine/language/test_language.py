"""The language, as data: every `*.yaml` beside this file is a list of cases, `note` first, one behaviour each.

A case that states what OPA does says so by agreeing with it; one that guards an opinion of this engine says why in a
comment. What the fields mean: ../conftest.py. `want_result` may also be JSON text, for numbers with more digits than
YAML keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

CASES = [
    (path.stem, fields)
    for path in sorted(Path(__file__).parent.glob("*.yaml"))
    for fields in yaml.safe_load(path.read_text("utf-8"))["cases"]
]


@pytest.mark.parametrize("fields", [pytest.param(f, id=f"{area}: {f['note']}") for area, f in CASES])
def test_case(fields: dict[str, Any], read_case: Callable[[dict[str, Any]], Any]) -> None:
    read_case(fields).check()


def test_notes_are_unique() -> None:
    """A note is how a failure is named; two cases of one name in a file cannot be told apart."""
    names = [(area, fields["note"]) for area, fields in CASES]
    assert sorted(names) == sorted(set(names))
