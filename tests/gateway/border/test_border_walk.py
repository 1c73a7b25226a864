"""Two real gateways, of which either is killed while agents call across the border."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gateway.border.__main__ import Walk


@pytest.mark.slow
def test_every_half_matches_whatever_is_killed(tmp_path: Path) -> None:
    walk = Walk(tmp_path, 3, 100)
    try:
        found = walk.run(20, 7, lambda _: None)
    finally:
        walk.close()
    assert found["wrong"] == []
    assert found["match"]["pairs"] > 0
    assert 0 < found["seen"]["ok"] <= found["ran"] <= 100
    assert found["seen"]["callee_refused"] > 0
