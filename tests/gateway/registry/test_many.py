"""A look at the whole registry takes time in proportion to it, and a count takes none to speak of."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from benchmarks.principals import fill
from gateway.identity.credentials import Peppers
from gateway.registry import inventory, queries
from tests.gateway.conftest import Home

AGENTS = 20_000


def seconds(call: Callable[[], object]) -> float:
    before = time.process_time()
    call()
    return time.process_time() - before


@pytest.mark.slow
def test_looking_at_many_agents(home: Home) -> None:
    """Comparing every binding with every agent would take minutes, and a gateway with that many would not start."""
    registry = home.registry

    def look() -> object:
        return inventory.take(registry, time.time_ns())

    fill(registry, Peppers.load(home.data.keys), AGENTS // 10)
    few = seconds(look)
    with registry.write() as session:
        session.connection().exec_driver_sql("UPDATE agent SET name = 'early-' || name")
    fill(registry, Peppers.load(home.data.keys), AGENTS - AGENTS // 10)
    found = inventory.take(registry, time.time_ns())
    assert found.tenants[0].agents.states == {"active": AGENTS}
    assert found.tenants[0].bound.bundles == {"support"}
    assert seconds(look) < 30 * few
    assert inventory.beginning(registry).agents == AGENTS
    assert seconds(lambda: inventory.beginning(registry)) < few / 2
    with registry.read() as session:
        assert list(queries.needed_bundles(session)) == ["support"]
        assert seconds(lambda: queries.needed_bundles(session)) < few
