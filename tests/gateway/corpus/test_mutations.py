"""Thousands of good requests that were damaged at random: the provider sees what was judged, or nothing.

`MUTATIONS` and `MUTATIONS_SEED` give more cases, and others.
"""

from __future__ import annotations

import os

import pytest

from . import mutations
from .rig import Rig
from .verdict import violations

# Thousands of cases.
pytestmark = pytest.mark.slow


def test_nothing_damaged_passes_that_was_not_judged(rig: Rig) -> None:
    count, seed = int(os.environ.get("MUTATIONS", "3000")), int(os.environ.get("MUTATIONS_SEED", "1"))
    processes = rig.children("data") + rig.children("control")
    played = rig.play(mutations.cases(count, seed))
    assert "\n".join(violations(rig, played)) == ""
    # Enough of them were forwarded, so that there was something to compare.
    assert len(played.seen) > count / 50
    assert rig.children("data") + rig.children("control") == processes
    assert rig.up is not None
    assert "Traceback" not in rig.up.text
