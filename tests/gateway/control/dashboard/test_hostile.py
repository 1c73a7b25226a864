"""Every page of a gateway that is full of hostile texts, in a real browser: nothing runs, and nothing is out of place."""

from __future__ import annotations

import pytest

from tests.gateway.control.dashboard import hostile_things
from tests.gateway.control.dashboard.conftest import Served
from tests.gateway.control.dashboard.test_pages import Things, both

__all__ = ["both"]

@pytest.mark.slow
def test_fill(served: Served, both: dict[str, Things]) -> None:
    kept = hostile_things.fill(served)
    for name in kept.taken.keys() | kept.refused.keys():
        print(name, dict(kept.taken.get(name, {})), kept.refused.get(name, {}).total() if name in kept.refused else 0)
