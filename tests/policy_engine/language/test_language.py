"""The language, as data: every `*.yaml` beside this file is a list of cases, `note` first, one behaviour each.

Each case runs on this engine and, where it is installed, on OPA itself: a case that OPA does not agree with is wrong.
The few in which the two are meant to differ say why in `opa_differs`, and fail once OPA agrees. The other fields are
described in ../conftest.py. `want_result` may also be JSON text, for numbers with more digits than YAML keeps.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from policy_engine import engine
from policy_engine.codegen.steps import Recording
from policy_engine.compiled import Compiled
from tests.oracle import Oracle
from tests.policy_engine.language.cases import CASES, without_remarks

ALL = [pytest.param(fields, id=f"{area}: {fields['note']}") for area, fields in CASES]


@pytest.mark.parametrize("fields", ALL)
def test_case(fields: dict[str, Any], read_case: Callable[[dict[str, Any]], Any]) -> None:
    read_case(without_remarks(fields)).check()


@pytest.mark.parametrize("fields", ALL)
def test_case_from_the_cache(
    fields: dict[str, Any],
    read_case: Callable[[dict[str, Any]], Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The answer is the same, and nothing is compiled for it."""
    case = read_case(without_remarks(fields))
    case.check(tmp_path)
    if not case.want_error_code.startswith("rego_"):
        monkeypatch.setattr(engine, "compile_program", lambda *_, **__: pytest.fail("it was compiled again"))
    case.check(tmp_path)


@pytest.mark.parametrize("fields", ALL)
def test_recording_the_steps_changes_no_answer(
    fields: dict[str, Any], read_case: Callable[[dict[str, Any]], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The build that says why a test failed evaluates as the usual one does."""
    build = Compiled.unit
    monkeypatch.setattr(Compiled, "unit", lambda self, program, watch=Recording: build(self, program, watch))
    read_case(without_remarks(fields)).check()


@pytest.mark.parametrize("fields", ALL)
def test_opa_agrees(
    fields: dict[str, Any], read_case: Callable[[dict[str, Any]], Any], oracles: dict[bool, Oracle]
) -> None:
    case = read_case(without_remarks(fields))
    if "opa_differs" not in fields:
        case.check_oracle(oracles[case.strict])
        return
    with pytest.raises(AssertionError):  # otherwise `opa_differs` is out of date
        case.check_oracle(oracles[case.strict])


def test_notes_are_unique() -> None:
    """A failure is named by its note, so two cases of a file must not share one."""
    names = [(area, fields["note"]) for area, fields in CASES]
    assert sorted(names) == sorted(set(names))
