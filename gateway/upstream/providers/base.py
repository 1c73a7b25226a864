"""The data plane's contract with a provider: the API family that an upstream speaks.

A provider is data and pure functions. It does no I/O and knows no policy. In the order of a request:

    routes     which requests an agent can make: templates of paths
    read       bytes → the `Call` that policies judge
    edit       what the gateway wants changed → the same call with another body
    prepare    the call as it goes upstream: URL, headers, credential or signature of the whole request
    translation  the same in other words, if its upstream speaks another era of the protocol
    tap        what was sent, and the head of the answer → what is read out of it on its way to the client
    guard      what was sent → how policies filter its answer, if they do
    reject     an error of the provider → whose matter it is, where its status does not say that
    error      a refusal in the shape from which the provider's own SDK makes its exception, and the same as an event

Specification: architecture.md, sections 6 and 7.
"""

from __future__ import annotations

import abc
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import quote

from yarl import URL

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.identity.key_scope import MODEL_LIST
from gateway.outbound.client import Outgoing
from gateway.upstream.guards import CallGuard, Guard
from gateway.upstream.providers import members
from gateway.upstream.providers.rejections import Rejection
from gateway.upstream.taps import DocumentTap, ReadDocument, Tap
from gateway.upstream.translating import Translation

_UNQUOTED = "-._~:@,*"
LIST = "[]"
"""The end of a name in a query whose value is a list of plain names, with commas."""


class Lifetime(NamedTuple):
    """The seconds that an answer may take to begin, to pause and to end; None for what the settings say."""

    first_byte: float | None = None
    idle: float | None = None
    total: float | None = None


_AS_SET = Lifetime()


@dataclass(frozen=True, slots=True)
class Route:
    """One request an agent can make. Everything else does not exist.

    `path` follows the upstream's base URL, and the provider's `prefix` in the paths that agents use. `{name}` in it is
    a parameter: one segment, or a part of one, of `[A-Za-z0-9._:-]{1,128}`, without a colon where a colon follows a
    parameter in some route of the provider. `request_headers` are those of the client
    that may go upstream besides the ones the gateway sets itself, and `query` the names a query string may hold. A
    header that ends in `*` stands for all that begin so.

    `read` says the action of a call. It is `action` unless the body decides: then `further` has all others it may be.
    """

    method: str
    path: str
    action: str
    body: Literal["none", "json", "multipart"]
    query: frozenset[str] = frozenset()
    request_headers: frozenset[bytes] = frozenset()
    further: tuple[str, ...] = ()
    lifetime: Lifetime = _AS_SET

    @property
    def actions(self) -> tuple[str, ...]:
        return (self.action, *self.further)


@frozen()
class Endpoint:
    """The meaning of a request's path: a route of an upstream, with the values of its parameters."""

    upstream: str
    route: Route
    # Without the upstream's name, if the client wrote it.
    path: str
    params: Mapping[str, str] = field(default_factory=dict)


@frozen()
class RequestHead:
    """The head of a request besides its path: only what the route lists.

    `query` holds each name once, with values without escapes; a list has a name that ends in `LIST`. `headers` are
    those that go upstream, by their names in lower case; they include the gateway's own. `content_type` is the
    client's, for a body that is no JSON.
    """

    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = ""
    # The client asks several upstreams as one, so it has no session with any of them.
    joined: ClassVar[bool] = False


@frozen()
class JoinedHead(RequestHead):
    """The head of a request to one of several upstreams that the client asks as one."""

    joined: ClassVar[bool] = True


@frozen()
class Sent:
    """A call without its body, while its answer is waited for.

    `edits` are the names that `edit` gave: what was asked for may have to be hidden. `stores` is the call's: what the
    answer names is kept by the provider.
    """

    endpoint: Endpoint
    action: str
    edits: Sequence[str] = ()
    stores: bool = False
    # The id of the message that is answered, in protocols that have one.
    message_id: str | int | None = None


@frozen()
class AnswerHead:
    """The head of an answer. Names of headers are in lower case; so is `kind`, the media type without parameters."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    kind: bytes


USAGE_EDIT, CAP_EDIT, TOOLS_EDIT, MODEL_EDIT = (
    *("stream_options.include_usage", "max_output_tokens"),
    *("strip_tools", "model"),
)
"""The log's names of changes in a call."""


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


class Provider(abc.ABC):
    """One API family, perhaps in the dialect of one maker. Objects are immutable and shared by all requests."""

    # The family, as policies and the log name it.
    name: str
    # The prefix of a route's path on the gateway's side. An upstream's base URL includes it, as in the SDKs.
    prefix: str
    routes: Sequence[Route]
    # Names of response headers that reach the client although those of others do not (`answer_headers.py`).
    response_headers: frozenset[bytes] = frozenset()
    # Its protocol wants pages of other sites refused.
    refuses_pages: bool = False
    # It stands for several upstreams, of which each gets a request of its own.
    joins: bool = False
    # Service tiers that cost no more than usual.
    usual_tiers: frozenset[str] = USUAL_TIERS

    @abc.abstractmethod
    def read(self, endpoint: Endpoint, head: RequestHead, raw: Body) -> Call:
        """The call in this request; `Denied` where it is none or could be read in two ways.

        It is judged and sent only as `edit` leaves it, also without any edit: that puts a model into one place.
        """

    @abc.abstractmethod
    def edit(self, call: Call, edits: Edits) -> tuple[Call, tuple[str, ...]]:
        """The call with these edits made, and their names for the log; the same call if nothing had to be changed.

        # INVARIANT: `read` makes of the new bytes exactly the new call.
        """

    @abc.abstractmethod
    def prepare(self, call: Call, base_url: str, secret: str | None, headers: Mapping[str, str]) -> Outgoing:
        """The request for the upstream at `base_url`; `headers` are those that go along in any case."""

    @abc.abstractmethod
    def tap(self, sent: Sent, head: AnswerHead) -> Tap:
        """The tap for one answer."""

    def guard(self, sent: Sent) -> Guard | CallGuard | None:
        """The guard that filters the answer by what its reader may use; None if all of it is for everybody."""
        return model_list(self, sent) if sent.action == MODEL_LIST else None

    def translation(self, call: Call) -> Translation | None:
        """The other words of a call that is `translated`."""
        return None

    def essence(self, call: Call) -> bytes | None:
        """What a body asks for, if each attempt at the same call has another one; None if the body itself is that.

        # INVARIANT: two calls that the upstream could carry out differently have two.
        """
        return None

    @abc.abstractmethod
    def reject(self, status: int, document: dict[str, Any]) -> Rejection | None:
        """The subject of an error with this status and document; None if that is not known for certain."""

    @abc.abstractmethod
    def error(self, denied: Denied) -> bytes:
        """The body of a refusal, a JSON document."""

    @abc.abstractmethod
    def error_event(self, sent: Sent, denied: Denied) -> bytes:
        """The event that tells a client's SDK, in the middle of a stream, that the stream has failed."""


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


def simplest(provider: Provider, upstream: str, route: Route, action: str = "") -> Call:
    """A call of a route with nothing in it, to be asked about."""
    kind = "multipart/form-data" if route.body == "multipart" else "application/json"
    path = provider.prefix + route.path
    return Call(action or route.action, upstream, provider.name, route.method, path, b"", None, content_type=kind)


_ASKS_A_MODEL = frozenset(
    {"chat.completions", "responses", "messages", "generate_content", "embeddings", "embed_content", "completions"}
    | {"moderations", "images.generations", "images.edits", "audio.speech", "audio.transcriptions"}
)


def model_list(provider: Provider, sent: Sent) -> Guard:
    """The guard of a list of models, in OpenAI's and Anthropic's form or in Gemini's."""
    routes = {each.action: each for each in provider.routes if each.action in _ASKS_A_MODEL}
    return Guard(
        lists=((("data",), "id"), (("models",), "name")),
        prefix="models/",
        nothing=b'{"object":"list","data":[],"models":[]}',
        uses=tuple(simplest(provider, sent.endpoint.upstream, each) for each in routes.values()),
        using=lambda call, model: replace(call, model=model, models=(model,), body={}),
        inputs=(("resource", "model"), ("resource", "models")),
        in_scope=lambda scope: scope.allows_model if scope.models else None,
    )


def call_of(
    endpoint: Endpoint,
    head: RequestHead,
    provider: str,
    raw: Body,
    body: dict[str, Any] | None,
    *,
    action: str | None = None,
    params: Mapping[str, Any] | None = None,
    **facts: Any,
) -> Call:
    """The call of a route; `body` is the object in `raw`, and `facts` are the members that it determines."""
    return Call(
        action=endpoint.route.action if action is None else action,
        upstream=endpoint.upstream,
        provider=provider,
        method=endpoint.route.method,
        path=endpoint.path,
        params=endpoint.params if params is None else params,
        query=head.query,
        raw=raw,
        body=body,
        **facts,
    )


def call_about_model(endpoint: Endpoint, head: RequestHead, provider: str, raw: Body, **facts: Any) -> Call:
    """A call without a body, such as of the list of models or of the model in its path."""
    named = endpoint.params.get("model")
    model = None if named is None else members.model(named, "the model in the path")
    models = () if model is None else (model,)
    return call_of(endpoint, head, provider, raw, None, model=model, models=models, **facts)


def request_of(
    call: Call, base_url: str, headers: Mapping[str, str], credential: tuple[str, str | None], prefix: str = ""
) -> Outgoing:
    """The request of a call, with the kind of its body, and the credential in the header that is named with it.

    `prefix` begins the call's path and ends the base URL.
    """
    sent, (name, secret) = dict(headers), credential
    if call.body is not None:
        sent["Content-Type"] = call.content_type
    if secret is not None:
        sent[name] = secret
    return Outgoing(call.method, url_of(base_url, call.path.removeprefix(prefix), call.query), sent, call.raw)


def document_tap(head: AnswerHead, read: ReadDocument, *, opaque: bool = False) -> Tap:
    """The tap of one document. `opaque`: it may be a file or the like, of which nothing is read unless it is JSON."""
    expected = head.kind == b"application/json"
    return DocumentTap(read, expected=expected, opaque=opaque and not expected)
