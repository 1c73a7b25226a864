"""The state of one request while it passes through the nine steps of `gateway/dataplane/proxy.py`."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.call import Call, Usage
from gateway.identity.principals import Principal
from gateway.policy.authorization import Authorization
from gateway.registry.port import Epochs

USAGE_EDIT = "stream_options.include_usage"
"""How the log names the one edit that the gateway makes of its own accord."""


@dataclass(slots=True)
class Exchange:
    """The state of one request, owned by the task that serves it: filled from top to bottom as the steps pass."""

    decision_id: str
    started_monotonic_ns: int
    # For the salted digests of everything about this request; erasing it makes them say nothing.
    salt: bytes
    # The state of the registry that this request is judged by; nothing it uses is older.
    epochs: Epochs | None = None
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
