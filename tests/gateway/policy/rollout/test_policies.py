"""The revisions a worker has in memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from gateway.errors import Denied, GatewayError
from gateway.policy.bundle import publish
from gateway.policy.cache import PolicyCache, digests
from gateway.registry.port import ActiveSet, BundleRef
from policy_engine import engine


def published(directory: Path, rules: str = "allow := true") -> str:
    manifest = {"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}}
    files = {".manifest": json.dumps(manifest).encode(), "authz.rego": f"package b.authz\n\n{rules}\n".encode()}
    return publish(directory, files)


def test_loading(tmp_path: Path) -> None:
    digest = published(tmp_path, "allow if input.action == data.b.x")
    cache = PolicyCache(tmp_path)
    with pytest.raises(Denied) as refusal:
        cache.get(digest)
    assert refusal.value.code == "policy_not_loaded"
    bundle = cache.load(digest)
    assert cache.get(digest) is bundle is cache.load(digest)
    assert (bundle.digest, bundle.entrypoint, bundle.input_paths) == (digest, "data.b.authz", (("action",),))
    assert not bundle.nondeterministic


def test_a_restart_finds_it_compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = published(tmp_path / "bundles", "allow if input.action == data.b.x")
    first = PolicyCache(tmp_path / "bundles", tmp_path / "cache").load(digest)
    monkeypatch.setattr(engine, "compile_program", lambda *_, **__: pytest.fail("it was compiled again"))
    again = PolicyCache(tmp_path / "bundles", tmp_path / "cache").load(digest)
    assert (again.input_paths, again.nondeterministic) == (first.input_paths, first.nondeterministic)
    assert again.decide({"action": 1}).value == first.decide({"action": 1}).value


def test_tests_are_not_loaded(tmp_path: Path) -> None:
    digest = published(tmp_path)
    (tmp_path / digest / "x_test.rego").write_text("package b.authz\n\nallow := false\n")
    with pytest.raises(GatewayError) as error:
        PolicyCache(tmp_path).load(digest)
    assert error.value.code == "bundle_damaged"


@pytest.mark.parametrize("name", ["0" * 64, "..", "nowhere", ""])
def test_what_was_never_published(tmp_path: Path, name: str) -> None:
    with pytest.raises(GatewayError) as error:
        PolicyCache(tmp_path).load(name)
    assert error.value.code == "bundle_missing"


def test_a_pipe_in_a_bundle_is_damage_and_never_opened(tmp_path: Path) -> None:
    digest = published(tmp_path)
    os.mkfifo(tmp_path / digest / "pipe.rego")
    with pytest.raises(GatewayError, match="is not a regular file") as error:
        PolicyCache(tmp_path).load(digest)
    assert error.value.code == "bundle_damaged"


def test_what_does_not_compile(tmp_path: Path) -> None:
    digest = published(tmp_path, "allow := ")
    with pytest.raises(GatewayError) as error:
        PolicyCache(tmp_path).load(digest)
    assert error.value.code == "bundle_broken"


def test_following(tmp_path: Path) -> None:
    one, other, broken = published(tmp_path), published(tmp_path, "allow := false"), published(tmp_path, "allow := ")
    cache = PolicyCache(tmp_path)
    assert cache.follow({one}) == {}
    first = cache.get(one)
    assert set(cache.follow({one, other, broken, "0" * 64})) == {broken, "0" * 64}
    assert cache.loaded == {one, other}
    assert cache.get(one) is first, "what is there is not compiled again"
    assert cache.follow({other}) == {}
    assert cache.loaded == {other}


def test_what_an_activation_needs() -> None:
    followed, pinned = BundleRef("b", "1", "c", "data.b"), BundleRef("b", "2", "d", "data.b")
    assert digests(ActiveSet("act", "c", 1, {"b": followed}, {("b", "d"): pinned})) == {"1", "2"}
    assert digests(ActiveSet("", "", 1, {})) == set()
