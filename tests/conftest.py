"""What every test can ask for: the folders of data that live outside the repository.

Each is named by an environment variable and read in place, never copied. Without it the tests that need it are skipped
with a line that says how to run them.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("project", deadline=None)  # how long an example takes says more about the machine
settings.load_profile("project")


def outside(variable: str, holds: str) -> Path:
    """The folder that `variable` names; skips the test (or, at import time, its module) if there is none."""
    named = os.environ.get(variable, "")
    if not named:
        pytest.skip(f"set {variable} to a folder with {holds} to run this", allow_module_level=True)
    path = Path(named)
    if not path.is_dir():
        raise pytest.UsageError(f"{variable} names {named}, which is not a folder")
    return path


@pytest.fixture(scope="session")
def conformance_dir() -> Path:
    return outside("CONFORMANCE_DIR", "the OPA conformance cases (opa-v1/*.json)")


@pytest.fixture(scope="session")
def vectors_dir() -> Path:
    return outside("VECTORS_DIR", "test vectors (rfc6962-proofs.json and others)")


@pytest.fixture(scope="session")
def recordings_dir() -> Path:
    return outside("RECORDINGS_DIR", "recorded provider exchanges")
