"""The sum of what all workers count and have counted since the gateway was started.

The files of workers that have ended stay, so a counter never falls when a worker is restarted. The control process
folds them into one from time to time (`fold`): that file lists the workers it holds, so that a file which it could not
remove before it was killed itself is not counted twice. A start of the gateway begins anew (`forget`).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from gateway.telemetry import counts
from gateway.telemetry.catalogue import KINDS

_ENDED = "ended.json"
_TRIES = 5

Key = tuple[str, tuple[str, ...]]
"""A kind of block and its labels."""


@dataclass(slots=True)
class Totals:
    """The sums by block, in the order in which the blocks were first seen, and the workers (boots) that count now."""

    blocks: dict[Key, list[int]] = field(default_factory=dict)
    alive: list[str] = field(default_factory=list)

    def add(self, block: counts.Block, *, alive: bool) -> None:
        """Add a worker's numbers. Its gauges, which say what it holds at the moment, count only while it lives."""
        kind = KINDS.get(block.kind)
        if kind is None or len(block.numbers) != kind.slots or len(block.labels) != len(kind.labels):
            return  # of another version of the gateway
        numbers = block.numbers
        if not alive:
            at = 0
            for family in kind.families:
                if family.type == "gauge":
                    numbers[at : at + family.slots] = [0] * family.slots
                at += family.slots
        key = (block.kind, block.labels)
        found = self.blocks.get(key)
        self.blocks[key] = numbers if found is None else [a + b for a, b in zip(found, numbers, strict=True)]


def collect(directory: Path, live: Container[str]) -> Totals:
    """The sums of all workers' files in this directory. `live` tells which boot ids belong to live processes."""
    for _ in range(_TRIES):
        before = _identity(directory)
        totals = _collect(directory, live)
        # If the control process has folded files in between, some may have been missed.
        if _identity(directory) == before:
            break
    return totals


def _collect(directory: Path, live: Container[str]) -> Totals:
    totals = Totals()
    included = _read_ended(directory, totals)
    for boot in _boots(directory):
        if boot in included:
            continue
        alive = boot in live  # asked before the file is read: what a dead one has counted does not change any more
        with suppress(OSError):
            for block in counts.read((directory / boot).read_bytes()):
                totals.add(block, alive=alive)
            if alive:
                totals.alive.append(boot)
    return totals


def fold(directory: Path, live: Container[str]) -> None:
    """Put the files of workers that have ended into one. Only for the control process, one call at a time."""
    totals = Totals()
    included = _read_ended(directory, totals)
    ended = [boot for boot in _boots(directory) if boot not in live]
    if not ended:
        return
    for boot in ended:
        if boot not in included:
            for block in counts.read((directory / boot).read_bytes()):
                totals.add(block, alive=False)
    blocks = [[kind, labels, numbers] for (kind, labels), numbers in totals.blocks.items()]
    new = directory / f"{_ENDED}.new"
    new.write_bytes(orjson.dumps({"boots": ended, "blocks": blocks}))
    new.replace(directory / _ENDED)
    for boot in ended:
        (directory / boot).unlink(missing_ok=True)


def forget(directory: Path) -> None:
    """Remove everything: the gateway is being started."""
    shutil.rmtree(directory, ignore_errors=True)


def _read_ended(directory: Path, totals: Totals) -> frozenset[str]:
    """Add what is in the file of those that have ended; returns which workers these are, if their files may exist."""
    try:
        document = orjson.loads((directory / _ENDED).read_bytes())
        for kind, labels, numbers in document["blocks"]:
            totals.add(counts.Block(kind, tuple(labels), numbers), alive=False)
        return frozenset(document["boots"])
    except (OSError, ValueError, KeyError, TypeError):  # there is none, or nothing of use in it
        return frozenset()


def _boots(directory: Path) -> list[str]:
    """The workers that have a file, the oldest first."""
    return sorted(name for name in os.listdir(directory) if name.startswith("boot_")) if directory.is_dir() else []


def _identity(directory: Path) -> int:
    try:
        return (directory / _ENDED).stat().st_ino
    except OSError:
        return 0
