"""Files that only this user can have written: believed then, and never otherwise."""

from __future__ import annotations

import os
import stat
import threading
import time
from pathlib import Path

import pytest

from policy_engine import private_files

NAME = "entry.bin"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a file that can be read."""
    directory = tmp_path / "above" / "cache"
    private_files.write(directory, NAME, b"content")
    assert private_files.read(directory, NAME) == b"content"
    return directory


def test_everything_that_is_made_is_for_this_user_only(folder: Path) -> None:
    for path, mode in ((folder.parent, 0o700), (folder, 0o700), (folder / NAME, 0o600)):
        assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize(
    "damage",
    [lambda c: b"", lambda c: c[:31], lambda c: c[:-1], lambda c: c + b"x", lambda c: c[:-1] + b"x", lambda c: c[1:]],
    ids=["empty", "cut in the digest", "cut", "longer", "changed", "shifted"],
)
def test_what_is_damaged_is_not_there(folder: Path, damage: object) -> None:
    path = folder / NAME
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert private_files.read(folder, NAME) is None


def test_what_is_renamed_is_not_there(folder: Path) -> None:
    (folder / NAME).rename(folder / "other.bin")
    assert private_files.read(folder, "other.bin") is None


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_ignored(folder: Path, mode: int) -> None:
    (folder / NAME).chmod(mode)
    assert private_files.read(folder, NAME) is None


@pytest.mark.parametrize("which", [".", ".."])
@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_directories_that_others_can_write_are_neither_read_nor_written(folder: Path, which: str, mode: int) -> None:
    (folder / which).resolve().chmod(mode)
    assert private_files.read(folder, NAME) is None
    private_files.write(folder, "new.bin", b"x")
    assert os.listdir(folder) == [NAME]


def test_a_directory_like_tmp_may_be_above_but_not_be_it(folder: Path) -> None:
    folder.parent.chmod(0o1777)
    assert private_files.read(folder, NAME) == b"content"
    folder.chmod(0o1777)
    assert private_files.read(folder, NAME) is None


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("which", [NAME, ".", ".."])
def test_what_another_user_owns_is_not_there(folder: Path, which: str) -> None:
    os.chown((folder / which).resolve(), 65534, -1)
    assert private_files.read(folder, NAME) is None


@pytest.mark.parametrize("which", [NAME, "."])
def test_a_link_is_not_followed(folder: Path, tmp_path: Path, which: str) -> None:
    path = folder if which == "." else folder / which
    path.rename(tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    assert private_files.read(folder, NAME) is None


def test_a_link_above_is_judged_by_where_it_leads(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder.parent)
    assert private_files.read(tmp_path / "link" / folder.name, NAME) == b"content"
    folder.parent.chmod(0o777)
    assert private_files.read(tmp_path / "link" / folder.name, NAME) is None


def test_a_pipe_does_not_hang(folder: Path) -> None:
    (folder / NAME).unlink()
    os.mkfifo(folder / NAME, 0o600)
    assert private_files.read(folder, NAME) is None


def test_no_directory_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    private_files.write(tmp_path / "file" / "cache", NAME, b"x")
    assert private_files.read(tmp_path / "file" / "cache", NAME) is None


def test_many_writers_and_readers_see_whole_files(folder: Path) -> None:
    contents = [bytes([number]) * 100_000 for number in range(4)]
    private_files.write(folder, NAME, contents[0])
    wrong: list[bytes | None] = []

    def work(content: bytes) -> None:
        for _ in range(30):
            private_files.write(folder, NAME, content)
            found = private_files.read(folder, NAME)
            if found not in contents:
                wrong.append(found)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert os.listdir(folder) == [NAME]


def test_what_was_not_used_for_longest_goes_first(folder: Path) -> None:
    for age, name in enumerate(("a.bin", "b.bin", "c.bin", "d.other")):
        private_files.write(folder, name, bytes(1000))
        past = time.time() - 100_000 + age
        os.utime(folder / name, (past, past))
    assert private_files.read(folder, "a.bin") is not None  # now it is the newest
    private_files.prune(folder, ".bin", 2500)
    assert sorted(os.listdir(folder)) == ["a.bin", "c.bin", "d.other", NAME]


def test_what_a_crash_left_behind_is_removed(folder: Path) -> None:
    for name, age in (("x.bin.1.new", 7200), ("y.bin.2.new", 10)):
        (folder / name).write_bytes(b"half")
        past = time.time() - age
        os.utime(folder / name, (past, past))
    private_files.prune(folder, ".bin", 2500)
    assert sorted(os.listdir(folder)) == [NAME, "y.bin.2.new"]
