"""Rates: what each kind of token, a second of sound, a request and an image cost, and the tokens of a call by them.

A rate is nano-dollars for a million tokens. Rates become a price, and prices a table, in `prices.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from gateway.call import Usage

NANO: Final = 10**9
"""Nano-dollars in a dollar."""

INPUT_PARTS: Final = ("cached", "cache_write", "audio_input", "image_input", "video_input")
OUTPUT_PARTS: Final = ("reasoning", "audio_output", "image_output", "video_output")
"""Members of `Usage` that may have rates of their own. Without one they cost what other input or output does."""

_MODALITIES: Final = {
    "audio_input": "audio",
    "audio_output": "audio",
    "image_input": "image",
    "image_output": "image",
    "video_input": "video",
    "video_output": "video",
}

ONCE: Final = 1000
"""A factor of one: factors are in thousandths."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The cost of each thing: tokens by the million, sound by the hour, requests and images by the piece.

    `input_parts` and `output_parts` are pairs of a member of `Usage` and its rate. `cache_write_1h` is the rate of
    those tokens written to the cache that are kept longer; None if it is no other than that of `cache_write`.
    """

    input: int = 0
    output: int = 0
    input_parts: tuple[tuple[str, int], ...] = ()
    output_parts: tuple[tuple[str, int], ...] = ()
    cache_write_1h: int | None = None
    hour: int = 0
    minimum_seconds: int = 0
    request: int = 0
    image: int = 0

    def times(self, factor: int) -> Rates:
        """As many thousandths of these, rounded up."""

        def of(rate: int) -> int:
            return -(-rate * factor // ONCE)

        return replace(
            self,
            input=of(self.input),
            output=of(self.output),
            input_parts=tuple((name, of(rate)) for name, rate in self.input_parts),
            output_parts=tuple((name, of(rate)) for name, rate in self.output_parts),
            cache_write_1h=None if self.cache_write_1h is None else of(self.cache_write_1h),
            hour=of(self.hour),
            request=of(self.request),
            image=of(self.image),
        )

    def tokens(self, usage: Usage) -> int:
        """The cost of the tokens, in millionths of nano-dollars.

        Parts that overlap, such as sound that was cached, are charged as both: the provider does not tell how much.
        """
        total, rest = 0, usage.input
        for name, rate in self.input_parts:
            count: int = getattr(usage, name)
            total += count * rate
            rest -= count
        if self.cache_write_1h is not None and usage.cache_write_1h:
            shorter = dict(self.input_parts).get("cache_write", self.input)
            total += usage.cache_write_1h * (self.cache_write_1h - shorter)
        if rest > 0:
            total += rest * self.input
        rest = usage.output
        for name, rate in self.output_parts:
            count = getattr(usage, name)
            total += count * rate
            rest -= count
        if rest > 0:
            total += rest * self.output
        return total

    def highest(self, modalities: Collection[str] | None) -> tuple[int, int]:
        """The highest rates of an input and an output token, where only these kinds of content besides text occur."""
        kinds = None if modalities is None else tuple(modalities)
        into = max(self.input, self.cache_write_1h or 0, _highest(self.input_parts, kinds))
        return into, max(self.output, _highest(self.output_parts, kinds))


@functools.lru_cache(maxsize=1024)
def _highest(parts: tuple[tuple[str, int], ...], modalities: tuple[str, ...] | None) -> int:
    """The highest rate of the parts that can occur; 0 if there are none. Every call asks for it, of few prices."""
    return max(
        (rate for name, rate in parts if modalities is None or _MODALITIES.get(name, "") in ("", *modalities)),
        default=0,
    )
