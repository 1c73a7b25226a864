"""The sum over all workers, those that have ended included: no counter falls, and none is counted twice."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.telemetry import collection
from gateway.telemetry.catalogue import KINDS
from gateway.telemetry.counts import Counts

WORKER = KINDS["worker"]
IN_FLIGHT = WORKER.offset("aig_requests_in_flight")


class Worker:
    """One worker's file: how often it has refused a request, and how many requests are in progress."""

    def __init__(self, directory: Path, boot: str) -> None:
        self.boot = boot
        self._counts = Counts(directory / boot, 8192)
        self._refused = self._counts.open("refusal", ("overloaded",), 1)
        self._worker = self._counts.open("worker", (), WORKER.slots)

    def refuse(self, times: int) -> None:
        self._counts.numbers[self._refused] += times

    def load(self, requests: int) -> None:
        self._counts.numbers[self._worker + IN_FLIGHT] = requests


def seen(directory: Path, live: set[str]) -> tuple[int, int]:
    totals = collection.collect(directory, live)
    refused = totals.blocks.get(("refusal", ("overloaded",)), [0])
    worker = totals.blocks.get(("worker", ()), [0] * WORKER.slots)
    return refused[0], worker[IN_FLIGHT]


def test_nothing_was_counted_yet(tmp_path: Path) -> None:
    assert collection.collect(tmp_path / "metrics", set()).blocks == {}
    (tmp_path / "metrics").mkdir()
    collection.fold(tmp_path / "metrics", set())
    assert collection.collect(tmp_path / "metrics", set()).blocks == {}


def test_counters_of_dead_workers_stay_and_their_gauges_go(tmp_path: Path) -> None:
    one, two = Worker(tmp_path, "boot_1"), Worker(tmp_path, "boot_2")
    one.refuse(3)
    one.load(5)
    two.refuse(4)
    two.load(7)
    assert seen(tmp_path, {"boot_1", "boot_2"}) == (7, 12)
    assert seen(tmp_path, {"boot_2"}) == (7, 7)
    collection.fold(tmp_path, {"boot_2"})
    assert not (tmp_path / "boot_1").exists()
    assert seen(tmp_path, {"boot_2"}) == (7, 7)
    two.refuse(1)
    assert seen(tmp_path, {"boot_2"}) == (8, 7)


def test_a_fold_that_was_killed_before_its_end_counts_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Worker(tmp_path, "boot_1").refuse(3)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda path, missing_ok=False: None)  # the process is killed here
        collection.fold(tmp_path, set())
    assert (tmp_path / "boot_1").exists()
    assert seen(tmp_path, set()) == (3, 0)
    Worker(tmp_path, "boot_2").refuse(2)
    collection.fold(tmp_path, set())
    assert [path.name for path in tmp_path.iterdir()] == ["ended.json"]
    assert seen(tmp_path, set()) == (5, 0)


def test_random_lives_of_workers_add_up(tmp_path: Path) -> None:
    """Starts, deaths, refusals and folds in any order: the sum is always what was counted."""
    random_ = random.Random(7)
    alive: dict[str, Worker] = {}
    counted = 0
    for step in range(150):
        choice = random_.random()
        if choice < 0.15 or not alive:
            boot = f"boot_{step:04}"
            alive[boot] = Worker(tmp_path, boot)
        elif choice < 0.25:
            del alive[random_.choice(sorted(alive))]
        elif choice < 0.35:
            collection.fold(tmp_path, alive.keys())
        else:
            times = random_.randrange(5)
            alive[random_.choice(sorted(alive))].refuse(times)
            counted += times
        assert seen(tmp_path, set(alive)) == (counted, 0)


def test_numbers_of_another_version_are_left_out(tmp_path: Path) -> None:
    other = Counts(tmp_path / "boot_1", 4096)
    other.open("refusal", ("overloaded", "more"), 1)
    other.open("worker", (), 2)
    other.open("weather", ("sunny",), 1)
    (tmp_path / "ended.json").write_text('{"boots": 3}')
    assert collection.collect(tmp_path, {"boot_1"}).blocks == {}
