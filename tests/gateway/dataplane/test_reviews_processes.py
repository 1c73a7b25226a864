"""An agent that nobody confirms, in a running gateway with two workers: refused on time, and recorded once."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest

from .processes import Live

pytestmark = pytest.mark.slow

BODY: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture
def live(tmp_path: Path) -> Iterator[Live]:
    found = Live(tmp_path)
    try:
        found.start("--workers", "2")
        yield found
    finally:
        found.close()


def ask(live: Live) -> tuple[int, str]:
    """Over a connection of its own, so that each worker gets some."""
    headers = {"authorization": f"Bearer {live.key}"}
    reply = httpx.post(f"{live.base_url}/chat/completions", json=BODY, headers=headers, timeout=300)
    return reply.status_code, reply.text


def let_end(live: Live, ends_ns: int) -> None:
    """As if the agent had been registered so long ago."""
    with closing(sqlite3.connect(live.data / "registry.db", timeout=60)) as db, db:
        db.execute("UPDATE agent SET created_ns = ?", (ends_ns - 104 * 86_400 * 10**9,))


def entries(live: Live) -> list[dict[str, Any]]:
    return [each for each in live.entries() if each.get("what") == "agent.suspended"]


def test_it_is_refused_on_time_and_recorded_once(live: Live) -> None:
    live.run("orgs", "update", "default", "--review-days", "90", "--suspend-after", "14d")
    let_end(live, time.time_ns() + 3600 * 10**9)
    assert "agent `bot` will be suspended on " in live.run("status", code=1)
    assert ask(live)[0] == 200
    ends_ns = time.time_ns() + 3 * 10**9
    let_end(live, ends_ns)
    after = 0
    while after < 40:
        begun_ns = time.time_ns()
        status, text = ask(live)
        if begun_ns >= ends_ns:
            assert status == 403
            assert "agent_suspended" in text
            assert "nobody has confirmed it in time" in text
            after += 1
        elif time.time_ns() < ends_ns:
            assert status == 200
    give_up = time.monotonic() + 120
    while not (found := entries(live)) and time.monotonic() < give_up:
        assert ask(live)[0] == 403
        time.sleep(0.1)
    live.run("agents", "review", "bot", "--reason", "still wanted")
    assert ask(live)[0] == 403
    live.run("agents", "resume", "bot")
    assert ask(live)[0] == 200
    live.stop()
    live.start("--workers", "2")
    assert ask(live)[0] == 200
    assert entries(live) == found
    (entry,) = found
    assert (entry["actor"], entry["agent_name"]) == ("gateway:review", "bot")
    shown = live.run("agents", "history", "bot")
    assert "gateway:review" in shown
    assert "still wanted" in shown
