"""Commands on a data directory ask operations in their own process, and open no more than these touch."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.audit import storage
from gateway.control import operations
from gateway.errors import GatewayError
from gateway.management import gateways
from tests.gateway.conftest import Home, Run, environment

_SERVER = {"starlette", "httpx", "uvicorn", "gateway.control.server", "gateway.management.http"}
_ENGINE = {"policy_engine", "gateway.policy.reexecution"}


@pytest.mark.parametrize(
    ("command", "never"),
    [
        ("agents list", _SERVER | _ENGINE),
        ("audit list", _SERVER | _ENGINE | {"sqlmodel", "sqlalchemy", "alembic"}),
    ],
)
def test_a_command_imports_what_its_own_operation_needs(home: Home, command: str, never: set[str]) -> None:
    storage.create(home.data)
    script = f"import sys\nfrom gateway.cli import main\nassert main({command.split()!r}) == 0\nprint(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        env=environment(AIG_DATA=str(home.data.path)),
        timeout=300,
        check=True,
    )
    assert never & set(done.stdout.split()) == set()


def test_a_key_that_is_somewhere_else_is_no_matter_of_a_list(home: Home, at: Run) -> None:
    home.agent("bot")
    for each in home.data.keys.iterdir():
        each.rename(home.data.path / each.name)
    assert "bot" in at("agents", "list").out
    assert at("keys", "create", "bot").code == 1


def test_a_copy_of_the_log_answers_by_itself(home: Home, at: Run, tmp_path: Path) -> None:
    at("agents", "register", "bot")
    copy = tmp_path / "copy"
    copy.mkdir(mode=0o700)
    shutil.copy(home.data.audit_db, copy / home.data.audit_db.name)
    assert "agent.registered agent=bot" in at("audit", "list", "--data", str(copy)).out
    assert at("audit", "list", "--data", str(copy), "--org", "nobodys").code == 0
    assert at("agents", "list", "--data", str(copy)).code == 1


def test_what_is_only_for_this_machine_is_not_served(home: Home) -> None:
    storage.create(home.data)
    served = {(each.method, each.path) for each in operations.every()}
    assert not served & {("POST", "/keys/rotate"), ("POST", "/upstreams/check"), ("POST", "/adoptions/several")}
    with gateways.client(home.data.path, lambda *_said: None) as gateway, pytest.raises(GatewayError) as refused:
        gateway.send("POST", "keys", "rotate", body={}, organization="nobodys")
    assert refused.value.code == "unknown_organization"


@pytest.mark.parametrize("path", [("adoptions", "clients"), ("stops",), ("agents",)])
def test_an_organization_that_is_not_there_has_no_empty_lists(home: Home, path: tuple[str, ...]) -> None:
    storage.create(home.data)
    with gateways.client(home.data.path, lambda *_said: None) as gateway, pytest.raises(GatewayError) as refused:
        gateway.items(*path, organization="nobodys")
    assert refused.value.code == "unknown_organization"
