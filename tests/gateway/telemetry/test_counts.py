"""The file in which a worker counts: what is read is what was written, whatever is in the file."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from gateway.telemetry import counts
from gateway.telemetry.counts import Block, Counts


def blocks(path: Path) -> list[Block]:
    return list(counts.read(path.read_bytes()))


def test_what_is_counted_is_in_the_file_at_once(tmp_path: Path) -> None:
    found = Counts(tmp_path / "metrics" / "boot_a", 4096)
    first = found.open("agent", ("acme", "bot"), 3)
    second = found.open("refusal", ("bad_request",), 1)
    found.numbers[first] += 5
    found.numbers[first + 2] += 2**40
    found.numbers[second] += 1
    assert blocks(tmp_path / "metrics" / "boot_a") == [
        Block("agent", ("acme", "bot"), [5, 0, 2**40]),
        Block("refusal", ("bad_request",), [1]),
    ]
    assert (tmp_path / "metrics" / "boot_a").stat().st_mode & 0o777 == 0o600


def test_labels_may_be_any_text(tmp_path: Path) -> None:
    found = Counts(tmp_path / "boot_a", 4096)
    labels = ("", "ключ", 'a"\\\n{}', "x" * 127)
    found.open("model", labels, 2)
    assert blocks(tmp_path / "boot_a") == [Block("model", labels, [0, 0])]


def test_a_full_file_loses_what_comes_later_and_nothing_else(tmp_path: Path) -> None:
    found = Counts(tmp_path / "boot_a", 256)
    places = [found.open("refusal", (f"reason-{number}",), 1) for number in range(20)]
    for number, place in enumerate(places):
        found.numbers[place] += number + 1
    kept = blocks(tmp_path / "boot_a")
    assert 0 < len(kept) < 20
    assert found.lost == 20 - len(kept)
    assert [block.numbers for block in kept] == [[number + 1] for number in range(len(kept))]


def test_without_space_on_the_disk_a_worker_counts_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(file: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    found = Counts(tmp_path / "boot_a", 4096)
    found.numbers[found.open("refusal", ("bad_request",), 1)] += 1
    assert list(tmp_path.iterdir()) == []
    assert "there are no metrics of this worker" in caplog.text


def test_files_of_any_content_can_be_read(tmp_path: Path) -> None:
    """Content after a damaged place is not read, and no content raises."""
    path = tmp_path / "boot_a"
    found = Counts(path, 2048)
    for number in range(10):
        found.numbers[found.open("refusal", (f"reason-{number}",), 1)] += 1
    whole = path.read_bytes()
    random_ = random.Random(1)
    for _ in range(500):
        content = bytearray(whole)
        for _ in range(random_.randrange(1, 4)):
            content[random_.randrange(len(content))] = random_.randrange(256)
        list(counts.read(bytes(content[: random_.randrange(len(content) + 1)])))
    assert list(counts.read(b"")) == list(counts.read(b"other content")) == []
