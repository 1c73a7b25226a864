"""`POST /leaked-keys`: whoever finds a key posts it, and it is revoked. Nobody has to log in: the key is the proof.

It is on the data plane's listener, because those who find keys are outside. The body is any text with keys in it, such
as a line of a file or the report of a scanner. The answer is always the same and tells nothing about which keys exist;
the keys are looked at after it was sent. One that is whole and real is handed over in `runtime.db`, and the control
process revokes it within a second or two. Reports are few: more than a dozen a minute from one address are refused.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Awaitable, Collection
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import Denied
from gateway.identity import credentials
from gateway.identity.api_keys import KeySource
from gateway.identity.credentials import Credential, Peppers
from gateway.storage import database_files

logger = logging.getLogger("gateway.identity.keys")

PATH: Final = "/leaked-keys"
MAX_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 50
"""Keys that are looked for in one report."""
PER_MINUTE: Final = 12
"""Reports from one address, and ten times as many from all."""

_WAITING: Final = 1000  # keys that wait to be looked at
_ADDRESSES: Final = 4096
_RECEIVED: Final = {"status": "received"}

_TABLE: Final = """
CREATE TABLE IF NOT EXISTS leak_report (credential TEXT PRIMARY KEY, peer TEXT NOT NULL, time_ns INTEGER NOT NULL)
STRICT, WITHOUT ROWID
"""


class LeakReports:
    """The ASGI application in front of the data plane. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, source: KeySource, peppers: Peppers, runtime: Path) -> None:
        self._app = app
        self._source = source
        self._peppers = peppers
        self._runtime = runtime
        self._queue: asyncio.Queue[tuple[Credential, str]] = asyncio.Queue(_WAITING)
        self._rates: OrderedDict[str, _Rate] = OrderedDict()
        self._all = _Rate(10 * PER_MINUTE)
        self._looking = 0

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._report(scope, receive, send) if scope["path"] == PATH else self._app(scope, receive, send)

    async def _report(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _answer(send, 405, {"status": "post the text that has the key in it"}, (b"allow", b"POST"))
        else:
            peer = str(scope["client"][0]) if scope["client"] else ""
            await self._take(receive, send, peer)

    async def _take(self, receive: Receive, send: Send, peer: str) -> None:
        now = time.monotonic()
        if not self._rate(peer).allows(now) or not self._all.allows(now):
            await _answer(send, 429, {"status": "too many reports"}, (b"retry-after", b"60"))
            return
        text = b""
        more = True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                return  # the client has gone
            text, more = text + message.get("body", b""), message.get("more_body", False)
            if len(text) > MAX_BYTES:
                await _answer(send, 413, {"status": f"a report has at most {MAX_BYTES} bytes"})
                return
        with suppress(asyncio.QueueFull):
            for each in credentials.found_in(text)[:MAX_KEYS]:
                self._queue.put_nowait((each, peer))
                self._looking += 1
        await _answer(send, 202, _RECEIVED)

    def _rate(self, peer: str) -> _Rate:
        rate = self._rates.setdefault(peer, _Rate(PER_MINUTE))
        self._rates.move_to_end(peer)
        if len(self._rates) > _ADDRESSES:
            self._rates.popitem(last=False)
        return rate

    @property
    def idle(self) -> bool:
        """All keys that were reported were looked at."""
        return self._looking == 0

    async def run(self) -> None:
        """Look at reported keys, until cancelled."""
        while True:
            credential, peer = await self._queue.get()
            try:
                if await self._real(credential):
                    await asyncio.to_thread(_report, self._runtime, credential.id, peer)
            except (Denied, sqlite3.Error, OSError) as error:
                logger.error("a reported key (%s) could not be looked at: %s", credential.id, error)
            self._looking -= 1

    async def _real(self, credential: Credential) -> bool:
        """Whether this is the whole text of a key that is not revoked yet."""
        row = await self._source.credential(credential.id) if credential.kind == "agent" else None
        pepper = self._peppers.get(row.pepper) if row is not None else None
        if row is None or pepper is None:
            return False
        return credentials.matches(credential, row.digest, pepper) and row.revoked_ns is None


class _Rate:
    """A bucket of reports that fills evenly."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._left = float(per_minute)
        self._since = time.monotonic()

    def allows(self, now: float) -> bool:
        self._left = min(self._per_minute, self._left + (now - self._since) * self._per_minute / 60)
        self._since = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def waiting(runtime: Path) -> list[tuple[str, str]]:
    """The public ids of keys that were reported and are real, each with the address that reported it."""
    if runtime.exists():
        with suppress(sqlite3.Error), closing(_opened(runtime, "ro")) as db:  # nothing was ever reported
            return list(db.execute("SELECT credential, peer FROM leak_report ORDER BY time_ns LIMIT 100"))
    return []


def forget(runtime: Path, done: Collection[str]) -> None:
    with closing(_opened(runtime, "rw")) as db, db:
        db.executemany("DELETE FROM leak_report WHERE credential = ?", [(each,) for each in done])


def _report(runtime: Path, credential: str, peer: str) -> None:
    with suppress(FileExistsError):
        database_files.create(runtime)
    with closing(_opened(runtime, "rw")) as db, db:
        db.execute(_TABLE)
        db.execute("INSERT OR IGNORE INTO leak_report VALUES (?, ?, ?)", (credential, peer, time.time_ns()))


def _opened(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=1.0)


async def _answer(send: Send, status: int, document: object, *more: tuple[bytes, bytes]) -> None:
    body = orjson.dumps(document)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
