"""`gateway bind` with a bundle that is not in force: refused, with the step that is missing on the bundle's way."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dulwich.config import StackedConfig
from dulwich.refs import Ref
from dulwich.repo import Repo

from gateway.data_directory import DataDirectory
from gateway.policy.rollout.source import GitSource
from gateway.policy.rollout.sync import PolicySync
from gateway.processes.creation import create
from gateway.registry import publication
from gateway.registry.database import Registry
from gateway.storage.liveness import Presence
from tests.gateway.conftest import Done, Run

# Real processes, which take their time.
pytestmark = pytest.mark.slow

MANIFEST = json.dumps({"roots": ["extra"], "metadata": {"gateway": {"entrypoint": "data.extra.authz"}}})
GOOD = "package extra.authz\n\nallow := true\n"
BAD = "package extra.authz\n\nallow := \n"

Bind = Callable[..., Done]


@pytest.fixture
def data(tmp_path: Path) -> DataDirectory:
    create(tmp_path / "data", "bot")
    return DataDirectory(tmp_path / "data")


@pytest.fixture
def bind(run: Run, data: DataDirectory) -> Bind:
    return lambda bundle, *more: run("bind", "bot", bundle, "--data", str(data.path), *more)


@pytest.fixture
def registry(data: DataDirectory) -> Iterator[Registry]:
    opened = Registry.open(data)
    yield opened
    opened.close()


def write(data: DataDirectory, **files: str) -> None:
    """Files of the bundle `extra`, by their names without dots."""
    directory = data.policies / "extra"
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        path = directory / {"manifest": ".manifest", "authz": "authz.rego"}[name]
        path.write_text(content)


def commit(data: DataDirectory, *, remove: bool = False) -> None:
    directory = data.policies / "extra"
    names = [f"extra/{each.name}" for each in directory.iterdir()]
    if remove:
        for name in names:
            (data.policies / name).unlink()
        os.rmdir(directory)
    with Repo(str(data.policies)) as repo:
        tree, settings = repo.get_worktree(), StackedConfig([])
        tree.stage(names, config=settings)
        who = b"d <d@x>"
        tree.commit(message=b"Change", author=who, committer=who, sign=False, no_verify=True, config=settings)


def look(data: DataDirectory, registry: Registry) -> str:
    """Look for a commit as a running gateway does; returns the outcome."""
    outcome = PolicySync(registry, data, GitSource(data.policies)).step().outcome
    publication.publish(registry, data)
    return outcome


def test_a_bundle_that_nobody_has_heard_of(bind: Bind) -> None:
    assert bind("extar").complains() == "unknown bundle `extar`: bundles in force: starter"


def test_every_step_on_the_way(bind: Bind, data: DataDirectory, registry: Registry) -> None:
    write(data, authz=GOOD)
    assert f"`{data.policies / 'extra'}` has no `.manifest`: add one, and commit it" in bind("extra").complains()
    write(data, manifest=MANIFEST)
    assert "is not in the newest commit of `main`: commit it" in bind("extra").complains()
    commit(data)
    assert "holds it: start `gateway up`" in bind("extra").complains()
    presence = Presence(data, "boot_x")
    assert "the gateway is testing it: try again in a moment" in bind("extra").complains()
    presence.close()
    assert look(data, registry) == "activated"
    assert bind("extra").code == 0


def test_a_bundle_on_another_branch(bind: Bind, data: DataDirectory) -> None:
    """An author who has committed it is told where it is; a commit that main has left is none of its."""
    with Repo(str(data.policies)) as repo:
        before = repo.refs[Ref(b"refs/heads/main")]
    write(data, authz=GOOD, manifest=MANIFEST)
    commit(data)
    source = GitSource(data.policies)
    with Repo(str(data.policies)) as repo:
        theirs = repo.refs[Ref(b"refs/heads/main")]
        assert source.is_followed(theirs.decode())
        repo.refs[Ref(b"refs/heads/topic")] = theirs
        repo.refs[Ref(b"refs/heads/main")] = before
    assert "committed on the branch `topic`, and the gateway follows `main`: merge it" in bind("extra").complains()
    assert (source.is_followed(theirs.decode()), source.is_followed(before.decode())) == (False, True)


def test_a_commit_that_was_refused(bind: Bind, data: DataDirectory, registry: Registry) -> None:
    write(data, authz=BAD, manifest=MANIFEST)
    commit(data)
    assert look(data, registry) == "compile_failed"
    refused = bind("extra").complains()
    assert "holds it, but was not put into force: compile_failed: bundle extra: authz.rego:" in refused


def test_a_bundle_that_is_in_force_no_more(bind: Bind, data: DataDirectory, registry: Registry) -> None:
    """Bound all the same, all requests were refused `policy_not_loaded`, and every later commit as well."""
    write(data, authz=GOOD, manifest=MANIFEST)
    commit(data)
    assert look(data, registry) == "activated"
    commit(data, remove=True)
    assert look(data, registry) == "activated"
    refused = bind("extra").complains()
    assert refused.startswith("bundle `extra` was in force, but is not any more: commit it again, or bind a revision")
    pin = refused.split("--pin ")[1].rstrip("`")
    assert bind("extra", "--pin", pin).code == 0


def test_a_repository_that_cannot_be_read(bind: Bind, data: DataDirectory) -> None:
    data.policies.rename(data.policies.with_name("away"))
    assert "is not a git repository; set policies_repository" in bind("extra").complains()


def test_a_shadow_stands_beside_a_binding_that_counts(run: Run, bind: Bind, data: DataDirectory) -> None:
    where = ("--data", str(data.path))
    assert bind("starter", "--shadow").out == "bundle starter is now a shadow grant of agent bot\n"
    assert "is bound to agent `bot` already" in bind("starter", "--shadow").err
    # Nothing that counts changes, so nobody has to confirm it.
    assert bind("starter", "--shadow", "--effect", "guard").code == 0
    found = json.loads(run("bindings", "list", *where, "--json").out)
    assert [(each["effect"], each["shadow"]) for each in found] == [("grant", False), ("guard", True)]
    assert "shadow guard" in run("bindings", "list", *where).out
    assert "shadow guard starter" in run("agents", "show", "bot", *where).out
    assert "shadow=True" in run("audit", "list", "--kind", "change", *where).out
    gone = run("unbind", "bot", "starter", "--shadow", *where)
    assert gone.out == "bundle starter is no longer a shadow of agent bot\n"
    assert "is not bound to agent `bot` as a shadow" in run("unbind", "bot", "starter", "--shadow", *where).err
    assert "grant starter" in run("agents", "show", "bot", *where).out
