"""Dry runs that anybody may ask for from elsewhere: the machine's own programs are not run for each of them."""

from __future__ import annotations

import base64
import sys
from pathlib import Path

import pytest

from gateway.secrets.vault import Vault
from tests.gateway.conftest import ORG, Home
from tests.gateway.control.conftest import Client, Control


@pytest.fixture
def runs(home: Home, tmp_path: Path) -> Path:
    """A file with a line for each time that the command was run which gives the vault's key."""
    script = tmp_path / "key.py"
    key = base64.b64encode(bytes(32)).decode()
    script.write_text(f"print({key!r})\nopen({str(tmp_path / 'runs')!r}, 'a').write('once\\n')\n")
    home.data.settings_file.write_text(f"kek_command = ['{sys.executable}', '{script}']\n")
    return tmp_path / "runs"


def test_a_dry_run_runs_no_command_for_the_vaults_key(runs: Path, control: Control) -> None:
    control.home.agent("bot")
    control.home.key()
    owner: Client = control.operator()
    upstream = {"name": "openai", "provider": "openai", "secret": "sk-1", "default": True}
    owner("POST", "/upstreams", upstream, organization=ORG).ok(201)
    assert Vault.load(control.home.data.keys).id  # as each dry run did
    before = runs.read_text()
    viewer = control.operator("viola", "viewer", ORG)
    asked = {"agent": "bot", "route": "/v1/chat/completions", "body": base64.b64encode(b'{"model": "m"}').decode()}
    for _ in range(2):
        viewer("POST", "/decide", asked).ok()
    assert runs.read_text() == before


def test_a_bundle_that_is_missing_tells_nothing_of_the_machines_directories(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    control.home.key()
    control.home.activate("base")
    owner("POST", "/bindings", {"subject_kind": "agent", "subject": "bot", "bundle": "base"}).ok(201)
    viewer = control.operator("viola", "viewer", ORG)
    asked = {"agent": "bot", "call": {"action": "models.list"}}
    answers = [viewer("POST", "/decide", asked), viewer("GET", "/agents/bot/permissions", model="m")]
    assert answers[0].problem(422) == "bundle_missing"
    for each in answers:
        assert "bundles/digest-of-base-cccc" in each.raw.decode()
        assert str(control.home.data.path) not in each.raw.decode()
