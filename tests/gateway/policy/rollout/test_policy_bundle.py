"""A bundle's manifest, its digest and its place on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import GatewayError
from gateway.policy import bundle as policy_bundle
from gateway.policy.bundle import Manifest, digest, manifest, overlap, publish, read

ROOT = Path(__file__).parents[4]
SCHEMA = json.loads((ROOT / "schemas" / "manifest.schema.json").read_text("utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GOOD: dict[str, Any] = {"roots": ["b"], "metadata": {"gateway": {"entrypoint": "data.b.authz"}}}
FILES = {
    ".manifest": json.dumps(GOOD).encode(),
    "authz.rego": b"package b.authz\n\nallow := true\n",
    "authz_test.rego": b"package b.authz_test\n",
    "lists/data.json": b"{}",
    "README.md": b"# b\n",
}
PUBLISHED = {".manifest", "authz.rego", "lists/data.json"}


def accepted(document: Any) -> bool:
    try:
        manifest(json.dumps(document).encode(), "b")
    except GatewayError as error:
        return error.code != "bad_manifest"
    return True


def test_a_manifest() -> None:
    assert manifest(json.dumps(GOOD).encode(), "b") == Manifest(("b",), "data.b.authz")


@pytest.mark.parametrize("path", sorted((ROOT / "policies").glob("*/.manifest")), ids=lambda path: path.parent.name)
def test_the_manifests_of_this_repository(path: Path) -> None:
    found = manifest(path.read_bytes(), path.parent.name)
    assert found.roots == (path.parent.name,)
    assert VALIDATOR.is_valid(json.loads(path.read_text("utf-8")))


NAMES = st.sampled_from(["b", "b/c", "c", "", "/b", "b/", "data", "ä", "b-c", 1, None])
ENTRYPOINTS = st.sampled_from(["data.b.authz", "data.b", "data", "b.authz", "data.b-c", "data.b.", 1])
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "roots": st.one_of(st.just(["b"]), st.just(["b"]), st.lists(NAMES, max_size=2), NAMES),
        "rego_version": st.sampled_from([1, 2, 0, 3, True, "1", None]),
        "revision": st.just("x"),
        "metadata": st.one_of(
            st.builds(lambda entrypoint: {"gateway": {"entrypoint": entrypoint}}, ENTRYPOINTS),
            st.sampled_from([{}, {"gateway": {}}, {"gateway": {"entrypoint": "data.b", "x": 1}}, [], None, {"x": 1}]),
        ),
    },
)


@given(DOCUMENTS)
def test_reading_agrees_with_the_schema(document: Any) -> None:
    """But for what no schema can say: that roots do not overlap and that the entrypoint lies inside one."""
    valid = VALIDATOR.is_valid(document)
    if accepted(document):
        assert valid
    elif valid:
        roots = document["roots"]
        entrypoint = document["metadata"]["gateway"]["entrypoint"].removeprefix("data.").replace(".", "/")
        inside = any(f"{entrypoint}/".startswith(f"{root}/") for root in roots)
        apart = not any(overlap(a, b) for i, a in enumerate(roots) for b in roots[:i])
        assert not (inside and apart)


@pytest.mark.parametrize("text", ["data.b.authz\n", "data.b.authz ", "data.b.Authz\u0661"])
def test_an_entrypoint_with_something_behind_it(text: str) -> None:
    """Python's `$` also matches in front of a line feed; a schema's does not, and neither does the reader."""
    assert not accepted(GOOD | {"metadata": {"gateway": {"entrypoint": text}}})
    assert not accepted(GOOD | {"roots": ["b\n"]})


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b'{"roots": ["b"]', b"\xff", b'"x"'])
def test_a_manifest_that_is_none(content: bytes) -> None:
    with pytest.raises(GatewayError) as error:
        manifest(content, "b")
    assert error.value.code == "bad_manifest"
    assert "`b`" in error.value.message


def test_overlapping_roots() -> None:
    assert overlap("a", "a")
    assert overlap("a/b", "a")
    assert overlap("a", "a/b/c")
    assert not overlap("a", "ab")
    assert not overlap("a/b", "a/c")


def test_the_digest_is_what_sha256sum_would_say(tmp_path: Path) -> None:
    bundles = tmp_path / "bundles"
    bundles.mkdir()
    name = publish(bundles, FILES)
    paths = sorted(PUBLISHED)
    lines = subprocess.run(["sha256sum", *paths], cwd=bundles / name, check=True, capture_output=True).stdout
    total = subprocess.run(["sha256sum"], input=lines, check=True, capture_output=True).stdout
    assert total.split()[0].decode() == name == digest(FILES)


@pytest.mark.parametrize("path", sorted(FILES))
def test_the_digest_covers_exactly_what_decides(path: str) -> None:
    changed = FILES | {path: FILES[path] + b" "}
    renamed = {f"x{name}" if name == path else name: content for name, content in FILES.items()}
    assert (digest(changed) != digest(FILES)) == (path in PUBLISHED)
    assert (digest(renamed) != digest(FILES)) == (path in PUBLISHED)


def test_publishing(tmp_path: Path) -> None:
    name = publish(tmp_path, FILES)
    assert set(read(tmp_path / name)) == PUBLISHED
    assert publish(tmp_path, FILES) == name
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert (tmp_path / name / "authz.rego").stat().st_mode & 0o077 == 0


def test_a_disk_that_takes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    bundles = tmp_path / "bundles"  # somebody has removed it
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(GatewayError, match="bundle_not_written") as error:
            publish(bundles, FILES)
    assert error.value.message.endswith("no space left on device")
    assert list(bundles.iterdir()) == [], "nothing is left over"
    assert publish(bundles, FILES) == digest(FILES)


def test_two_processes_publish_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one comes first between our look and our rename."""
    write = policy_bundle.write

    def later(directory: Path, files: dict[str, bytes]) -> None:
        write(directory, files)
        shutil.copytree(directory, tmp_path / digest(FILES))

    monkeypatch.setattr(policy_bundle, "write", later)
    name = publish(tmp_path, FILES)
    assert set(read(tmp_path / name)) == PUBLISHED
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "damage",
    [
        lambda directory: (directory / "authz.rego").write_text("package b.authz\n\nallow := false\n"),
        lambda directory: (directory / "authz.rego").unlink(),
        lambda directory: (directory / "more.rego").write_text("package b.authz\n\nallow := false\n"),
        lambda directory: (directory / "more_test.rego").write_text("package b.authz\n\nallow := false\n"),
        lambda directory: (directory / ".manifest").unlink(),
    ],
)
def test_what_was_meddled_with_is_not_read(tmp_path: Path, damage: Any) -> None:
    name = publish(tmp_path, FILES)
    damage(tmp_path / name)
    with pytest.raises(GatewayError) as error:
        read(tmp_path / name)
    assert error.value.code in ("bundle_damaged", "bundle_missing")
    assert publish(tmp_path, FILES) == name
    assert set(read(tmp_path / name)) == PUBLISHED


def test_what_is_not_there_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / ("0" * 64), tmp_path / "empty"):
        with pytest.raises(GatewayError) as error:
            read(path)
        assert error.value.code == "bundle_missing"
