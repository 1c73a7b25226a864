"""What the compiler refuses before it looks at types, as data: `cases/*.yaml`, each a module and its errors.

`module` stands behind `package t`, in row 2; `logic` behind `import future.keywords` too, in row 3; `strict` where
`module` does, but unused names are errors. More modules may follow a line of dashes. `errors` are all errors, as
`row code: text` (its first line), of parse errors without the text; a case without any is accepted.

Where OPA is installed it must refuse the same ones with the same codes. `opa` are its errors where those differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import policy_engine as pe
from policy_engine.errors import PARSE_ERROR
from tests.oracle import Oracle, OracleUnavailable

CASES = [
    pytest.param(fields, id=f"{path.stem}: {fields['note']}")
    for path in sorted(Path(__file__).parent.joinpath("cases").glob("*.yaml"))
    for fields in yaml.safe_load(path.read_text("utf-8"))["cases"]
]
AROUND = {"module": "package t\n", "logic": "package t\nimport future.keywords\n", "strict": "package t\n"}
FIELDS = {"note", "errors", "opa", *AROUND}
OPA_ERROR = re.compile(r"(?:\w+\.rego:\d+: )?(rego_\w+_error): ")


def modules(fields: dict[str, Any]) -> dict[str, str]:
    assert set(fields) <= FIELDS, f"unknown fields: {set(fields) - FIELDS}"
    (place,) = AROUND.keys() & fields.keys()
    first, *more = fields[place].split("\n---\n")
    return {"t.rego": AROUND[place] + first, **{f"u{number}.rego": source for number, source in enumerate(more)}}


@pytest.mark.parametrize("fields", CASES)
def test_case(fields: dict[str, Any]) -> None:
    errors: tuple[pe.PolicyError, ...] = ()
    try:
        pe.compile(modules(fields), strict="strict" in fields)
    except pe.PolicyError as error:
        errors = error.errors
    places = [(error.location.row if error.location else 0, error) for error in errors]
    found = [
        f"{row} {error.code}{f': {error.message.splitlines()[0]}' if error.code != PARSE_ERROR else ''}"
        for row, error in places
    ]
    assert sorted(found) == sorted(fields.get("errors", []))


@pytest.fixture(scope="module")
def oracles() -> Iterator[dict[bool, Oracle]]:
    """strict → OPA in that mode."""
    try:
        with Oracle() as plain, Oracle(strict_compiler=True) as strict:
            yield {False: plain, True: strict}
    except OracleUnavailable as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("fields", CASES)
def test_opa_agrees(fields: dict[str, Any], oracles: dict[bool, Oracle]) -> None:
    answer = oracles["strict" in fields].query("true", modules=modules(fields), data={}, input={})
    found = OPA_ERROR.findall(answer.message)
    assert bool(answer.code) == bool(found), answer.message
    wanted = [error.split()[1].rstrip(":") for error in fields.get("opa", fields.get("errors", []))]
    assert set(found) == set(wanted), answer.message


def test_notes_are_unique() -> None:
    names = [case.id for case in CASES]
    assert sorted(names) == sorted(set(names))
