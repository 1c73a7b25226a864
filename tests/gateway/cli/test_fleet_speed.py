"""The cost of registering many agents, in units of bare rows of SQLite in the same run (`benchmarks/fleet.py`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import fleet

AGENTS = 5_000
MOST = 18.0
"""About 11 when this was written, and 25 before each agent was a plain row that is looked at once."""


@pytest.mark.slow
def test_registering_many_agents_costs_little_more_than_their_rows(tmp_path: Path) -> None:
    """Of processor time, without a command's start: by file, three rows for each agent and its entry in the log."""
    ratios = []
    for attempt in range(3):  # other work on the machine disturbs one time or the other
        place = tmp_path / str(attempt)
        place.mkdir()
        fleet.gateway(place, "init")
        (place / "one.yaml").write_text("v: 1\nagents:\n" + fleet.agent(0))
        (place / "many.yaml").write_text("v: 1\nagents:\n" + "".join(map(fleet.agent, range(AGENTS))))
        _, start = fleet.gateway(place, "apply", "-f", "one.yaml")
        _, many = fleet.gateway(place, "apply", "-f", "many.yaml")
        _, bare = fleet.insert(place / "bare.db", 3 * AGENTS)
        ratios.append((many - start) / bare)
        if ratios[-1] < MOST:
            return
    pytest.fail(f"it costs {min(ratios):.1f} times the bare rows")
