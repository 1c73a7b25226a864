"""What one request is while it passes through the gateway: the call it makes and the state around it.

Only plain data lives here: the `Call` is the provider's view of a request, already parsed and never changed, which a
policy judges and the log records; the `Exchange` is the mutable notebook of the data plane's nine steps; `Departure` is
how the listener tells it that the client has gone. How a body becomes a `Call` is a matter of
`gateway/upstream/providers/`; what a policy sees of it is `gateway/authorization.py`; what the log says of it is
`gateway/records.py`. Specification: docs/architecture.md, sections 6 and 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gateway.authorization import Authorization
    from gateway.identity.principals import Principal


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool offered to the model. Its type is kept, so that a hosted tool is not a function of that name.

    A hosted tool, which the provider runs itself, has the empty name.
    """

    type: str
    name: str


@dataclass(frozen=True, slots=True)
class Reference:
    """State on the provider's side that a call names, such as a previous response or an uploaded file."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the words of its provider. Immutable: an obligation makes a new one from the changed body.

    `body` is the parsed object and `raw` the bytes that say the same and will be forwarded. Both are shared with the
    policies and the log and must not be mutated by anybody. A request without a body has `body=None` and `raw=b""`.
    """

    action: str
    upstream: str
    provider: str
    method: str
    # Without the upstream's name, if the client wrote it.
    path: str
    raw: bytes
    body: dict[str, Any] | None
    model: str | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False
    # The output cap which the call asks for; None where it asks for none.
    max_output_tokens: int | None = None
    tools: tuple[Tool, ...] = ()
    # The role of each message, in order.
    roles: tuple[str, ...] = ()
    messages: int = 0
    # SHA-256 (hex) of every system, developer or instructions text, in order.
    system_prompts: tuple[str, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider reported them. `input` holds all that is billed as input, `output` all as output."""

    input: int
    output: int
    cached: int = 0
    reasoning: int = 0


@dataclass(slots=True)
class Exchange:
    """The state of one request, owned by the task that serves it: filled from top to bottom as the steps pass."""

    decision_id: str
    started_monotonic_ns: int
    # For the salted digests of everything about this request; erasing it makes them say nothing.
    salt: bytes
    principal: Principal | None = None
    received: bytes = b""
    call: Call | None = None
    # What the gateway changed in the body before forwarding it, in order: names of members.
    edits: list[str] = field(default_factory=list)
    authorization: Authorization | None = None
    # The decision is, or may be, recorded. Nobody may be given its id before.
    recorded: bool = False
    # A decision to go on is recorded and its closing is not yet.
    open: bool = False
    # What the client sees; None until a head was sent.
    status: int | None = None
    upstream_status: int | None = None
    first_byte_monotonic_ns: int | None = None
    response_bytes: int = 0
    response_commitment: str | None = None
    response_model: str | None = None
    usage: Usage | None = None
    # Why it went wrong, for the log alone.
    detail: str = ""


class Departure:
    """Whether the client of one request has closed its connection. Owned by the event loop's thread.

    The listener puts one into every request's scope, under `Departure.KEY`, and calls `happened`; the data plane sets
    `tell`. A task that waits for ASGI's disconnect message would do the same at ten times the price.
    """

    KEY = "gateway.departure"

    __slots__ = ("gone", "tell")

    def __init__(self) -> None:
        self.gone = False
        self.tell: Callable[[], None] | None = None

    def happened(self) -> None:
        self.gone = True
        if self.tell is not None:
            self.tell()
