"""Shared parts of the tests in `tests/gateway/test_pace.py`."""

from __future__ import annotations


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now
