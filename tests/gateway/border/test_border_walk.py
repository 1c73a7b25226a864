"""Two real gateways, of which either is killed while agents call across the border."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.gateway.border.__main__ import Walk


@pytest.mark.slow
def test_every_half_matches_whatever_is_killed(tmp_path: Path) -> None:
    walk = Walk(tmp_path, 3, 100)
    old = tmp_path / "old.db"
    try:
        found = walk.run(20, 7, lambda _: None)
        shutil.copyfile(walk.abroad.data / "audit.db", old)
        walk.match(old)
        walk.run(5, 8, lambda _: None)
        # A log that was set back, whatever its owner says: the other company has kept newer checkpoints of it.
        walk.match(old, code=1)
    finally:
        walk.close()
    assert found["wrong"] == []
    assert found["match"]["pairs"] > 0
    assert found["match"]["checkpoints"] > 0
    assert 0 < found["seen"]["ok"] <= found["ran"] <= 100
    assert found["seen"]["callee_refused"] > 0
