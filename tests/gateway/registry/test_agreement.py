"""Rows of the registry that were edited by hand: the log has an entry about each change, and not about these."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gateway.audit import storage
from gateway.data_directory import DataDirectory
from gateway.identity import organization_keys, token_keys
from gateway.identity.credentials import Peppers
from gateway.processes import findings, status
from gateway.processes.creation import create_empty
from gateway.registry import peers, publication
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.history import agreement
from gateway.registry.keys.changes import create_key, revoke_key
from gateway.registry.limits import usage_limits
from gateway.registry.operators import operators
from gateway.registry.policies.bindings import bind, unbind
from gateway.settings import Settings
from tests.gateway.cli.conftest import in_this_process
from tests.gateway.conftest import ACTOR

ORG = "default"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gateway with one of everything, after changes of every sort."""
    path = tmp_path_factory.mktemp("agreement") / "data"
    create_empty(path)
    data = DataDirectory(path)
    registry, peppers = Registry.open(data), Peppers.load(data.keys)
    common = {"actor": ACTOR, "organization": ORG}
    agent = register_agent(registry, **common, name="bot", team="red")
    create_key(registry, peppers, **common, agent="bot", lifetime_ns=3600 * 10**9)
    key = create_key(registry, peppers, **common, agent="bot")
    revoke_key(registry, **common, key=key.record.id)
    bind(registry, **common, kind="agent", subject=agent.id, bundle="starter", effect="guard")
    bind(registry, **common, kind="team", subject="red", bundle="starter")
    unbind(registry, **common, kind="team", subject="red", bundle="starter")
    usage_limits.set_limit(registry, **common, kind="agent", subject="bot", name="requests_per_day", value=5)
    operators.add_operator(registry, actor=ACTOR, organization=ORG, name="dana", role="viewer")
    keys = [organization_keys.public((token_keys.key_of(bytes([n] * 32)),)).decode() for n in (1, 2)]
    for name, jwks in zip(("acme-gw", "globex-gw"), keys, strict=True):
        peers.add_peer(registry, actor=ACTOR, name=name, jwks=jwks, speaks_for=[name.removesuffix("-gw")])
    peers.remove_peer(registry, actor=ACTOR, name="globex-gw")
    publication.publish(registry, data)
    registry.close()
    return path


@pytest.fixture
def data(made: Path, tmp_path: Path) -> DataDirectory:
    return DataDirectory(Path(shutil.copytree(made, tmp_path / "data", symlinks=True)))


@pytest.fixture
def registry(data: DataDirectory) -> Iterator[Registry]:
    opened = Registry.open(data)
    yield opened
    opened.close()


def found(registry: Registry, data: DataDirectory) -> list[str]:
    with closing(storage.connect_read_only(data.audit_db)) as db:
        return [f"{each.noun} {each.message}" for each in agreement.found(registry, db)]


EDITS = {
    "UPDATE binding SET effect = 'grant' WHERE effect = 'guard'": "binding has effect 'grant', and the log",
    "UPDATE binding SET removed_ns = NULL": "binding is in force, and the log says that it was ended",
    "UPDATE binding SET removed_ns = 1 WHERE removed_ns IS NULL": "binding was ended, and no entry says so",
    "DELETE FROM binding WHERE removed_ns IS NULL": "binding is gone, and no entry says so",
    "UPDATE binding SET bundle = 'other' WHERE removed_ns IS NULL": "binding has bundle 'other'",
    "UPDATE api_key SET expires_ns = NULL WHERE revoked_ns IS NULL": "key has expires_ns None",
    "UPDATE api_key SET revoked_ns = NULL": "key is in force, and the log says that it was ended",
    "UPDATE api_key SET expires_ns = expires_ns + 1 WHERE revoked_ns IS NULL": "key has expires_ns '",
    "UPDATE usage_limit SET value = 500": "limit has value 500, and the log says 5",
    "UPDATE agent SET team = 'blue'": "agent has team 'blue', and the log says 'red'",
    "UPDATE agent SET status = 'suspended'": "agent is suspended, and the log says active",
    "UPDATE peer SET speaks_for = '[\"initech\"]' WHERE removed_ns IS NULL": "peer has speaks_for_json",
    "UPDATE peer SET jwks = (SELECT jwks FROM peer WHERE removed_ns IS NOT NULL)": "peer has jwks",
    "UPDATE peer SET removed_ns = NULL": "peer is in force, and the log says that it was ended",
    "UPDATE operator SET role = 'owner'": "operator has role 'owner', and the log says 'viewer'",
}


@pytest.mark.parametrize(("edit", "expected"), EDITS.items())
def test_a_row_that_was_edited_by_hand_is_told_of(
    edit: str, expected: str, registry: Registry, data: DataDirectory
) -> None:
    assert found(registry, data) == []
    with closing(sqlite3.connect(data.registry_db)) as db, db:
        assert db.execute(edit).rowcount > 0
    told = found(registry, data)
    assert len(told) == 1
    assert told[0].startswith(expected)


def test_status_says_it(registry: Registry, data: DataDirectory) -> None:
    with closing(sqlite3.connect(data.registry_db)) as db, db:
        db.execute("UPDATE binding SET effect = 'grant'")
    settings = Settings(data=data)
    judged = findings.judge(status.look(settings), settings)
    [finding] = [each for each in judged if "the log does not know of that" in each.message]
    assert "has effect 'grant', and the log says 'guard'" in finding.message
    assert finding.level == "problem"


def test_a_change_that_the_log_does_not_have_yet_is_no_edit(registry: Registry, data: DataDirectory) -> None:
    register_agent(registry, actor=ACTOR, organization=ORG, name="second")
    bind(registry, actor=ACTOR, organization=ORG, kind="agent", subject="second", bundle="starter")
    assert found(registry, data) == []


def test_verify_says_it(
    registry: Registry, data: DataDirectory, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = in_this_process(monkeypatch, capsys, AIG_DATA=str(data.path))
    assert gateway("audit", "verify").code == 3, "not signed yet"
    with closing(sqlite3.connect(data.registry_db)) as db, db:
        db.execute("UPDATE binding SET effect = 'grant'")
    told = gateway("audit", "verify")
    assert told.code == 1
    assert "has effect 'grant', and the log says 'guard'" in told.out + told.err


def test_what_the_log_has_beyond_these_rows_is_no_difference(
    registry: Registry, data: DataDirectory, tmp_path: Path
) -> None:
    """The rows are read first, and a change may come in between."""
    with closing(sqlite3.connect(data.registry_db)) as db, closing(sqlite3.connect(tmp_path / "before.db")) as copy:
        db.backup(copy)
    register_agent(registry, actor=ACTOR, organization=ORG, name="second")
    publication.publish(registry, data)
    before = Registry(tmp_path / "before.db")
    assert found(before, data) == []
    before.close()


def test_a_difference_must_be_found_twice(
    registry: Registry, data: DataDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is on its way from the outbox to the log when it is in neither."""
    with closing(sqlite3.connect(data.registry_db)) as db, db:
        db.execute("UPDATE agent SET team = 'blue'")
    once, looks = agreement._once, []

    def arrive(*both: Any) -> list[agreement.Difference]:
        looks.append(once(*both))
        with closing(sqlite3.connect(data.registry_db)) as db, db:
            db.execute("UPDATE agent SET team = 'red'")
        return looks[-1]

    monkeypatch.setattr(agreement, "_once", arrive)
    assert found(registry, data) == []
    assert [len(each) for each in looks] == [1, 0]
