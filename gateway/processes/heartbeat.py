"""The beat of a data worker's event loop: a byte a second to the supervisor, which replaces a worker that has none.

A loop that stands still serves nobody, and neither a signal nor the end of standard input reaches it. Silence is
counted in pauses of the supervisor's own, not by a clock: while the machine or the supervisor was stopped, none ends.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress

from gateway.data_directory import DataDirectory
from gateway.identifiers import new_id
from gateway.telemetry.catalogue import KINDS
from gateway.telemetry.counts import Counts

BEAT_SECONDS = 1.0
SILENT_BEATS = 3
_WORKER = KINDS["worker"]


async def beat(descriptor: int) -> None:
    """Write a byte a second to the supervisor, until cancelled. If it takes none, nobody waits for it."""
    os.set_blocking(descriptor, False)
    while True:
        with suppress(BlockingIOError, BrokenPipeError):
            os.write(descriptor, b"\n")
        await asyncio.sleep(BEAT_SECONDS)


async def stands_still(beats: asyncio.StreamReader, seconds: float, note: Callable[[bool], None]) -> bool:
    """Wait until no beat has come for so long; false if the process has ended first.

    `note` is told again and again whether several beats are missing, which is what `gateway status` says.
    """
    silent = 0
    while silent * BEAT_SECONDS < seconds:
        try:
            async with asyncio.timeout(BEAT_SECONDS):
                if not await beats.read(4096):
                    return False
        except TimeoutError:
            # A beat that came in this very moment is still there, and is read in the next turn.
            silent += 1
            note(silent >= SILENT_BEATS)
        else:
            silent = 0
            note(False)
            await asyncio.sleep(BEAT_SECONDS)
    return True


def count(data: DataDirectory) -> None:
    """Count a worker that stood still, in a file as a worker that has ended leaves one."""
    counts = Counts(data.metrics / new_id("boot"), 8 * (_WORKER.slots + 8))
    counts.numbers[counts.open("worker", (), _WORKER.slots) + _WORKER.offset("aig_workers_stalled")] = 1
