"""The data plane's contract with a provider: the API family that an upstream speaks.

A provider is data and pure functions. It does no I/O and knows no policy. In the order of a request:

    routes     which requests an agent can make: templates of paths
    read       bytes → the `Call` that policies judge
    edit       what the gateway wants changed → the same call with another body
    prepare    the call as it goes upstream: URL, headers, credential or signature of the whole request
    tap        content type of an answer → what is read out of it on its way to the client
    reject     an error of the provider → whose matter it is, where its status does not say that
    error      a refusal in the shape from which the provider's own SDK makes its exception, and the same as an event

Specification: architecture.md, sections 6 and 7.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import quote

from yarl import URL

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.outbound.client import Outgoing
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import Tap

_UNQUOTED = "-._~:@,*"
LIST = "[]"
"""The end of a name in a query whose value is a list of plain names, with commas."""


@dataclass(frozen=True, slots=True)
class Route:
    """One request an agent can make. Everything else does not exist.

    `path` follows the upstream's base URL, and the provider's `prefix` in the paths that agents use. `{name}` in it is
    a parameter: one segment, or a part of one, of `[A-Za-z0-9._:-]{1,128}`, without a colon where a colon follows a
    parameter in some route of the provider. `request_headers` are those of the client
    that may go upstream besides the ones the gateway sets itself, and `query` the names a query string may hold.
    """

    method: str
    path: str
    action: str
    body: Literal["none", "json", "multipart"]
    query: frozenset[str] = frozenset()
    request_headers: frozenset[bytes] = frozenset()


@frozen()
class Endpoint:
    """The meaning of a request's path: a route of an upstream, with the values of its parameters."""

    upstream: str
    route: Route
    # Without the upstream's name, if the client wrote it.
    path: str
    params: Mapping[str, str] = field(default_factory=dict)


@frozen()
class Head:
    """The head of a request besides its path: only what the route lists.

    `query` holds each name once, with values without escapes; a list has a name that ends in `LIST`. `headers` are
    those that go upstream, by their names in lower case; they include the gateway's own. `content_type` is the
    client's, for a body that is no JSON.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""


@frozen()
class Edits:
    """The changes that the gateway wants in a call."""

    # Ask the provider to report usage, where it does that only on request.
    report_usage: bool = False
    # Limit the output of all answers together.
    max_output_tokens: int | None = None
    # Take out the tools of these names; a tool without a name, which the provider runs itself, goes by its type.
    strip_tools: frozenset[str] = frozenset()
    # Ask for this model instead.
    model: str | None = None


USUAL_TIERS = frozenset(
    {"", "auto", "default", "standard", "unspecified", "on_demand", "scale", "provisioned", "reserved"}
    | {"flex", "batch"}
)
"""Ways to serve a call that cost no more than the usual price, unless prices say what they cost. Others may be dearer.

Capacity that was bought before (`scale`, `provisioned`, `reserved`) is one.
"""


class Provider(Protocol):
    """One API family, perhaps in the dialect of one maker. Implementations are immutable and shared by all requests."""

    # The family, as policies and the log name it.
    name: str
    # The prefix of a route's path on the gateway's side. An upstream's base URL includes it, as in the SDKs.
    prefix: str
    routes: Sequence[Route]
    # Names of response headers that reach the client although those of others do not (`answer_headers.py`).
    response_headers: frozenset[bytes]
    # Service tiers that cost no more than usual.
    usual_tiers: frozenset[str]

    def __hash__(self) -> int: ...

    def read(self, endpoint: Endpoint, head: Head, raw: Body) -> Call:
        """The call in this request; `Denied` where it is none or could be read in two ways.

        It is judged and sent only as `edit` leaves it, also without any edit: that puts a model into one place.
        """
        ...

    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        """The call with these edits made, and their names for the log; the same call if nothing had to be changed.

        # INVARIANT: `read` makes of the new bytes exactly the new call.
        """
        ...

    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        """The request for the upstream at `base_url`; `headers` are those that go along in any case."""
        ...

    def tap(self, endpoint: Endpoint, content_type: bytes, edits: Sequence[str], *, stores: bool) -> Tap:
        """The tap for one answer. `edits` are the names that `edit` gave: what was asked for may have to be hidden.

        `stores` is the call's: what the answer names is kept by the provider.
        """
        ...

    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """The subject of an error with this status and document; None if that is not known for certain."""
        ...

    def error(self, denied: Denied) -> bytes:
        """The body of a refusal, a JSON document."""
        ...

    def error_event(self, endpoint: Endpoint, denied: Denied) -> bytes:
        """The event that tells a client's SDK, in the middle of a stream, that the stream has failed."""
        ...


@functools.lru_cache(maxsize=1024)
def plain_url(text: str) -> URL:
    """A URL of nothing but characters that need no escape. Parsing one costs more than anything else about it."""
    return URL(text, encoded=True)


def url_of(base_url: str, path: str, query: Mapping[str, str]) -> URL:
    """The URL of a route; `path` holds plain characters only, and values of the query are escaped."""
    text = base_url + path
    if query:
        text += "?" + "&".join(each for pair in query.items() for each in _parameters(*pair))
    return plain_url(text)


def _parameters(name: str, value: str) -> list[str]:
    if name.endswith(LIST):
        return [f"{name.removesuffix(LIST)}%5B%5D={each}" for each in value.split(",")]
    return [f"{name}={quote(value, safe=_UNQUOTED)}"]


def without_version(base_url: str, versions: Sequence[str]) -> str:
    """The base URL of a provider whose clients add the version themselves, if it ends in one all the same."""
    return next((base_url.removesuffix(each) for each in versions if base_url.endswith(each)), base_url)


def simplest(provider: Provider, upstream: str, route: Route) -> Call:
    """A call of a route with nothing in it, to be asked about."""
    kind = "multipart/form-data" if route.body == "multipart" else "application/json"
    path = provider.prefix + route.path
    return Call(route.action, upstream, provider.name, route.method, path, b"", None, content_type=kind)


def call_of(
    endpoint: Endpoint, head: Head, provider: str, raw: Body, body: dict[str, Any] | None, **facts: Any
) -> Call:
    """The call of a route; `body` is the object in `raw`, and `facts` are the members that it determines."""
    return Call(
        action=endpoint.route.action,
        upstream=endpoint.upstream,
        provider=provider,
        method=endpoint.route.method,
        path=endpoint.path,
        params=endpoint.params,
        query=head.query,
        raw=raw,
        body=body,
        **facts,
    )
