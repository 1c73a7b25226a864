"""`/healthz` and `/readyz` over HTTP, with checks that a test chooses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import pytest

from gateway.errors import Denied
from gateway.http import health
from gateway.http.health import Check, Health


async def passes() -> bool:
    return True


async def fails() -> bool:
    return False


async def refuses() -> bool:
    raise Denied("registry_unavailable")


async def breaks() -> bool:
    raise RuntimeError("a defect")


async def hangs() -> bool:
    return await asyncio.get_running_loop().create_future()  # type: ignore[no-any-return]


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 418, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def asking(checks: Mapping[str, Check], test: Callable[[httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        transport = httpx.ASGITransport(app=Health(application, checks))
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
            await test(client)

    asyncio.run(main())


@pytest.mark.parametrize("check", [fails, refuses, breaks, hangs])
def test_an_answer_names_what_fails(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 0.1)

    async def test(client: httpx.AsyncClient) -> None:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "unavailable", "failing": ["log"]})
        assert (await client.head("/healthz")).status_code == 200
        alive = await client.get("/healthz")
        assert (alive.status_code, alive.json()) == (200, {"status": "ok"})

    asking({"registry": passes, "log": check}, test)


def test_everything_works() -> None:
    async def test(client: httpx.AsyncClient) -> None:
        ready = await client.get("/readyz")
        assert (ready.status_code, ready.json()) == (200, {"status": "ready"})
        # Neither path answers anything else, and no other path is theirs.
        assert (await client.post("/readyz")).status_code == 418
        assert (await client.get("/readyz/")).status_code == 418

    asking({"registry": passes}, test)


def test_asking_often_checks_no_more_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """The port may be open to anybody; a check can cost a commit."""
    monkeypatch.setattr(health, "FRESH_SECONDS", 60.0)  # longer than this takes on a busy machine
    checked = 0

    async def count() -> bool:
        nonlocal checked
        checked += 1
        await asyncio.sleep(0.01)
        return True

    async def test(client: httpx.AsyncClient) -> None:
        await asyncio.gather(*(client.get("/readyz") for _ in range(50)))
        await client.get("/readyz")

    asking({"log": count}, test)
    assert checked == 1
