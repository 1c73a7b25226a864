"""The cached parse table: believed only if it is this user's, and never a reason to fail."""

from __future__ import annotations

import functools
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from policy_engine.syntax import tables
from policy_engine.syntax.tables import table

make = functools.cache(tables._make)
"""Makes the table once for all tests of this file: Lark needs a second for it."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache directory of its own; the table is read anew within the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(tables, "_make", make)
    table.cache_clear()
    yield tmp_path / "policy-engine"
    table.cache_clear()


@pytest.fixture
def made(cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever the table is made and not read. The cache is filled."""
    table()
    table.cache_clear()
    grammars: list[str] = []
    monkeypatch.setattr(tables, "_make", lambda grammar: (grammars.append(grammar), make(grammar))[1])
    return grammars


def cached(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_first_use_writes_it_for_this_user_only(cache: Path) -> None:
    before = table()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert stat.S_IMODE(cached(cache).stat().st_mode) == 0o600
    table.cache_clear()
    assert table() == before


def test_second_use_reads_it(cache: Path, made: list[str]) -> None:
    table()
    assert made == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-1000],
        lambda content: content.replace(b'"query":', b'"qUery":'),
        lambda content: b"\x80\x04N.",
        lambda content: b"[" * 100_000,
    ],
    ids=["empty", "cut", "changed", "no JSON", "nested"],
)
def test_a_damaged_file_is_replaced(cache: Path, made: list[str], damage: object) -> None:
    path = cached(cache)
    good = path.read_bytes()
    path.write_bytes(damage(good))  # type: ignore[operator]
    table()
    assert len(made) == 1
    assert cached(cache).read_bytes() == good


def test_a_file_that_others_can_write_is_not_believed(cache: Path, made: list[str]) -> None:
    cached(cache).chmod(0o620)
    table()
    assert len(made) == 1
    assert stat.S_IMODE(cached(cache).stat().st_mode) == 0o600


def test_a_directory_that_others_can_write_is_neither_read_nor_written(cache: Path, made: list[str]) -> None:
    cache.chmod(0o770)
    before = cached(cache).stat().st_ino
    table()
    assert len(made) == 1
    assert cached(cache).stat().st_ino == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("which", ["file", "directory"])
def test_what_another_user_owns_is_not_believed(cache: Path, made: list[str], which: str) -> None:
    os.chown(cached(cache) if which == "file" else cache, 65534, -1)
    table()
    assert len(made) == 1


@pytest.mark.parametrize("which", ["file", "directory"])
def test_a_link_is_not_followed(cache: Path, made: list[str], which: str, tmp_path: Path) -> None:
    path = cached(cache) if which == "file" else cache
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    table()
    assert len(made) == 1


def test_a_pipe_in_its_place_does_not_hang(cache: Path, made: list[str]) -> None:
    path = cached(cache)
    path.unlink()
    os.mkfifo(path, 0o600)
    table()
    assert len(made) == 1


def test_no_directory_can_be_made(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.joinpath("file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert table().states
    assert not cache.exists()


def test_a_full_disk_leaves_nothing_behind(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object, **where: int) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert table().states
    assert list(cache.iterdir()) == []


def test_relative_directories_are_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tables._directory() == tmp_path / ".cache" / "policy-engine"


def test_the_key_depends_on_the_grammar() -> None:
    assert tables._key("a") != tables._key("b")


def test_a_start_with_a_warm_cache_does_not_import_lark(cache: Path) -> None:
    table()
    code = (
        "import sys; from policy_engine.syntax.parser import parse_term; parse_term('1'); print('lark' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_grammar_has_only_the_conflicts_that_are_meant(caplog: pytest.LogCaptureFixture) -> None:
    """`-` behind a complete literal continues it, and `)` behind an expression ends a term. Any other is a mistake."""
    from lark import logger

    grammar = Path(tables.__file__).with_name("grammar.lark").read_text("utf-8")
    logger.addHandler(caplog.handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        tables._make(grammar)
    finally:
        logger.removeHandler(caplog.handler)
        logger.setLevel(level)
    terminals = {record.args[0] for record in caplog.records if "conflict" in record.msg and record.args}
    assert terminals == {"MINUS", "RPAR"}


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    code = "from policy_engine.syntax.tables import table; table()"
    written = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "XDG_CACHE_HOME": str(tmp_path / seed)}
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)
        written.add(cached(tmp_path / seed / "policy-engine").read_bytes())
    assert len(written) == 1


def test_every_alternative_has_its_method() -> None:
    from policy_engine.syntax.rules import RuleBuilder

    callbacks = {rule.callback for rule in table().rules if rule.callback}
    assert all(callable(getattr(RuleBuilder, name, None)) for name in callbacks)
    assert all(rule.length == 1 for rule in table().rules if not rule.callback)
    assert json.dumps(table().starts)
