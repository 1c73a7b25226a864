"""The cases of the language, for every test that runs them: each `*.yaml` beside this file is a list of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cases import read_yaml

CASES = [
    (path.stem, fields) for path in sorted(Path(__file__).parent.glob("*.yaml")) for fields in read_yaml(path)["cases"]
]
"""Each case with the name of its file."""


def without_remarks(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a case that a run needs."""
    return {name: value for name, value in fields.items() if name != "opa_differs"}
