"""Dry runs that anybody may ask for from elsewhere: the machine's own programs are not run for each of them."""

from __future__ import annotations

import base64
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.policy import bundle, cache, reexecution
from gateway.policy.cache import CompiledBundle, compile_bundle
from gateway.processes import status
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.secrets.vault import Vault
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR, ORG, Home
from tests.gateway.control.conftest import Client, Control

_MANIFEST = b'{"roots": ["base"], "metadata": {"gateway": {"entrypoint": "data.base.authz"}}}'
_POLICY = b"package base.authz\n\nallow := true\n"


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


def test_status_asks_once_for_the_vaults_key(runs: Path, control: Control) -> None:
    upstream = {"name": "openai", "provider": "openai", "secret": "sk-1", "default": True}
    control.operator()("POST", "/upstreams", upstream, organization=ORG).ok(201)
    settings = load_settings({"data": control.home.data.path})
    before = runs.read_text()
    assert status.look(settings).sealed == {}
    assert runs.read_text().removeprefix(before) == "once\n"


def test_dry_runs_compile_a_bundle_once(control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []

    def counting(files: Mapping[str, bytes], digest: str, name: str, kept: Path | None = None) -> CompiledBundle:
        compiled.append(digest)
        return compile_bundle(files, digest, name, kept)

    for module in (cache, reexecution):
        monkeypatch.setattr(module, "compile_bundle", counting)
    control.home.agent("bot")
    control.home.key()
    files = {".manifest": _MANIFEST, "a.rego": _POLICY}
    digest = bundle.publish(control.home.data.bundles, files)
    found = BundleRecord(name="base", commit="c" * 40, digest=digest, author="dana", entrypoint="data.base.authz")
    activations.activate(control.home.registry, actor=ACTOR, commit="c" * 40, author="dana", bundles=[found])
    owner("POST", "/bindings", {"subject_kind": "agent", "subject": "bot", "bundle": "base"}).ok(201)
    for _ in range(2):
        answer = owner("POST", "/decide", {"agent": "bot", "call": {"action": "models.list"}}).ok()
        assert (answer["allow"], answer["bundles"][0]["bundle"]) == (True, "base")
    assert compiled == [digest]


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
