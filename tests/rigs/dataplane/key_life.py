"""Shared parts of the tests in `tests/gateway/dataplane/test_key_life.py`."""

from __future__ import annotations

import time
from collections.abc import Callable


def until(condition: Callable[[], object], seconds: float = 240) -> None:
    """Wait for what another process brings about."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "this never came true"
        time.sleep(0.2)
