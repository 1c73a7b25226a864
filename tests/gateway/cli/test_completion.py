"""Completion in shells: the scripts work in the shells that are here, and the protocol in all of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.conftest import Run, environment

_ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A search path on which both programs are."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, code in (
        ("gateway", "from gateway.cli import main; sys.exit(main())"),
        ("policy", "from policy_engine.cli.app import run; sys.exit(run())"),
    ):
        program = programs / name
        program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
        program.chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        pytest.param("gateway au", ["audit"], marks=pytest.mark.slow),
        ("gateway audit v", ["verify"]),
        pytest.param("gateway up --req", ["--requests"], marks=pytest.mark.slow),
        pytest.param("gateway completion f", ["fish"], marks=pytest.mark.slow),
        pytest.param("policy ch", ["check"], marks=pytest.mark.slow),
        ("policy test --cov", ["--coverage"]),
    ],
)
def test_bash(path: str, tmp_path: Path, words: str, completed: list[str]) -> None:
    program = words.split()[0]
    # Do what bash does when the tab key is pressed.
    script = f"""\
eval "$({program} completion bash)"
complete -p {program} > /dev/null || exit 3
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_{program}_completion {program}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=environment(PATH=path, PYTHONPATH=str(_ROOT)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == completed


@pytest.mark.slow
def test_zsh_and_fish_are_answered_as_their_scripts_ask(run: Run) -> None:
    assert "_GATEWAY_COMPLETE=complete_zsh gateway" in run("completion", "zsh").out
    asked = run(_GATEWAY_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="gateway ag")
    assert "agents" in asked.out
    assert "audit" not in asked.out
    assert "_GATEWAY_COMPLETE=complete_fish" in run("completion", "fish").out
    asked = run(
        _GATEWAY_COMPLETE="complete_fish", _TYPER_COMPLETE_FISH_ACTION="get-args", _TYPER_COMPLETE_ARGS="gateway ag"
    )
    assert asked.out.split()[0] == "agents"


def test_help_stays_clean_and_other_shells_are_refused(here: Run) -> None:
    assert "-completion" not in here("--help").out
    assert "'bash', 'zsh', 'fish'" in here("completion", "tcsh").complains(2)
