"""The HTTP client to the upstreams: one aiohttp session per process, shared by all requests of its loop.

It follows no redirect, keeps no cookie, reads no proxy or netrc from the environment and decodes nothing: requests and
answers pass byte by byte. Failures are `Denied` with `upstream_error` or `upstream_timeout`; `NotConnectedError` says
that nothing was sent.
Specification: docs/architecture.md, section 7, steps 7 and 8.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import aiohttp

from gateway.errors import Denied
from gateway.settings import Settings
from gateway.upstream import connection
from gateway.upstream.providers.base import Outgoing

# Response heads beyond these are an upstream's fault.
_MAX_HEADER_BYTES = 16 * 1024
_MAX_HEADERS = 128
# A larger body is written in pieces, and released when the last one is written.
_PIECE = 64 * 1024


class NotConnectedError(Denied):
    """No connection could be made, so nothing was sent: the call may be sent again, whatever it does."""


class Answer:
    """An upstream's response after its head has arrived; its body is read piece by piece."""

    __slots__ = ("_idle_timeout", "_loop", "_response", "_timer", "_waiting_since", "headers", "status")

    def __init__(self, response: aiohttp.ClientResponse, idle_timeout: float) -> None:
        self._response = response
        self._idle_timeout = idle_timeout
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # Since when `read` has been waiting; None while it is not.
        self._waiting_since: float | None = None
        self.status = response.status
        # Names in lower case, as everywhere in the gateway.
        self.headers = [(name.lower(), value) for name, value in response.raw_headers]

    def header(self, name: bytes) -> bytes:
        """The first value of a header, or nothing."""
        return next((value for key, value in self.headers if key == name), b"")

    @property
    def complete(self) -> bool:
        """Whether the whole body is known to be read; false if its end has not arrived yet."""
        return self._response.content.at_eof()

    async def read(self) -> bytes:
        """The next piece of the body, unchanged; empty at the end."""
        content = self._response.content
        self._waiting_since = self._loop.time()
        if self._timer is None and not content.is_eof():
            self._timer = self._loop.call_later(self._idle_timeout, self._end_long_pause)
        try:
            return await content.readany()
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            raise _failure(error) from error
        finally:
            self._waiting_since = None

    def _end_long_pause(self) -> None:
        """Let a read fail that has waited too long. One timer looks now and then: setting one for each piece of a
        stream, as aiohttp does, would cost more than reading it.
        """
        now = self._loop.time()
        ends = (now if self._waiting_since is None else self._waiting_since) + self._idle_timeout
        if now < ends:
            self._timer = self._loop.call_at(ends, self._end_long_pause)
        else:
            self._response.content.set_exception(aiohttp.SocketTimeoutError("nothing came from the upstream"))

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class UpstreamClient:
    """Owns the session and its connections. Create it inside the loop that uses it, close it before the loop ends."""

    def __init__(self, settings: Settings) -> None:
        self._idle_timeout = settings.upstream_idle_timeout
        self._session = aiohttp.ClientSession(
            connector=connection.connector(keep_idle=30),
            # The caller limits the wait for the head and the total time, because it records what happened.
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=settings.upstream_connect_timeout),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            read_bufsize=256 * 1024,
            max_line_size=_MAX_HEADER_BYTES,
            max_field_size=_MAX_HEADER_BYTES,
            max_headers=_MAX_HEADERS,
        )

    async def send(self, request: Outgoing, sent: Callable[[], None]) -> Answer:
        """Send one request and wait for the head of its answer. Cancelling closes the connection.

        The body is taken out of `request` once there is a connection; `sent` is called when all of it was written.
        """
        size = len(request.body)
        headers: Mapping[str, str] = request.headers
        data: AsyncIterator[bytes] | bytes | None
        if size > _PIECE:
            headers = {**headers, "Content-Length": str(size)}
        body = request.body
        if not isinstance(body, bytes):
            data = body.open_stream()
        elif size > _PIECE:
            data = _pieces(request, sent)
        else:
            request.take_body()
            data = body or None
        del body
        try:
            response = await self._session.request(
                request.method, request.url, headers=headers, data=data, allow_redirects=False
            )
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise _failure(error, NotConnectedError) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _failure(error) from error
        sent()
        return Answer(response, self._idle_timeout)

    async def close(self) -> None:
        await self._session.close()
        # Closed transports finish in the next iteration of the loop.
        await asyncio.sleep(0)


async def _pieces(request: Outgoing, sent: Callable[[], None]) -> AsyncIterator[bytes]:
    body = request.take_body()
    assert isinstance(body, bytes)
    for at in range(0, len(body), _PIECE):
        yield body[at : at + _PIECE]
    del body
    sent()


def _failure(error: Exception, kind: type[Denied] = Denied) -> Denied:
    """What an error of aiohttp's means to the request. Removes its traceback: aiohttp's objects refer to their errors,
    and the cycle would keep the whole request in memory until the next garbage collection.
    """
    error.__traceback__ = None
    code = "upstream_timeout" if isinstance(error, TimeoutError) else "upstream_error"
    # Most of these texts name hosts and ports. The text about a malformed answer quotes the answer, which may hold
    # anything, also the credential that the upstream was sent.
    text = error.message if isinstance(error, aiohttp.ClientResponseError) else str(error)
    if isinstance(error, aiohttp.ClientResponseError | aiohttp.ClientPayloadError):
        text = text.partition(":")[0]
    # No entry of the log can hold half of a surrogate pair, and the call's closing must not fail for one.
    text = text.encode("utf-8", "replace").decode()
    return kind(code, f"{type(error).__name__}: {text}"[:512])
