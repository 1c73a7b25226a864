"""Every page over a gateway with 200 agents and 100,000 entries; `large.py` does the same over far more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.control.dashboard import filled
from tests.gateway.control.dashboard.visits import BAR_MS, costs

COMPILES = "decisions/{decision}/again"
"""It compiles the policies of another revision, which takes its time whatever the size of the gateway."""


@pytest.mark.slow
def test_each_page_takes_little_of_the_servers_time(tmp_path: Path) -> None:
    data = filled.create(tmp_path / "gateway", 200, 100_000)
    found = costs(data)
    assert len(found) > 70
    assert [each for each in found if each.status != 200] == []
    assert [each for each in found if each.ms > BAR_MS and each.page != COMPILES] == []
