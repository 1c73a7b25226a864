"""What the data plane asks of a provider: the API family which an upstream speaks.

A provider is data and pure functions: its routes, how a body becomes a `Call`, how a cap is written into a body, how a
credential is presented, what an error looks like, and which tap reads an answer. It does no I/O and knows no policy.
Specification: docs/architecture.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.call import Call
from gateway.errors import Denied
from gateway.upstream.taps import Tap

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Route:
    """One request an agent can make. What is not listed does not exist.

    `path` is exact. It follows the upstream's base URL, and the provider's `prefix` in the paths that agents use.
    `request_headers` are those of the client that may go upstream besides the ones the gateway sets itself, and
    `query` the names a query string may hold.
    """

    method: str
    path: str
    action: str
    has_body: bool
    query: frozenset[str] = frozenset()
    request_headers: frozenset[bytes] = frozenset()


class Provider(Protocol):
    """One API family. Implementations are stateless and shared by all requests."""

    name: str
    # What stands before a route's path on the gateway's side. An upstream's base URL includes it, as in the SDKs.
    prefix: str
    routes: Sequence[Route]
    # Names of response headers that reach the client, besides the content type; a trailing `*` stands for any rest.
    response_headers: tuple[bytes, ...]

    def parse_call(
        self, route: Route, *, upstream: str, path: str, params: Mapping[str, str], raw: bytes, body: Any
    ) -> Call:
        """The call in this body; `Denied` where it is not one. `body` is what `strict_json.parse` made of `raw`."""
        ...

    def ask_for_usage(self, body: dict[str, Any]) -> dict[str, Any] | None:
        """A changed copy of `body` whose answer will report usage, or None if this one does already."""
        ...

    def cap_output(self, body: dict[str, Any], cap: int) -> dict[str, Any] | None:
        """A changed copy of `body` that asks for at most `cap` output tokens, or None if this one does already."""
        ...

    def credential(self, secret: str) -> tuple[str, str]:
        """The header that presents the upstream's credential."""
        ...

    def error(self, denied: Denied) -> bytes:
        """The body of a refusal, in the shape from which the provider's own SDK makes its exception."""
        ...

    def tap(self, *, events: bool, hide_usage: bool) -> Tap:
        """The tap for one answer; `events` if it is a stream of server-sent events."""
        ...
