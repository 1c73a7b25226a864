"""The state of one request while it passes through the nine steps of `gateway/dataplane/proxy.py`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.call import Call
from gateway.dataplane.held_bytes import Holding
from gateway.identity.principals import Principal
from gateway.policy.authorization import Authorization
from gateway.registry.port import Epochs
from gateway.upstream.providers.base import Head, Provider
from gateway.upstream.routing import Match, Target
from gateway.upstream.taps import Report
from gateway.usage.reservation import CallReservation


@dataclass(slots=True)
class Exchange:
    """The state of one request, owned by the task that serves it: filled from top to bottom as the steps pass."""

    decision_id: str
    started_monotonic_ns: int
    # For the salted commitments of this request. Once it is erased, they reveal nothing.
    salt: bytes
    # How much of the worker's budget the body takes.
    holding: Holding
    # The provider in whose shape the client is refused; None while no provider is known.
    speaker: Provider | None = None

    # Steps 1 to 4
    target: Target | None = None
    # The state of the registry that this request is judged by; nothing it uses is older.
    epochs: Epochs | None = None
    principal: Principal | None = None
    match: Match | None = None
    # What else of the head counts; its headers go upstream in any case.
    head: Head = field(default_factory=Head)
    received: bytes = b""
    call: Call | None = None
    # The provider's names for what the gateway changed in the body, in order.
    edits: tuple[str, ...] = ()
    # The models that the client named, if policies have put another in their place, and the path, which may name one.
    requested_models: tuple[str, ...] = ()
    requested_path: str = ""

    # Steps 5 and 6
    authorization: Authorization | None = None
    # What bundles that do not count would have decided, as JSON text.
    shadow: str = ""
    # What it counts as, from the decision to its settlement; None if it is refused.
    reservation: CallReservation | None = None
    # The output limit that the gateway has set because a limit needs one.
    output_limit: int | None = None
    # The decision is, or may be, recorded. The client must not be given its id before.
    recorded: bool = False
    # A decision to go on is recorded and its closing is not yet.
    open: bool = False

    # Steps 7 to 9: these outlive the call, its body and the documents that were judged
    model: str | None = None
    output_cap: int | None = None
    # Headers that policies have set.
    set_headers: Mapping[str, str] = field(default_factory=dict)
    stores: bool = False
    # The status that the client sees; None until a head was sent.
    status: int | None = None
    upstream_status: int | None = None
    first_byte_monotonic_ns: int | None = None
    response_bytes: int = 0
    response_commitment: str | None = None
    report: Report = field(default_factory=Report)
    # What it has cost in nano-dollars, and by which price; None while that is not known.
    cost_nanousd: int | None = None
    price: str = ""
    # Why it failed, for the log alone.
    detail: str = ""
    # How it ended: the reason code of a refusal, or the outcome in the `completed` entry. A defect says nothing else.
    outcome: str = "gateway_error"

    def change(self, call: Call, edits: tuple[str, ...]) -> None:
        """Put a call in the place of the client's, which differs from it by these edits."""
        assert self.call is not None
        if call.models != self.call.models:
            self.requested_models, self.requested_path = self.call.models, self.call.path
        self.call = call
        self.edits += edits

    def forget_request(self) -> Call:
        """Hand the call over to be forwarded, and release it here with everything that was judged and recorded of it.

        Bodies are large, and answers take minutes.
        """
        call, authorization = self.call, self.authorization
        assert call is not None
        assert authorization is not None
        self.model = call.model
        self.output_cap, self.stores = authorization.obligations.max_output_tokens, call.stores
        self.set_headers = authorization.obligations.set_headers
        self.received, self.call, self.authorization = b"", None, None
        return call
