"""A file that is kept open is told from whatever its name leads to later."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from gateway.storage.opened_file import OpenedFile


def test_it_is_told_from_another_file_of_its_name(tmp_path: Path) -> None:
    path, away = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"1")
    with closing(OpenedFile(path)) as opened:
        assert opened.in_place()
        path.write_bytes(b"2")
        assert opened.in_place()  # its content may change
        path.rename(away)
        assert not opened.in_place()
        path.symlink_to(away)
        assert opened.in_place()  # a link to it is it
        path.unlink()
        path.write_bytes(b"2")
        assert not opened.in_place()


def test_a_number_that_is_used_again_is_not_mistaken(tmp_path: Path) -> None:
    """File systems hand out the inode number of a deleted file at once."""
    path = tmp_path / "a"
    path.write_bytes(b"")
    with closing(OpenedFile(path)) as opened:
        for _ in range(20):
            path.unlink()
            path.write_bytes(b"")
            assert not opened.in_place()


def test_what_is_not_there_cannot_be_held(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        OpenedFile(tmp_path / "a")
