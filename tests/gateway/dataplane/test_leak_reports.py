"""`POST /leaked-keys`: a posted key revokes itself, and nobody learns which keys exist."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import closing
from typing import Any

import orjson
import pytest

from gateway.dataplane import leak_reports
from gateway.dataplane.leak_reports import MAX_BYTES, PER_MINUTE, LeakReports
from gateway.identity import credentials
from gateway.processes.key_duties import KeyDuties
from gateway.registry import queries
from gateway.registry.reader import RegistryReader
from gateway.runtime import leaks
from gateway.runtime.store import RuntimeStore
from tests.gateway.conftest import ORG, Home
from tests.rigs.dataplane.key_uses import duties

NOBODYS = credentials.generate("agent").text


async def not_found(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class Finder:
    """Somebody outside who posts what they have found."""

    def __init__(self, app: LeakReports) -> None:
        self._app = app

    async def post(
        self, *pieces: bytes, peer: str = "192.0.2.1", method: str = "POST", path: str = "/leaked-keys"
    ) -> tuple[int, bytes]:
        sent: list[dict[str, Any]] = []
        messages = [
            {"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces
        ] or [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> dict[str, Any]:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app({"type": "http", "method": method, "path": path, "client": (peer, 1)}, receive, send)
        return sent[0]["status"], sent[1]["body"]


def with_reports(home: Home, test: Callable[[Finder, LeakReports], Any]) -> None:
    reader = RegistryReader(home.data.registry_db)
    app = LeakReports(not_found, reader, home.peppers, RuntimeStore(home.data.runtime_db))

    async def run() -> None:
        looking = asyncio.create_task(app.run())
        try:
            await test(Finder(app), app)
            while not app.idle:  # noqa: ASYNC110  # another task brings it about
                await asyncio.sleep(0.01)
        finally:
            looking.cancel()

    try:
        asyncio.run(run())
    finally:
        reader.close()


def states(home: Home, keeping: KeyDuties) -> list[str]:
    keeping.revoke_reported()
    return [each.status(1 << 62) for each in queries.keys(home.registry, ORG)]


def test_a_posted_key_revokes_itself_and_no_other(home: Home) -> None:
    home.agent()
    leaked, safe = home.key(), home.key()
    half = leaked[:40]
    answers: list[tuple[int, bytes]] = []

    async def test(finder: Finder, app: LeakReports) -> None:
        # The answer to a real key is that to any other text; a key in two pieces of the body is a whole one.
        posts = ((b"nothing",), (NOBODYS.encode(),), (safe[:19].encode(), half.encode()))
        answers.extend([await finder.post(*pieces) for pieces in posts])
        report = orjson.dumps([{"token": leaked, "type": "agent_key", "url": "https://example.com/x"}])
        answers.append(await finder.post(report[:50], report[50:]))

    with_reports(home, test)
    assert set(answers) == {(202, b'{"status":"received"}')}
    keeping = duties(home)
    assert states(home, keeping) == ["revoked", "active"]
    keeping._writer.close()
    assert leaks.waiting(home.data.runtime_db) == []


def test_a_secret_of_another_key_revokes_nothing(home: Home) -> None:
    home.agent()
    one, other = home.key(), home.key()
    mixed = one[:20] + other[20:-6]
    mixed += credentials._check_digits(mixed.encode())

    async def test(finder: Finder, app: LeakReports) -> None:
        assert (await finder.post(mixed.encode()))[0] == 202

    with_reports(home, test)
    keeping = duties(home)
    assert states(home, keeping) == ["active", "active"]
    keeping._writer.close()


def test_reports_are_few_and_small(home: Home) -> None:
    async def test(finder: Finder, app: LeakReports) -> None:
        statuses = [(await finder.post(b"x"))[0] for _ in range(PER_MINUTE + 3)]
        assert statuses[:PER_MINUTE] == [202] * PER_MINUTE
        assert statuses[-1] == 429
        assert (await finder.post(b"x", peer="192.0.2.2"))[0] == 202
        assert (await finder.post(b"x" * (MAX_BYTES + 1), peer="192.0.2.3"))[0] == 413
        assert (await finder.post(b"", peer="192.0.2.3", method="GET"))[0] == 405
        assert (await finder.post(b"", path="/leaked-keys/", peer="192.0.2.3"))[0] == 404
        others = [(await finder.post(b"x", peer=f"2001:db8::{number:x}"))[0] for number in range(30)]
        assert others.count(202) == PER_MINUTE, "addresses of one network of IPv6 are one"
        others = [(await finder.post(b"x", peer=f"198.51.100.{number}"))[0] for number in range(200)]
        assert set(others) == {202}, "many senders keep nobody out"

    with_reports(home, test)


MANY = " ".join(credentials.generate("agent").text for _ in range(leak_reports.MAX_KEYS)).encode()


def test_a_report_that_is_not_kept_is_refused(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One address takes its share of the room; others still have some. Every received text is looked at."""
    monkeypatch.setattr(leak_reports, "_WAITING", 4 * leak_reports.MAX_KEYS)
    home.agent()
    leaked = home.key().encode()

    async def test(app: LeakReports) -> None:
        finder = Finder(app)  # nothing is looked at yet
        assert [(await finder.post(MANY))[0] for _ in range(4)] == [202, 202, 503, 503]
        assert (await finder.post(leaked, peer="192.0.2.2"))[0] == 202
        status, text = await finder.post(leaked + b" " + MANY, peer="192.0.2.3")
        assert (status, b"first 50 keys were received" in text) == (413, True)
        looking = asyncio.create_task(app.run())
        while not app.idle:  # noqa: ASYNC110  # another task brings it about
            await asyncio.sleep(0.01)
        assert (await finder.post(MANY))[0] == 202
        looking.cancel()

    with closing(RegistryReader(home.data.registry_db)) as reader:
        asyncio.run(test(LeakReports(not_found, reader, home.peppers, RuntimeStore(home.data.runtime_db))))
    assert len(leaks.waiting(home.data.runtime_db)) == 1


def test_a_key_that_cannot_be_looked_at_is_not_lost(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file of reports cannot be opened when the key comes."""
    monkeypatch.setattr(leak_reports, "AGAIN_SECONDS", 0.01)
    home.agent()
    leaked = home.key().encode()
    runtime = home.data.runtime_db
    runtime.mkdir()  # no file can be there

    async def test(finder: Finder, app: LeakReports) -> None:
        assert (await finder.post(leaked))[0] == 202
        await asyncio.sleep(0.1)
        assert not app.idle
        runtime.rmdir()

    with_reports(home, test)
    assert len(leaks.waiting(runtime)) == 1
