"""Faults of the disk and the clock in the processes of a gateway: builds `faults.c` and switches its faults on and off.

Needs a C compiler. Without one (`build` returns None) the scenarios that need faults are left out.
"""

from __future__ import annotations

import mmap
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("faults.c")
_NUMBERS = ("fsync_fails", "disk_full", "clock_offset_ns")


class Faults:
    """The faults of one gateway. `environment` is for its processes, and `synced` is what a power cut would leave."""

    def __init__(self, library: Path, directory: Path, data: Path) -> None:
        self.synced = directory / "synced"
        self.synced.mkdir()
        control = directory / "control"
        control.write_bytes(bytes(8 * len(_NUMBERS)))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 0)
        self.environment = {
            "LD_PRELOAD": str(library),
            "CRASH_CONTROL": str(control),
            "CRASH_DATA": str(data),
            "CRASH_SYNCED": str(self.synced),
        }

    @contextmanager
    def on(self, name: str, value: int = 1) -> Iterator[None]:
        """One fault, for as long as the block lasts."""
        self.set(name, value)
        try:
            yield
        finally:
            self.set(name, 0)

    def set(self, name: str, value: int) -> None:
        """One fault, from now on; 0 ends it."""
        struct.pack_into("=q", self._control, 8 * _NUMBERS.index(name), value)


def build(directory: Path) -> Path | None:
    """The library, or None where it cannot be built."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return None
    library = directory / "faults.so"
    done = subprocess.run(
        [compiler, "-O1", "-shared", "-fPIC", "-o", library, _SOURCE, "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    return library if done.returncode == 0 else None
