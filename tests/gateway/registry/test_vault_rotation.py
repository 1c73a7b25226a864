"""A new key-encryption key: everything opens before, meanwhile and afterwards, wherever the rotation is interrupted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import LargeBinary
from sqlmodel import SQLModel, select

from gateway.errors import GatewayError
from gateway.registry.models import Agent, Upstream
from gateway.registry.secret_keys import vault_rotation
from gateway.secrets.key_source import retired
from gateway.secrets.vault import SealedPlace, Vault
from gateway.storage import secret_files
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.rigs.registry.vault_rotation import ALL, UPSTREAMS, add, content_key, fill, secrets

SEALED = {"upstreams": UPSTREAMS, "content_keys": 1, "webhooks": 1, "approvals": 0, "login_providers": 1}


def rotate(home: Home) -> vault_rotation.Rewrapped:
    return vault_rotation.rotate(home.registry, home.data.keys, ACTOR)


def test_everything_is_under_the_new_key_and_the_old_one_is_gone(home: Home) -> None:
    content = fill(home)
    running = Vault.load(home.data.keys)
    before = secret_files.read(home.data.keys / "kek")
    done = rotate(home)
    assert (done.sealed, done.unreadable, done.continued) == (SEALED, [], False)
    state = vault_rotation.state(home.registry, home.data.keys)
    assert (state.key, state.older, state.left) == (done.key, [], 0)
    assert done.key != running.id
    assert retired(home.data.keys) == []
    assert [path.name for path in sorted(home.data.keys.iterdir()) if "kek" in path.name] == ["kek"]
    for vault in (running, Vault.load(home.data.keys), home.vault):
        assert secrets(home, vault) == ALL
        assert content_key(home, vault) == content
    with pytest.raises(GatewayError, match="another key"):
        secrets(home, Vault(before))
    assert rotate(home).key != done.key


@pytest.mark.parametrize("step", ["create", "link", "replace", "first batch", "last batch", "unlink"])
def test_a_rotation_that_is_interrupted_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    content = fill(home)
    running = Vault.load(home.data.keys)
    monkeypatch.setattr(vault_rotation, "BATCH", 2)
    progress: list[int] = []

    class StoppedError(Exception):
        pass

    def stop(*_: Any, **__: Any) -> Any:
        raise StoppedError

    def told(done: int) -> None:
        progress.append(done)
        if (step == "first batch" and len(progress) == 1) or (step == "last batch" and done == UPSTREAMS + 2):
            raise StoppedError

    with monkeypatch.context() as patch:
        if step == "create":
            patch.setattr(vault_rotation.secret_files, "create", stop)
        elif step == "link":
            patch.setattr(os, "link", stop)
        elif step == "replace":
            patch.setattr(Path, "replace", stop)
        elif step == "unlink":
            patch.setattr(vault_rotation, "_finish", stop)
        with pytest.raises(StoppedError):
            vault_rotation.rotate(home.registry, home.data.keys, ACTOR, told)
    # Everything opens, for a worker that was there and for one that starts now; and what is sealed now, too.
    for vault in (running, Vault.load(home.data.keys)):
        assert secrets(home, vault) == ALL
        assert content_key(home, vault) == content
    add(home, "up-0", running, replace=True)
    replaced = step not in ("create", "link", "replace")
    done = rotate(home)
    assert done.continued is replaced
    assert vault_rotation.state(home.registry, home.data.keys).left == 0
    assert [path.name for path in home.data.keys.iterdir() if path.name.startswith("kek")] == ["kek"]
    for vault in (running, Vault.load(home.data.keys)):
        assert secrets(home, vault) == ALL
        assert content_key(home, vault) == content


def test_a_secret_that_no_key_opens_is_named_and_left(home: Home) -> None:
    fill(home)
    other = Vault(bytes(32))
    with home.registry.write() as session:
        broken = session.get(Upstream, _id(home, "up-0"))
        assert broken is not None
        broken.secret = other.seal("sk-lost", SealedPlace(ORG, "openai", broken.id, broken.version))
    done = rotate(home)
    assert (done.sealed["upstreams"], done.unreadable) == (UPSTREAMS - 1, [_id(home, "up-0")])
    assert retired(home.data.keys) == []


def test_a_ciphertext_of_another_row_is_not_wrapped_anew(home: Home) -> None:
    """A rotation does not make a copied secret open in the row that it was copied into."""
    fill(home)
    with home.registry.write() as session:
        session.connection().exec_driver_sql(
            "UPDATE upstream SET secret = (SELECT secret FROM upstream WHERE name = 'up-1') WHERE name = 'up-0'"
        )
    done = rotate(home)
    assert done.unreadable == [_id(home, "up-0")]
    assert secrets_of(home, "up-1") == "sk-of-up-1"
    # It does not keep a key that is of no use for it, nor the next rotation from making one.
    assert retired(home.data.keys) == []
    assert not rotate(home).continued


def test_the_version_of_a_secret_stays(home: Home) -> None:
    """Only the wrapping changes: an older secret of the row does not come back by it."""
    fill(home)
    before = versions(home)
    rotate(home)
    assert versions(home) == before


def versions(home: Home) -> list[tuple[str, int]]:
    with home.registry.read() as session:
        found = [*session.exec(select(Upstream.id, Upstream.version)), *session.exec(select(Agent.id, Agent.version))]
        return sorted(found)


def secrets_of(home: Home, name: str) -> str:
    with home.registry.read() as session:
        row = session.get(Upstream, _id(home, name))
        assert row is not None
        assert row.secret is not None
        return Vault.load(home.data.keys).open(row.secret, SealedPlace(ORG, "openai", row.id, row.version))


def _id(home: Home, name: str) -> str:
    with home.registry.read() as session:
        return str(session.connection().exec_driver_sql("SELECT id FROM upstream WHERE name = ?", (name,)).scalar())


def test_everything_that_is_sealed_is_known_to_a_rotation() -> None:
    """A column of bytes is rewrapped, or it is listed here as one that the vault has not sealed."""
    columns = {
        (table.name, column.name)
        for table in SQLModel.metadata.tables.values()
        for column in table.columns
        if isinstance(column.type, LargeBinary)
    }
    sealed = {(kind.table.__tablename__, kind.column) for kind in vault_rotation.KINDS.values()}
    assert columns - sealed == {
        ("api_key", "digest"),
        ("api_key", "public_key"),
        ("approval_request", "digest"),
        ("approval_request", "pattern"),
        ("approval_request", "salt"),
        ("legacy_key", "digest"),
        ("operator_token", "digest"),
        ("repeatable_request", "digest"),
        ("repeatable_request", "answer"),
    }
    assert sealed <= columns
