"""The sessions of one worker with older MCP servers, for clients of revision 2026-07-28, which have none.

Each principal has one of its own with each server, and one for each on whose behalf it acts: what a server keeps of a
session is nobody else's. It is begun with the first call, begun anew when the server has forgotten it, and ended when
it was not used for a while, when the server's place or key has changed, and when the worker stops. In it the gateway
says that its client can be asked nothing; if the server asks all the same, the gateway itself answers so.
Specification: modelcontextprotocol.io, revision 2025-11-25, "Lifecycle" and "Transports".
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from contextlib import suppress
from typing import Any, Final

from gateway.errors import Denied
from gateway.mcp import eras
from gateway.outbound.client import Outgoing, UpstreamClient
from gateway.outbound.connection import Answer, UpstreamAnswer
from gateway.upstream.mcp_conversation import Conversation, RefusedError, Server
from gateway.upstream.translating import Beside, Link, Translation, answered

logger = logging.getLogger("gateway.upstream.mcp_sessions")

MOST: Final = 1000
"""Sessions of one worker; one that was used least recently makes room."""
IDLE_SECONDS: Final = 600.0
"""A session that was not used for so long is ended."""

_BESIDE_SECONDS: Final = 10.0
_CLOSE_SECONDS: Final = 3.0
_MAX_PEEKED: Final = 64 * 1024
# Servers made after a widely copied example answer so where the specification wants a 404.
_NO_SESSION: Final = re.compile(rb"session|not initialized", re.IGNORECASE)


class _Held(Beside):
    """One session. Its lock is for whoever begins it; the last of its calls ends one that is over."""

    def __init__(self, server: Server, run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
        self.server = server
        self.lock = asyncio.Lock()
        self.conversation: Conversation | None = None
        self._run = run
        self._over = False
        self._calls = 0
        self._used = time.monotonic()

    @property
    def idle(self) -> float:
        """The seconds since it was used; 0 while it is."""
        return 0.0 if self._calls else time.monotonic() - self._used

    def enter(self) -> None:
        """A call begins."""
        self._calls += 1

    def done(self) -> None:
        self._calls -= 1
        self._used = time.monotonic()
        if self._over and not self._calls:
            self.end()

    def tell(self, message: dict[str, Any]) -> None:
        if self.conversation is not None:
            self._run(self.conversation.tell(message))

    def end(self) -> None:
        """End it, once none of its calls is left."""
        self._over = True
        if not self._calls and self.conversation is not None:
            self._run(self.conversation.end())
            self.conversation = None

    @property
    def begun(self) -> dict[str, Any]:
        return {} if self.conversation is None else self.conversation.begun

    def number(self) -> int:
        assert self.conversation is not None
        self.conversation.asked += 1
        return self.conversation.asked

    def headers(self) -> dict[str, str]:
        assert self.conversation is not None
        found = {"mcp-protocol-version": self.conversation.protocol}
        if self.conversation.session:
            found["mcp-session-id"] = self.conversation.session
        return found


class Sessions:
    """Used from the worker's event loop only."""

    def __init__(self, client: UpstreamClient) -> None:
        self._client = client
        self._held: OrderedDict[Hashable, _Held] = OrderedDict()
        self._beside: set[asyncio.Task[None]] = set()

    async def send(
        self, whose: Hashable, server: Server, translation: Translation, request: Outgoing, link: Link
    ) -> Answer:
        """The answer to a call in a session of `whose` with this server."""
        for last in (False, True):
            held = self._of(whose, server)
            held.enter()
            try:
                await self._begin(held)
                answer = translation.begun(held) or await self._ask(held, translation, request, link, last=last)
            except RefusedError as error:
                answer = translation.not_begun(error.status, str(error))
            except ValueError as error:
                raise Denied("upstream_error", f"the server begins no session: {error}") from None
            finally:
                held.done()
            if answer is not None:
                return answer
            if self._held.get(whose) is held:  # another call may have begun a new one
                del self._held[whose]
        raise AssertionError("the last try has an answer")

    async def close(self) -> None:
        """End all sessions, in little time: a server that does not hear of it ends them by itself."""
        held = [*self._held.values()]
        self._held.clear()
        for each in held:
            each.end()
        if self._beside:
            await asyncio.wait({*self._beside}, timeout=_CLOSE_SECONDS)

    def _of(self, whose: Hashable, server: Server) -> _Held:
        while self._held and (len(self._held) >= MOST or next(iter(self._held.values())).idle > IDLE_SECONDS):
            self._held.popitem(last=False)[1].end()
        held = self._held.get(whose)
        if held is not None and held.server != server:
            held.end()
            held = None
        if held is None:
            held = self._held[whose] = _Held(server, self._run)
        self._held.move_to_end(whose)
        return held

    async def _begin(self, held: _Held) -> None:
        if held.conversation is not None:
            return
        async with held.lock:
            if held.conversation is not None:
                return
            conversation = Conversation(self._client, held.server)
            if not await conversation.initialize():
                raise ValueError(f"it speaks none of the revisions {', '.join(eras.OLD)}")
            try:
                await conversation.notify("notifications/initialized")
            except BaseException:
                self._run(conversation.end())
                raise
            held.conversation = conversation

    async def _ask(
        self, held: _Held, translation: Translation, request: Outgoing, link: Link, *, last: bool
    ) -> Answer | None:
        """The answer to a call; None if the server has forgotten the session, unless this is the `last` try."""
        outgoing = translation.outgoing(request, held)
        try:
            answer = await link.send(outgoing)
        except asyncio.CancelledError:
            if (message := translation.cancelled()) is not None:
                held.tell(message)
            raise
        if not last and await _is_forgotten(answer, held):
            answer.close()
            return None
        held.enter()  # until the answer is closed
        return await answered(translation, answer, link, held)

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what nobody waits for."""
        task = asyncio.create_task(_in_time(work))
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)


async def _in_time(work: Coroutine[Any, Any, None]) -> None:
    with suppress(Denied, TimeoutError, ValueError):
        async with asyncio.timeout(_BESIDE_SECONDS):
            await work


async def _is_forgotten(answer: UpstreamAnswer, held: _Held) -> bool:
    """True if the server does not know the session any more, so that it has not carried out the call either."""
    if answer.status == 404:
        return bool(held.headers().get("mcp-session-id"))
    if answer.status != 400:
        return False
    body = b""
    while len(body) <= _MAX_PEEKED and (piece := await answer.read()):
        body += piece
    if body:
        answer.pieces.insert(0, body)
    return _NO_SESSION.search(body) is not None
