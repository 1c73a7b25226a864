"""`gateway init`: a whole gateway in one step, or nothing."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tomllib
from pathlib import Path

import pytest

from gateway.data_directory import DataDirectory
from gateway.identity.api_keys import ApiKeys
from gateway.identity.authentication import presented
from gateway.identity.credentials import Peppers
from gateway.identity.principals import Principals
from gateway.processes import creation
from gateway.registry.names import PROVIDERS
from gateway.registry.reader import RegistryReader
from gateway.secrets.vault import Vault
from gateway.settings import SCHEMA, Settings, load_settings
from gateway.upstream.providers import presets
from tests.gateway.conftest import Done, Run, at_once

# Real processes, which take their time.
pytestmark = pytest.mark.slow


@pytest.fixture
def made(run: Run, tmp_path: Path) -> tuple[Done, DataDirectory]:
    done = run("init", "--name", "test-1")
    assert done.code == 0, done.err
    return done, DataDirectory(tmp_path / "cwd" / ".gateway")


def test_everything_is_there(made: tuple[Done, DataDirectory], run: Run) -> None:
    done, data = made
    assert done.err == ""
    key = next(word for word in done.out.split() if word.startswith("aig_sk_") and len(word) == 69)
    # The base URL, the key and what to type next.
    for said in ("test-1", "http://127.0.0.1:8080/v1", "gateway upstreams add openai", "gateway up"):
        assert said in done.out
    # The key opens the gateway as the first agent, which the starter bundle judges.
    data.check()
    reader = RegistryReader(data.registry_db)
    principals = Principals([ApiKeys(reader, Peppers.load(data.keys))])
    epoch = at_once(reader.epochs()).authority
    principal = at_once(principals.get(presented([(b"x-api-key", key.encode())]), epoch))
    active = at_once(reader.active_bundles())
    assert (at_once(reader.deployment()), principal.organization, principal.name) == ("test-1", "default", "assistant")
    assert [(each.bundle, each.effect) for each in principal.bindings] == [("starter", "grant")]
    found = active.find("starter", None)
    assert found is not None
    assert (data.bundles / found.digest / ".manifest").is_file()
    reader.close()
    Vault.load(data.keys)
    # All of it is in the log, and the log is sound.
    whats = [line["entry"]["what"] for line in _lines(run("audit", "list", "--org", "default", "--json"))]
    assert whats == ["organization.created", "agent.registered", "binding.created", "key.created"]
    assert run("audit", "verify").code in (0, 3)  # 3: nothing is signed before the gateway ran


def _lines(done: Done) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in done.out.splitlines()]


def test_nobody_else_can_look_in(made: tuple[Done, DataDirectory]) -> None:
    _, data = made
    assert stat.S_IMODE(data.path.stat().st_mode) == 0o700
    for name in ("registry.db", "audit.db", "keys/kek", "keys/pepper.1", "keys/signing"):
        assert stat.S_IMODE((data.path / name).stat().st_mode) == 0o600, name


def test_it_is_found_nowhere_but_in_its_place(made: tuple[Done, DataDirectory]) -> None:
    """It was made beside its place and moved there: nothing is left over, and nothing remembers the other path."""
    _, data = made
    assert [each.name for each in data.path.parent.iterdir()] == [".gateway"]
    for path in data.path.rglob("*"):
        if path.is_file():
            assert b"/..gateway-" not in path.read_bytes(), path


def test_an_existing_directory_is_never_touched(made: tuple[Done, DataDirectory], run: Run) -> None:
    _, data = made
    before = {path: path.stat().st_mtime_ns for path in data.path.rglob("*")}
    assert "`.gateway` exists already: choose another directory with --data" in run("init").complains()
    data.path.parent.joinpath("empty").mkdir()
    assert "`empty` exists already" in run("init", "--data", "empty").complains()
    assert {path: path.stat().st_mtime_ns for path in data.path.rglob("*")} == before


def test_machine_readable(run: Run, tmp_path: Path) -> None:
    found = run("init", "--data", "deep/down", "--agent", "bot", "--json", AIG_PORT="9999").json
    assert (found["agent"], found["base_url"], found["data"]) == ("bot", "http://127.0.0.1:9999/v1", "deep/down")
    assert len(found["key"]) == 69
    assert found["key"].startswith(found["key_id"] + "_")
    listed = run("agents", "list", "--data", "deep/down", "--json").json
    assert [each["id"] for each in listed] == [found["agent_id"]]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--name", "a b"], "deployment `a b` is not a name"),
        (["--agent", ""], "agent `` is not a name"),
        (["--data", "/dev/null/x"], "cannot create `/dev/null/x`: not a directory"),
        (["--data", "/proc/x"], "cannot create `/proc/x`"),
    ],
)
def test_what_is_refused(arguments: list[str], expected: str, run: Run, tmp_path: Path) -> None:
    assert expected in run("init", *arguments).complains()
    assert list((tmp_path / "cwd").iterdir()) == []


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("gateway.processes.creation.activate_head", fail)
    with pytest.raises(KeyboardInterrupt):
        creation.create_empty(tmp_path / "gateway")
    assert list(tmp_path.iterdir()) == []


def test_the_settings_file_holds_every_setting_with_its_default(tmp_path: Path) -> None:
    text = creation.settings_template()
    assert tomllib.loads(text) == {}
    assert "# how often to look for a new commit, in seconds\n# policies_poll = 2.0\n" in text
    file = tmp_path / "gateway.toml"
    file.write_text("\n".join(line.removeprefix("# ") for line in text.splitlines() if " = " in line))
    assert set(tomllib.loads(file.read_text())) == set(SCHEMA) - {"data"}
    uncommented = load_settings({"data": tmp_path}, {})
    defaults = Settings(data=DataDirectory(tmp_path))
    assert uncommented.repository == defaults.repository
    for name in set(SCHEMA) - {"policies_repository"}:
        assert getattr(uncommented, name) == getattr(defaults, name), name


def test_registry_and_data_plane_know_the_same_providers() -> None:
    # `http` has no routes of its own: each upstream brings them.
    assert set(PROVIDERS) == {*presets.PROVIDERS, "http"}


def test_the_users_git_settings_do_not_matter(run: Run, tmp_path: Path) -> None:
    (tmp_path / ".gitconfig").write_text(
        "[commit]\n gpgsign = true\n[init]\n defaultBranch = trunk\n[user]\n name = X\n"
    )
    done = run("init", HOME=str(tmp_path), GIT_AUTHOR_NAME="Somebody", GIT_DIR="/nonexistent")
    assert done.code == 0, done.err
    if git := subprocess.run(["which", "git"], capture_output=True, text=True, check=False).stdout.strip():
        clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        status = subprocess.run(
            [git, "-C", str(tmp_path / "cwd/.gateway/policies"), "status", "--porcelain", "--branch"],
            capture_output=True, text=True, env=clean, check=True,
        )  # fmt: skip
        assert status.stdout == "## main\n"
