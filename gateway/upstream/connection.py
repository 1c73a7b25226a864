"""One connection to an upstream: aiohttp's, with what it lacks against upstreams that break HTTP's rules.

- Bytes that come while no request waits close the connection. aiohttp would take them for the answer to the next
  request, which may be another agent's.
- A body that breaks HTTP's framing fails at once. aiohttp closes the connection and lets the reader wait.
- An answer has to come after a few informational heads. aiohttp takes any number, and the event loop does nothing else.
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_exceptions import HttpProcessingError

# Heads like `100 Continue` and `103 Early Hints`.
_MAX_INFORMATIONAL = 16


class UpstreamConnection(ResponseHandler):
    """A protocol of aiohttp's client."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._awaiting = False  # a request was begun, and the head of its answer has not been read
        self._informational = 0

    def set_response_params(self, *arguments: Any, **options: Any) -> None:
        """A request begins."""
        self._awaiting, self._informational = True, 0
        super().set_response_params(*arguments, **options)

    def data_received(self, data: bytes) -> None:
        if data and not self._awaiting and (self._payload is None or self._payload.is_eof()):
            self.close()
            return
        super().data_received(data)

    async def read(self) -> Any:
        message, payload = await super().read()
        if 100 <= message.code < 200 and message.code != 101:
            self._informational += 1
            if self._informational > _MAX_INFORMATIONAL:
                raise HttpProcessingError(code=502, message="too many informational answers")
        else:
            self._awaiting = False
        return message, payload

    def set_exception(self, exc: BaseException, *cause: Any) -> None:
        payload = self._payload
        super().set_exception(exc, *cause)
        if isinstance(exc, HttpProcessingError) and payload is not None and not payload.is_eof():
            payload.set_exception(aiohttp.ClientPayloadError("the answer breaks off in malformed HTTP"))


def connector(keep_idle: float) -> aiohttp.TCPConnector:
    """Makes these connections, any number of them, and keeps an idle one for so many seconds."""
    made = aiohttp.TCPConnector(limit=0, keepalive_timeout=keep_idle)
    made._factory = functools.partial(UpstreamConnection, asyncio.get_running_loop())  # type: ignore[assignment]
    return made
