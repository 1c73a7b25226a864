"""Memory and descriptors of a gateway's processes, sampled over a long run, and whether they grew."""

from __future__ import annotations

import os
import re
import statistics
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

MOST_GROWTH = 0.05
# Connections come and go, so descriptors are flat if they differ by no more than a few of a few hundred.
_SPARE_DESCRIPTORS = 8
_ROLLUP = re.compile(r"^(Rss|Pss|Pss_Anon): +(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment; sizes are bytes."""

    seconds: float
    rss: int
    pss: int
    private: int  # the share of it that is no file: heap, stacks
    descriptors: int


def take(process: int, seconds: float) -> Sample:
    """Measure a process of this user; `OSError` if it has ended."""
    sizes = {
        name: int(size) * 1024 for name, size in _ROLLUP.findall(Path(f"/proc/{process}/smaps_rollup").read_text())
    }
    return Sample(seconds, sizes["Rss"], sizes["Pss"], sizes["Pss_Anon"], len(os.listdir(f"/proc/{process}/fd")))


@dataclass(frozen=True, slots=True)
class Growth:
    """Medians of two windows: after the warm-up, and before the end."""

    rss: tuple[float, float]
    private: tuple[float, float]
    descriptors: tuple[float, float]
    highest_rss: int
    highest_descriptors: int

    @property
    def violations(self) -> list[str]:
        found = []
        for name, (before, after) in (("RSS", self.rss), ("private memory", self.private)):
            if after > before * (1 + MOST_GROWTH):
                found.append(f"{name} grew by {after / before - 1:.1%}")
        before, after = self.descriptors
        if after > before * (1 + MOST_GROWTH) + _SPARE_DESCRIPTORS:
            found.append(f"descriptors grew from {before:.0f} to {after:.0f}")
        return found


class Samples:
    """The samples of all processes, by what they are, such as `data 1`."""

    def __init__(self) -> None:
        self._of: dict[str, list[Sample]] = defaultdict(list)

    def add(self, name: str, sample: Sample) -> None:
        self._of[name].append(sample)

    def growth(self, warm: float, window: float, end: float) -> dict[str, Growth]:
        """The growth of each process from the `window` after `warm` to the one before `end`; all in seconds."""
        return {name: _growth(samples, warm, window, end) for name, samples in self._of.items()}

    def together(self, kind: str, warm: float, window: float, end: float) -> Growth:
        """The same of all processes of one kind together: connections spread over them by chance."""
        rounds: dict[float, list[Sample]] = defaultdict(list)
        for name, samples in self._of.items():
            if name.partition(" ")[0] == kind:
                for each in samples:
                    rounds[each.seconds].append(each)
        sums = [
            Sample(
                seconds,
                sum(each.rss for each in samples),
                sum(each.pss for each in samples),
                sum(each.private for each in samples),
                sum(each.descriptors for each in samples),
            )
            for seconds, samples in rounds.items()
        ]
        return _growth(sums, warm, window, end)

    def write(self, path: Path) -> None:
        """All samples as a table of tab-separated values."""
        lines = ["process\tseconds\trss\tpss\tprivate\tdescriptors"]
        for name, samples in sorted(self._of.items()):
            lines.extend(
                f"{name}\t{each.seconds:.0f}\t{each.rss}\t{each.pss}\t{each.private}\t{each.descriptors}"
                for each in samples
            )
        path.write_text("\n".join(lines) + "\n")


def _growth(samples: list[Sample], warm: float, window: float, end: float) -> Growth:
    first = [each for each in samples if warm <= each.seconds <= warm + window]
    last = [each for each in samples if end - window <= each.seconds <= end]
    return Growth(
        rss=_medians(first, last, "rss"),
        private=_medians(first, last, "private"),
        descriptors=_medians(first, last, "descriptors"),
        highest_rss=max(each.rss for each in samples),
        highest_descriptors=max(each.descriptors for each in samples),
    )


def _medians(first: list[Sample], last: list[Sample], field: str) -> tuple[float, float]:
    before = statistics.median(getattr(each, field) for each in first)
    after = statistics.median(getattr(each, field) for each in last)
    return before, after
