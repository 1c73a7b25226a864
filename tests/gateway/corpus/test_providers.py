"""Thousands of raw requests to the routes of every provider: each of them sees what was judged, or nothing."""

from __future__ import annotations

from collections import Counter

import pytest

from . import provider_members, routes
from .rig import Rig
from .verdict import violations

# Thousands of cases.
pytestmark = pytest.mark.slow

CASES = [*routes.cases(), *provider_members.cases()]


def test_notes_are_unique() -> None:
    assert [note for note, times in Counter(case.note for case in CASES).items() if times > 1] == []
    assert len(CASES) > 500


def test_no_provider_is_asked_for_what_was_not_judged(rig: Rig) -> None:
    processes = rig.children("data") + rig.children("control")
    played = rig.play(CASES)
    assert "\n".join(violations(rig, played)) == ""
    # Every route was reached, so that there was something to compare.
    reached = {(each.line.partition(b" ")[0], each.target[0].split(b"/")[2]) for each in played.seen}
    assert len(reached) > 10
    assert len(played.seen) > len(CASES) / 40
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
