"""What is built and installed: the source archive, and the versions that were tested together."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_source_archive_has_all_that_git_has() -> None:
    """Its tests run from it; setuptools adds the packages and its own files."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("this is no clone")
    lines = (ROOT / "MANIFEST.in").read_text("utf-8").splitlines()
    folders = {line.removeprefix("graft ") for line in lines if line.startswith("graft ")} | {
        "gateway",
        "policy_engine",
    }
    single = {name for line in lines if line.startswith("include ") for name in line.split()[1:]}
    single |= {"pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", ".gitignore"}
    missed = [
        path
        for path in done.stdout.splitlines()
        if path.partition("/")[0] not in folders | single and not ("/" not in path and path.endswith(".md"))
    ]
    assert missed == []


def test_the_lock_is_of_what_is_declared() -> None:
    """Every package that the extra `gateway` asks for is in `deploy/requirements.txt`, in a version that it allows."""
    text = (ROOT / "deploy/requirements.txt").read_text("utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    declared = [Requirement(each) for each in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["gateway"]]
    assert len(declared) > 20
    assert [str(each) for each in declared if not each.specifier.contains(locked.get(each.name, "0"))] == []
    assert text.count("==") <= text.count("--hash=")


def test_the_bill_of_materials_is_of_the_lock() -> None:
    """`deploy/sbom.py` was run after the last change of `deploy/requirements.txt`."""
    text = (ROOT / "deploy/requirements.txt").read_text("utf-8")
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", text, flags=re.MULTILINE))
    elsewhere = set(re.findall(r"^([a-z0-9-]+)==\S+ ;", text, flags=re.MULTILINE))  # needed on some systems
    document = json.loads((ROOT / "deploy/sbom.cdx.json").read_text("utf-8"))
    listed = {re.sub(r"[-_.]+", "-", each["name"]).lower(): each["version"] for each in document["components"]}
    assert listed.items() <= locked.items()
    assert locked.keys() - listed.keys() <= elsewhere
    assert [each["name"] for each in document["components"] if not each.get("licenses")] == []
