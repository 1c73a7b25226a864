"""Thousands of raw requests against real processes: the provider sees what was judged, or nothing.

A *bypass* is a request that says something else to the provider, or to a lenient reader behind it, than the judged
input says. Every case is sent on a connection of its own; the log says what was judged (`rig.py`), and `reading.py` how
others would read what reached the provider.
"""

from __future__ import annotations

from collections import Counter

import pytest

from . import documents, framing, heads, members
from .rig import Rig
from .verdict import violations

# Thousands of cases.
pytestmark = pytest.mark.slow

CASES = [*framing.cases(), *heads.cases(), *members.cases(), *documents.cases()]


def test_notes_are_unique() -> None:
    assert [note for note, times in Counter(case.note for case in CASES).items() if times > 1] == []
    assert len(CASES) > 1700


def test_nothing_passes_that_was_not_judged(rig: Rig) -> None:
    processes = rig.children("data") + rig.children("control")
    played = rig.play(CASES)
    assert "\n".join(violations(rig, played)) == ""
    # Enough of them were forwarded, so that there was something to compare. On a busy machine some clients leave first.
    assert len(played.seen) > len(CASES) / 25
    # No process has fallen, and nothing was logged as a defect.
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
