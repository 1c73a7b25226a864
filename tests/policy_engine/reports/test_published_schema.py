"""Reports against their published schemas, which are not in the repository: packages bring them.

SARIF's JSON Schema is in an npm package, Jenkins' `junit-10.xsd` in the source archive of pytest, whose own reports are
held against it.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import xmlschema
from jsonschema import Draft4Validator

from policy_engine.reports import Format
from tests.rigs.policy_engine.reports.formats import FINDINGS, RESULTS, shown

PACKAGE = "@microsoft/jest-sarif@1.0.0-beta.0"
ARCHIVE = "pytest==9.2.0"


def _done(*command: str, cwd: Path) -> bool:
    """True if a command that needs the network succeeds; a registry that is silent is like one that is not there."""
    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, timeout=300, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("npm") is None:
        pytest.skip("npm is needed to get the schema of SARIF")
    folder = tmp_path_factory.mktemp("npm")
    if not _done("npm", "pack", PACKAGE, "--silent", cwd=folder):
        pytest.skip(f"npm cannot get {PACKAGE}, which has the schema of SARIF")
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as members:
        [name] = [each for each in members.getnames() if Path(each).name.startswith("sarif-2.1.0")]
        found = members.extractfile(name)
        assert found is not None
        return json.load(found)


@pytest.mark.slow
def test_sarif_is_valid(schema: Any) -> None:
    validator = Draft4Validator(schema)
    for what in ({"findings": FINDINGS}, {"results": RESULTS}, {"findings": FINDINGS, "results": RESULTS}):
        document = json.loads(shown(Format.SARIF, **what))
        assert [error.message for error in validator.iter_errors(document)] == []
        # And the schema can tell: a member that it requires is missed.
        del document["runs"][0]["tool"]
        assert not validator.is_valid(document)


@pytest.fixture(scope="module")
def junit_schema(tmp_path_factory: pytest.TempPathFactory) -> xmlschema.XMLSchema:
    folder = tmp_path_factory.mktemp("pip")
    command = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "pytest", ARCHIVE)
    if not _done(*command, "-d", ".", cwd=folder):
        pytest.skip(f"pip cannot get the archive of {ARCHIVE}, which has the schema of JUnit reports")
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as members:
        [name] = [each for each in members.getnames() if Path(each).name == "junit-10.xsd"]
        found = members.extractfile(name)
        assert found is not None
        return xmlschema.XMLSchema(found.read().decode("utf-8"))


@pytest.mark.slow
def test_junit_is_valid(junit_schema: xmlschema.XMLSchema) -> None:
    for what in (
        {"findings": []},
        {"findings": FINDINGS},
        {"results": RESULTS},
        {"findings": FINDINGS, "results": RESULTS},
    ):
        text = shown(Format.JUNIT, **what)
        assert [str(error.reason) for error in junit_schema.iter_errors(text)] == []
        # And the schema can tell: a name that it requires, and a member that it does not know.
        assert not junit_schema.is_valid(text.replace("<testsuite name=", "<testsuite title="))
        assert not junit_schema.is_valid(text.replace("</testsuite>", "<verdict/></testsuite>"))
