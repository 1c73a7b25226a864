"""A directory held against OPA: nothing differs in the project's own policies, and what is planted is found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.oracle import Oracle, OracleUnavailable
from tests.policy_engine.differential import repository
from tests.policy_engine.differential.program import Program

POLICIES = Path(__file__).parents[3] / "policies"


@pytest.fixture(scope="module", autouse=True)
def _opa() -> Iterator[None]:
    try:
        with Oracle():
            yield
    except OracleUnavailable as error:
        pytest.skip(str(error))


def test_the_projects_policies_say_what_opa_says(capsys: pytest.CaptureFixture[str]) -> None:
    assert repository.main([str(POLICIES / "support")]) == 0
    printed = capsys.readouterr().out
    assert "{'[true]': 14}" in printed
    assert "0 differences" in printed


def test_a_planted_difference_is_reported_in_both_modes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t_test.rego").write_text("package t\n\ntest_a if 1 == 1\n\ntest_b if 1 == 2\n")
    true = {f'data["t"]["test_{name}"]': "[true]" for name in "ab"}
    monkeypatch.setattr(repository.Engine, "outcomes", lambda self, strict, paths: {path: true[path] for path in paths})
    assert repository.main([str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert 'data["t"]["test_b"] (strict)' in printed
    assert 'data["t"]["test_b"] (default)' in printed
    assert "2 differences" in printed


def test_other_errors_are_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.rego").write_text("package t\n\np := x\n\nimport data.q\n")
    assert repository.main([str(tmp_path)]) == 0  # both refuse it
    monkeypatch.setattr(repository, "opa_says", lambda modules, oracle: "")
    assert repository.main([str(tmp_path)]) == 1
    assert "codes: OPA accepts" in capsys.readouterr().out


def test_errors_in_subdirectories_are_compared_by_their_place(tmp_path: Path) -> None:
    (tmp_path / "some-lib").mkdir()
    (tmp_path / "some-lib" / "t.rego").write_text('package t\n\np := 1 + "a"\n')
    assert repository.main([str(tmp_path)]) == 0  # both refuse it, in the same row


def test_what_depends_on_the_clock_is_no_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.rego").write_text("package t\n\nnow := time.now_ns()\n\nlate if now > 0\n")
    assert repository.main([str(tmp_path)]) == 0
    assert 'strict: not compared, they depend on clock or chance: data["t"]["now"]\n' in capsys.readouterr().out


def test_a_document_that_kills_opa_does_not_lose_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.rego").write_text("package t\n" + "".join(f"p{number} := {number}\n" for number in range(5)))
    ask = repository.Opa.ask.__func__

    def dies(cls: type, program: Program, oracle: Oracle, paths: list[str]) -> Any:
        if any("p3" in path for path in paths):
            oracle._child.kill()
        return ask(cls, program, oracle, paths)

    monkeypatch.setattr(repository.Opa, "ask", classmethod(dies))
    assert repository.main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert 'strict: not compared, OPA died of them or hung: data["t"]["p3"]\n' in printed
    assert "p2" not in printed


def test_what_cannot_be_read_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repository.main([str(tmp_path / "nowhere")]) == 2
    assert "there is no bundle at" in capsys.readouterr().err
    assert repository.main([str(tmp_path), "--input", str(tmp_path / "nothing.json")]) == 2
    assert "nothing.json" in capsys.readouterr().err
