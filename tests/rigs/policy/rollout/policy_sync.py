"""Shared parts of the tests in `tests/gateway/policy/rollout/test_policy_sync.py`."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gateway.policy.rollout.source import GitSource, create_repository
from gateway.policy.rollout.sync import PolicySync
from gateway.registry import queries
from tests.gateway.conftest import Home, copied_home, new_home

if TYPE_CHECKING:
    from .conftest import Repository


ACTOR = "local:0"


@pytest.fixture(scope="module")
def begun(new_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory and the repository whose first commit is in force there: checking it takes half a second."""
    place = tmp_path_factory.mktemp("begun")
    create_repository(place / "policies", {name: text.encode() for name, text in BUNDLE.items()}, "Start")
    with new_home(place / "gateway-data", new_registry) as home:
        sync = PolicySync(home.registry, home.data, GitSource(place / "policies"), actor=ACTOR)
        assert sync.step().outcome == "activated"
    return place


@pytest.fixture
def home(begun: Path, tmp_path: Path) -> Iterator[Home]:
    with copied_home(begun / "gateway-data", tmp_path / "gateway-data") as made:
        yield made


@pytest.fixture
def repository(begun: Path, tmp_path: Path, open_repository: type[Repository]) -> Repository:
    shutil.copytree(begun / "policies", tmp_path / "policies", symlinks=True)
    return open_repository(tmp_path / "policies")


@pytest.fixture
def sync(home: Home, repository: Repository) -> PolicySync:
    return PolicySync(home.registry, home.data, GitSource(repository.path), actor=ACTOR)


def entries(home: Home) -> list[dict[str, Any]]:
    """The activation entries that wait for the log, oldest first."""
    with closing(sqlite3.connect(home.data.registry_db)) as connection:
        rows = connection.execute("SELECT entry FROM outbox WHERE kind = 'activation' ORDER BY position").fetchall()
    return [json.loads(entry) for (entry,) in rows]


def epoch_of(home: Home) -> int:
    with home.registry.read() as session:
        return queries.current_epoch(session)


BUNDLE = {
    "b/.manifest": '{"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}}',
    "b/authz.rego": "package b.authz\n\nallow := true\n",
    "b/authz_test.rego": "package b.authz_test\n\nimport data.b.authz\n\ntest_allowed if authz.allow\n",
}
