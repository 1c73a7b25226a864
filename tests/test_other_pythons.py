"""`.ci/run` finds the other releases of Python that a machine has; test_documentation.py compares what it runs."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ("sed", "bash")


def interpreter(path: Path, minor: int, *, works: bool = True) -> Path:
    """Something that answers the script's questions as a release of Python does, or fails as a shim of pyenv may."""
    path.parent.mkdir(parents=True, exist_ok=True)
    asked = f'case "$2" in *print*) echo {minor};; *"(3, {minor})"*) exit 0;; *) exit 1;; esac'
    path.write_text(f"#!/bin/bash\n{asked if works else 'exit 127'}\n", "utf-8")
    path.chmod(0o755)
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A clone of the project on a machine that has Python 3.11 in it, and no other."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    interpreter(tmp_path / ".venv/bin/python", 11)
    for name in TOOLS:
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return tmp_path


def found(machine: Path) -> dict[str, str]:
    """The interpreters that the script finds, by release; nothing of the machine that runs this test."""
    script = (ROOT / ".ci/run").read_text("utf-8")
    function = re.search(r"^other_pythons\(\) \{\n.*?^\}\n", script, re.MULTILINE | re.DOTALL)
    assert function
    here = function[0].replace("/usr/", f"{machine}/usr/")
    env = {"PATH": str(machine / "bin"), "PYENV_ROOT": str(machine / "pyenv")}
    command = [str(machine / "bin" / "bash"), "-euo", "pipefail", "-c", f"{here}\nother_pythons"]
    done = subprocess.run(command, cwd=machine, env=env, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def test_a_machine_without_another_python_says_so(machine: Path) -> None:
    assert found(machine) == {"3.12": "", "3.13": ""}


def test_other_pythons_are_found_wherever_they_are(machine: Path) -> None:
    interpreter(machine / "bin/python3.12", 12, works=False)
    pyenv = interpreter(machine / "pyenv/versions/3.12.1/bin/python", 12)
    system = interpreter(machine / "usr/bin/python3.13", 13)
    assert found(machine) == {"3.12": str(pyenv), "3.13": str(system)}
    interpreter(machine / "bin/python3.13", 12)  # it is another than its name says
    assert found(machine)["3.13"] == str(system)
    interpreter(machine / "bin/python3.13", 13)
    assert found(machine)["3.13"] == "python3.13"


def test_the_readme_names_the_releases_that_are_tried() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    tried = [each.rpartition(" ")[2] for each in project["classifiers"] if re.search(r" 3\.\d+$", each)]
    assert project["requires-python"] == f">={tried[0]}"
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    assert f"(tried with {', '.join(tried[:-1])} and {tried[-1]})" in text
