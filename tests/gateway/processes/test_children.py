"""The environment that the supervisor gives its children."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

from gateway.processes import children

MEBIBYTE = 1024 * 1024

# Large blocks come and go, and each time a small one stays that was allocated after it. Prints the size of the heaps.
LARGE_BODIES = """
import ctypes
libc = ctypes.CDLL(None)
sizes = ctypes.c_size_t * 10  # of `struct mallinfo2`, whose first is the size of the heaps
libc.mallinfo2.restype = type("Info", (ctypes.Structure,), {"_fields_": [("sizes", sizes)]})
libc.malloc.restype = ctypes.c_void_p
for _ in range(4):
    large = bytearray(8 * 1024 * 1024)
    libc.malloc(64)
    del large
print(libc.mallinfo2().sizes[0])
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="only glibc has these settings")
def test_memory_of_large_bodies_goes_back_to_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in children.ALLOCATOR:
        monkeypatch.delenv(name, raising=False)
    done = subprocess.run(
        [sys.executable, "-S", "-c", LARGE_BODIES], env=children.environment(), capture_output=True, check=True
    )
    assert int(done.stdout) < 8 * MEBIBYTE


def test_what_an_operator_sets_for_the_allocator_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "7")
    assert children.environment()["MALLOC_ARENA_MAX"] == "7"
