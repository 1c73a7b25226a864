"""The first commit that comes into force: before it there are no policies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gateway.errors import GatewayError
from gateway.policy.cache import PolicyCache
from gateway.policy.rollout.source import GitSource, create_repository
from gateway.policy.rollout.sync import PolicySync, activate_head
from gateway.processes.creation import starter_files
from gateway.registry import queries
from gateway.settings import load_settings
from tests.rigs.policy.rollout.policy_sync import ACTOR, BUNDLE, entries, epoch_of

if TYPE_CHECKING:
    from tests.gateway.conftest import Home

    from .conftest import Repository


@pytest.fixture
def sync(home: Home, repository: Repository) -> PolicySync:
    return PolicySync(home.registry, home.data, GitSource(repository.path), actor=ACTOR)


def test_the_first_commit(home: Home, repository: Repository, sync: PolicySync) -> None:
    outcome = sync.step()
    assert (outcome.commit, outcome.outcome, outcome.refused) == (repository.first, "activated", False)
    active = queries.activation(home.registry)
    assert active is not None
    record = active.bundles["b"]
    assert (record.commit, record.entrypoint) == (repository.first, "data.b.authz")
    assert PolicyCache(home.data.bundles).load(record.digest).decide({}).value == {"allow": True}
    [entry] = entries(home)
    assert (entry["actor"], entry["activation"], entry["outcome"]) == (ACTOR, active.id, "ok")
    assert entry["fields"]["commit"] == repository.first
    assert json.loads(entry["fields"]["bundles_json"])[0]["digest"] == record.digest


def test_nothing_new(home: Home, sync: PolicySync) -> None:
    sync.step()
    epoch = epoch_of(home)
    assert sync.step().outcome == "unchanged"
    assert len(entries(home)) == 1
    assert epoch_of(home) == epoch


def test_following_the_settings(home: Home, tmp_path: Path) -> None:
    create_repository(tmp_path / "repo", {f"ops/{path}": text.encode() for path, text in BUNDLE.items()}, "Start")
    flags = {
        "data": str(home.data.path),
        "policies_repository": str(tmp_path / "repo"),
        "policies_path": "ops",
        "policies_ref": "main",
    }
    sync = PolicySync.of(load_settings(flags, env={}), home.registry)
    assert sync.step().outcome == "activated"


def test_a_new_gateway(home: Home) -> None:
    made = create_repository(home.data.policies, starter_files(), "Start")
    assert activate_head(home.registry, home.data) == made.commit
    active = queries.activation(home.registry)
    assert active is not None
    assert list(active.bundles) == ["starter"]


def test_a_new_gateway_with_bad_policies(home: Home) -> None:
    create_repository(home.data.policies, {"README.md": b"nothing"}, "Start")
    with pytest.raises(GatewayError) as error:
        activate_head(home.registry, home.data)
    assert error.value.code == "policies_refused"
    assert "no bundle" in error.value.message
