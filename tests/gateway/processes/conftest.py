"""A new gateway's data directory for each test."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.processes.creation import create_empty


@pytest.fixture(scope="session")
def new_gateway(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what `create_empty` makes, which is quicker than to run all migrations."""
    path = tmp_path_factory.mktemp("new") / "data"
    create_empty(path)
    return path


@pytest.fixture
def data(tmp_path: Path, new_gateway: Path) -> DataDirectory:
    shutil.copytree(new_gateway, tmp_path / "data", symlinks=True)
    return DataDirectory(tmp_path / "data")
