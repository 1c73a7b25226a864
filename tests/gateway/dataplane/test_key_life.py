"""Keys of a real gateway: rotated under load, seen in use, posted by a finder, moved to another pepper."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.gateway.dataplane.processes import Live
from tests.gateway.dataplane.rotation import BUNDLE, register, rotate_under_load
from tests.rigs.dataplane.key_life import until

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    found = Live(tmp_path_factory.mktemp("keys"))
    try:
        found.start("--workers", "2")
        yield found
    finally:
        found.close()


def new_agent(live: Live, name: str) -> str:
    """Register an agent that may ask; returns its key."""
    live.run("agents", "register", name)
    live.run("bind", name, BUNDLE)
    return live.run("keys", "create", name).strip()


def keys(live: Live, agent: str) -> list[dict[str, Any]]:
    found = json.loads(live.run("keys", "list", agent, "--json"))
    assert isinstance(found, list)
    return found


def reports(live: Live) -> list[dict[str, Any]]:
    """The entries of keys that were posted."""
    lines = live.run("audit", "list", "--kind", "change", "--json").splitlines()
    return [entry for line in lines if (entry := json.loads(line)["entry"]).get("reason") == "leaked"]


def test_no_request_fails_while_keys_are_rotated(live: Live) -> None:
    load = asyncio.run(rotate_under_load(live, register(live, 4)))
    assert set(load.statuses) == {200}
    assert load.statuses.total() > 4 * 12


def test_a_last_use_is_seen(live: Live) -> None:
    key = new_agent(live, "user")
    assert [each["last_used"] for each in keys(live, "user")] == [None]
    models = httpx.get(f"{live.base_url}/models", headers={"Authorization": f"Bearer {key}"}, timeout=300)
    assert models.status_code == 200
    until(lambda: keys(live, "user")[0]["last_used"])


def test_a_posted_key_is_refused_soon(live: Live) -> None:
    key = new_agent(live, "leaker")
    headers = {"Authorization": f"Bearer {key}"}

    def status() -> int:
        return httpx.get(f"{live.base_url}/models", headers=headers, timeout=300).status_code

    assert status() == 200
    place = live.base_url.removesuffix("/v1") + "/leaked-keys"
    answer = httpx.post(place, content=f"found in a repository: KEY={key}\n", timeout=300)
    assert (answer.status_code, answer.json()) == (202, {"status": "received"})
    until(lambda: status() == 401)
    assert [each["status"] for each in keys(live, "leaker")] == ["revoked"]
    until(lambda: reports(live))
    assert [each["reported_from"] for each in reports(live)] == ["127.0.0.1"]


def test_hashes_move_to_a_new_pepper_while_keys_are_used(live: Live) -> None:
    key = new_agent(live, "mover")
    live.run("keys", "add-pepper")
    headers = {"Authorization": f"Bearer {key}"}

    def moved() -> bool:
        """Use the key, and look whether its hash has moved."""
        assert httpx.get(f"{live.base_url}/models", headers=headers, timeout=300).status_code == 200
        return any(each["newest"] and each["keys"] for each in json.loads(live.run("keys", "peppers", "--json")))

    until(moved)
    assert httpx.get(f"{live.base_url}/models", headers=headers, timeout=300).status_code == 200
