"""`POST /leaked-keys`: whoever finds a key posts it, and it is revoked. Nobody has to log in: the key is the proof.

It is on the data plane's listener, because those who find keys are outside. The body is any text with keys in it, such
as a line of a file or the report of a scanner. The answer is always the same and tells nothing about which keys exist;
the keys are looked at after it was sent. One that is whole and real is handed over (`runtime/leaks.py`), and the
control process revokes it within a second or two. A report that was answered with "received" is looked at, also when
the registry fails for a while; one that cannot be kept until then is refused, so that the sender posts it again.
Reports are few from one address, and the room for keys that wait is shared by addresses, so no sender keeps another's
out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final

import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.errors import GatewayError
from gateway.identity import credentials
from gateway.identity.credentials import Credential, Peppers
from gateway.identity.principals import CredentialSource
from gateway.pace import Pace, Rate
from gateway.runtime import leaks
from gateway.runtime.store import RuntimeStore
from gateway.shares import NoShareError, Shares, address_of

logger = logging.getLogger("gateway.dataplane.leak_reports")

PATH: Final = "/leaked-keys"
MAX_BYTES: Final = 64 * 1024
MAX_KEYS: Final = 50
"""Keys that are looked for in one report."""
PER_MINUTE: Final = 12
"""Reports from one address."""
AGAIN_SECONDS: Final = 1.0
"""A key that could not be looked at is looked at again after this time."""

_FINISH_SECONDS: Final = 3.0
_WAITING: Final = 2000  # keys that wait to be looked at
_READING: Final = 64  # reports that are coming in
_RECEIVED: Final = {"status": "received"}


class LeakReports:
    """The ASGI application in front of the data plane. Owned by the event loop's thread."""

    def __init__(self, app: ASGIApp, source: CredentialSource, peppers: Peppers, store: RuntimeStore) -> None:
        self._app = app
        self._source = source
        self._peppers = peppers
        self._store = store
        self._queue: asyncio.Queue[tuple[Credential, str]] = asyncio.Queue()
        self._pace = Pace({"address": Rate(PER_MINUTE, PER_MINUTE / 60)})
        self._waiting = Shares("reported keys", _WAITING)
        self._reading = Shares("reports", _READING)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return self._report(scope, receive, send) if scope["path"] == PATH else self._app(scope, receive, send)

    async def _report(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST":
            await _answer(send, 405, {"status": "post the text that has the key in it"}, (b"allow", b"POST"))
        else:
            peer = str(scope["client"][0]) if scope["client"] else ""
            await self._take(receive, send, peer)

    async def _take(self, receive: Receive, send: Send, peer: str) -> None:
        holder = address_of(peer)
        if not self._pace.has_room(holder):
            await _answer(send, 429, {"status": "too many reports"}, (b"retry-after", b"60"))
            return
        self._pace.spend(holder)
        try:
            with self._reading.hold(holder):
                text = await _text(receive)
        except NoShareError:
            await _busy(send)
            return
        if text is None:
            return  # the client has gone
        if len(text) > MAX_BYTES:
            await _answer(send, 413, {"status": f"a report has at most {MAX_BYTES} bytes"})
            return
        found = credentials.found_in(text)
        taken = found[:MAX_KEYS]
        try:
            self._waiting.take(holder, amount=len(taken))
        except NoShareError:
            await _busy(send)
            return
        for each in taken:
            self._queue.put_nowait((each, peer))
        if len(found) > MAX_KEYS:
            await _answer(send, 413, {"status": f"the first {MAX_KEYS} keys were received: post the rest by itself"})
        else:
            await _answer(send, 202, _RECEIVED)

    @property
    def idle(self) -> bool:
        """All keys that were reported were looked at."""
        return self._waiting.taken == 0

    async def run(self) -> None:
        """Look at reported keys, until cancelled."""
        complaint = ""
        while True:
            credential, peer = await self._queue.get()
            while True:
                try:
                    if await self._real(credential):
                        await self._store.note(leaks.report, self._store, credential.id, peer)
                    complaint = ""
                    break
                except GatewayError as error:
                    if str(error) != complaint:
                        logger.error("a reported key (%s) cannot be looked at yet: %s", credential.id, error)
                    complaint = str(error)
                    await asyncio.sleep(AGAIN_SECONDS)
            self._waiting.give_back(address_of(peer))

    async def finish(self) -> None:
        """Wait until all are looked at, for a while: this worker ends, and what it has received is nowhere else."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_FINISH_SECONDS):
                while not self.idle:  # noqa: ASYNC110  # it takes a few milliseconds
                    await asyncio.sleep(0.01)

    async def _real(self, credential: Credential) -> bool:
        """True if this is the whole text of a key that is not revoked yet."""
        row = await self._source.credential(credential.id) if credential.kind == "agent" else None
        pepper = self._peppers.get(row.pepper) if row is not None else None
        if row is None or pepper is None:
            return False
        return credentials.matches(credential, row.digest, pepper) and row.revoked_ns is None


async def _text(receive: Receive) -> bytes | None:
    """The report, or the beginning of one that is too long; None if the client has gone."""
    text = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return None
        text += message.get("body", b"")
        if len(text) > MAX_BYTES or not message.get("more_body", False):
            return bytes(text)


async def _busy(send: Send) -> None:
    """Nothing of the report was kept, so the sender must post it again."""
    await _answer(send, 503, {"status": "post it again: too many reports wait"}, (b"retry-after", b"5"))


async def _answer(send: Send, status: int, document: object, *more: tuple[bytes, bytes]) -> None:
    body = orjson.dumps(document)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
