"""The usage of calls without a bound, by which limits in the mode `estimate` reserve for the next one like them.

Like calls are those of one agent with the same action and model. Each worker remembers its own, the highest of all that
have ended since it began; of calls that it has not seen yet, `UNKNOWN_TOKENS` are assumed besides what has a bound.
Specification: limits.md.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple, TypeAlias

UNKNOWN_TOKENS: Final = 16_384
"""Tokens that a call may use besides what of it has a bound, as long as no call like it has ended.

A few images are as many, or what two or three searches bring.
"""
_REMEMBERED: Final = 8192

Like: TypeAlias = tuple[str, str, str, str]
"""Organization, agent, action and model."""


class Estimates:
    """The memory of one worker. May be used from several threads."""

    def __init__(self) -> None:
        self._highest: dict[Like, tuple[int, int]] = {}
        self._guard = threading.Lock()

    def of(self, like: Like) -> tuple[int, int] | None:
        """The most tokens and nano-dollars that a call like these has used; None if none has ended."""
        return self._highest.get(like)

    def note(self, like: Like, tokens: int, nanousd: int) -> None:
        """A call like these has ended."""
        with self._guard:
            before = self._highest.pop(like, (0, 0))
            self._highest[like] = max(tokens, before[0]), max(nanousd, before[1])
            if len(self._highest) > _REMEMBERED:  # those that have not ended for the longest time
                del self._highest[next(iter(self._highest))]


class Estimate(NamedTuple):
    """The reason why a call's reservation is an estimate, and the place where its usage is remembered."""

    why: str
    like: Like
    memory: Estimates

    def learn(self, tokens: int, nanousd: int) -> None:
        self.memory.note(self.like, tokens, nanousd)
