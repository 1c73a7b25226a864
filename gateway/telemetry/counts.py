"""The numbers that one worker counts, in a file that it maps into memory: counting is adding to an integer.

A count is in the file at once and stays there however the worker ends, SIGKILL included, so nothing is lost
and nobody has to be told. The control process reads the files of all workers. A power failure may lose them: these are
metrics, the audit log is the record.

A file is a sequence of *blocks* behind a magic number. A block has one word with the size of its name in bytes (upper
32 bits) and how many numbers it has (lower), then the name, filled up to whole words, and the numbers. The name is
a JSON array: the block's kind and its labels. The first word is written last, so a reader sees whole blocks only.
"""

from __future__ import annotations

import logging
import mmap
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import orjson

logger = logging.getLogger("gateway.telemetry.counts")

_MAGIC = int.from_bytes(b"aigcnt01", sys.byteorder, signed=True)
_WORD = 8
_SINK = 64  # words at the end of the file that nobody reads


@dataclass(frozen=True, slots=True)
class Block:
    """A kind, its labels and its numbers, as they were read."""

    kind: str
    labels: tuple[str, ...]
    numbers: list[int]


class Counts:
    """The file of one worker. `numbers` is its memory: add to `numbers[at]`. Only one thread adds to each number.

    The space is reserved, because a disk that gets full later must not stop the worker. Without space, or with `path`
    None, it counts where nobody can read it. `lost` blocks found no room.
    """

    def __init__(self, path: Path | None, size: int) -> None:
        self._words = -(-size // _WORD) + _SINK
        self.lost = 0
        self.numbers = memoryview(self._map(path)).cast("q")
        self.numbers[0] = _MAGIC
        self._end = 1

    def _map(self, path: Path | None) -> mmap.mmap:
        if path is not None:
            try:
                path.parent.mkdir(mode=0o700, exist_ok=True)
                path.unlink(missing_ok=True)  # never truncated: a process that has mapped it would die
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(file, 0, self._words * _WORD)
                    return mmap.mmap(file, self._words * _WORD)
                finally:
                    os.close(file)
            except OSError as error:
                logger.warning("there are no metrics of this worker: %s", error)
                with suppress(OSError):
                    path.unlink()
        return mmap.mmap(-1, self._words * _WORD)

    def open(self, kind: str, labels: tuple[str, ...], slots: int) -> int:
        """Make a block and return where its numbers begin. If there is no room, it is one that nobody reads."""
        assert slots < _SINK
        name = orjson.dumps([kind, *labels])
        begin = self._end + 1 + -(-len(name) // _WORD)
        sink = self._words - _SINK + 1  # the word before it stays 0, which ends the file for a reader
        if begin + slots >= sink:
            self.lost += 1
            return sink
        text = self.numbers.cast("B")
        text[(self._end + 1) * _WORD : (self._end + 1) * _WORD + len(name)] = name
        self.numbers[self._end] = len(name) << 32 | slots
        self._end = begin + slots
        return begin


def read(content: bytes) -> Iterator[Block]:
    """The blocks of a file. A record that cannot be read ends it, as does one that is still being written."""
    numbers = memoryview(content[: len(content) // _WORD * _WORD]).cast("q")
    if not numbers or numbers[0] != _MAGIC:
        return
    at = 1
    while at < len(numbers) and (head := numbers[at]) > 0:
        size, slots = head >> 32, head & 0xFFFFFFFF
        begin = at + 1 + -(-size // _WORD)
        if begin + slots > len(numbers):
            return
        try:
            kind, *labels = orjson.loads(content[(at + 1) * _WORD : (at + 1) * _WORD + size])
        except ValueError:
            return
        yield Block(kind, tuple(labels), numbers[begin : begin + slots].tolist())
        at = begin + slots
