"""The member `input.usage` of policies: of the last commit, of the database, and in windows that have ended."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from gateway.audit import storage
from gateway.audit.balance import MINUTE_NS, USED, VALUES, Balance
from gateway.audit.balances import Key
from gateway.data_directory import DataDirectory
from gateway.usage.standing import StandingBalances

MINUTE = 29_500_000  # 2026-02-02T06:40
KEY: Key = ("acme", "agent:agt_1")
# No two of them are equal, and one of money is no whole micro-dollar.
SHOWN = [MINUTE, 3, *range(1001, 1001 + len(VALUES) - 2)]
STORED = [MINUTE, 3, *range(5001, 5001 + len(VALUES) - 2)]


def document(values: list[int], minute: int) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {"requests": {}, "tokens": {}, "spend_microusd": {}}
    for name, amount in zip(USED, Balance(values).used(minute), strict=True):
        metric, _, window = name.rpartition("_")
        if metric == "spend_nanousd":
            found["spend_microusd"][window] = -(-amount // 1000)
        else:
            found[metric][window] = amount
    return found


@pytest.fixture
def log(tmp_path: Path) -> DataDirectory:
    data = DataDirectory(tmp_path / "data")
    data.create()
    storage.create(data)
    with storage.exclusive(data) as db:
        db.execute("INSERT INTO balance VALUES (?, ?, ?)", (*KEY, json.dumps(STORED)))
    return data


@pytest.mark.parametrize("later", [0, 1, 25, 1440, 44_640])
def test_the_usage_of_the_last_commit_in_this_window_and_in_later_ones(log: DataDirectory, later: int) -> None:
    standing = StandingBalances(log, lambda: {KEY: (SHOWN, time.monotonic())})
    now = MINUTE + later
    assert standing.usage(*KEY, now * MINUTE_NS + 1) == document(SHOWN, now)
    standing.close()


@pytest.mark.parametrize("shown", [{}, {KEY: (SHOWN, 0.0)}])
def test_what_is_older_than_a_second_is_read_again(
    log: DataDirectory, shown: dict[Key, tuple[list[int], float]]
) -> None:
    standing = StandingBalances(log, lambda: shown)
    assert standing.usage(*KEY, MINUTE * MINUTE_NS) == document(STORED, MINUTE)
    assert standing.usage("acme", "agent:agt_2", MINUTE * MINUTE_NS) == document([0] * len(VALUES), MINUTE)
    standing.close()
