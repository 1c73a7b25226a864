"""The state of one request while it passes through the nine steps of `gateway/dataplane/proxy.py`."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.audit.entry import SALT_BYTES
from gateway.body import Body
from gateway.call import Call
from gateway.dataplane.admission import Place
from gateway.dataplane.content import Keeping
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.produced import Produced
from gateway.dataplane.refusals import Asked
from gateway.dataplane.usable_models import UsableModels
from gateway.errors import PrincipalHint
from gateway.identifiers import new_id, random_bytes
from gateway.identity.key_scope import MODEL_LIST
from gateway.identity.principals import Principal
from gateway.policy.authorization import Authorization
from gateway.policy.cache import Panel
from gateway.registry.port import Epochs
from gateway.upstream.providers.base import Head, Provider
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Choices, Match, Target
from gateway.upstream.taps import Report
from gateway.usage import bounds
from gateway.usage.bounds import Kept
from gateway.usage.reservation import CallReservation

_NO_HEAD, _NOTHING = Head(), Asked()


@dataclass(slots=True, eq=False)
class Exchange:
    """The state of one request, owned by the task that serves it: filled from top to bottom as the steps pass.

    Slots because an object with more than thirty members of its own has a dictionary, and each step reads some.
    """

    decision_id: str
    started_monotonic_ns: int
    # For the commitments of this request: once it is erased, they reveal nothing.
    salt: bytes
    # How much of the worker's budgets the body takes, in memory and on disk.
    holding: Holding
    spooled: Holding
    # For reading a body that is on disk.
    turn: Turn

    # The provider in whose shape the client is refused; None while no provider is known.
    speaker: Provider | None = None

    # Steps 1 to 4
    # The request, if no route leads to what it asks for.
    unrouted: Asked = _NOTHING
    # The address that the connection comes from.
    peer: str | None = None
    target: Target | None = None
    # The state of the registry that this request is judged by; nothing it uses is older.
    epochs: Epochs | None = None
    principal: Principal | None = None
    # Its place among the requests in progress; of the first attempt, for all of them.
    place: Place | None = None
    # What the path means in the registry, and which upstream of it this attempt goes to.
    found: Match | Choices | None = None
    match: Match | None = None
    # The upstreams that take its place if it fails, in order.
    others: tuple[Match, ...] = ()
    # From the second attempt on: which one this is, and the decision of the first.
    attempt: int = 1
    retry_of: str = ""
    # How often the same upstream was tried again.
    retries: int = 0
    # When the time for all attempts is over, by the event loop's clock; 0 before the first.
    ends: float = 0.0
    # What else of the head counts; its headers go upstream in any case.
    head: Head = _NO_HEAD
    # For the log; empty if the client does not say.
    trace_id: str = ""
    # What the tracer keeps of this request, if there is one.
    trace: object | None = None
    user_agent: str = ""
    received: Body = b""
    # What was received is gone, so the call cannot be sent again.
    forgotten: bool = False
    call: Call | None = None
    # The provider's names for what the gateway changed in the body, in order.
    edits: tuple[str, ...] = ()
    # The models that the client named, if policies have put another in their place, and the path, which may name one.
    requested_models: tuple[str, ...] = ()
    requested_path: str = ""

    # How long the client's body was waited for.
    waited_ns: int = 0

    # Steps 5 and 6; when judging began and ended, and when `decided` was durable, by the monotonic clock (0: not yet)
    judging_ns: int = 0
    judged_ns: int = 0
    decided_ns: int = 0
    authorization: Authorization | None = None
    # What bundles that do not count would have decided, as JSON text.
    shadow: str = ""
    # What is done with its content; None if nothing is kept of it.
    keeping: Keeping | None = None
    # What it counts as, from the decision to its settlement; None if it is refused.
    reservation: CallReservation | None = None
    # The usage of the response that the call continues; None if that is not known.
    kept: Kept | None = None
    # The usage of this call bounds the calls that continue its response.
    keeps_all: bool = False
    # The output limit that the gateway has set because a limit needs one.
    output_limit: int | None = None
    # The decision is, or may be, recorded. The client must not be given its id before.
    recorded: bool = False
    # The agent of a refused request, if it is known.
    owner: PrincipalHint | None = None
    # The entry that counts its denial, if that has none of its own.
    counted: str = ""
    # A decision to go on is recorded and its closing is not yet.
    open: bool = False

    # Steps 7 to 9: these outlive the call, its body and the documents that were judged
    action: str = ""
    model: str | None = None
    # The time of its judgement, in nanoseconds since 1970: what it costs is what it cost then.
    priced_ns: int = 0
    # When the call went upstream, its answer had ended, and `completed` was durable, by the monotonic clock.
    sent_ns: int = 0
    answered_ns: int = 0
    closed_ns: int = 0
    output_cap: int | None = None
    # Headers that policies have set.
    set_headers: Mapping[str, str] = field(default_factory=dict)
    # The bundles that have judged it.
    panel: Panel | None = None
    stores: bool = False
    # Of a list of models: which of them the agent may use.
    usable: UsableModels | None = None
    # Nothing of the request has reached the upstream, and nothing will.
    unsent: bool = False
    # The status that the client sees; None until a head was sent.
    status: int | None = None
    upstream_status: int | None = None
    first_byte_monotonic_ns: int | None = None
    response_bytes: int = 0
    response_commitment: str | None = None
    report: Report = field(default_factory=Report)
    # Which time limit ended it: connect, first_byte, idle or total.
    timeout: str = ""
    # What it has cost in nano-dollars, and by which price; None while that is not known.
    cost_nanousd: int | None = None
    price: str = ""
    # What has come of a stream whose provider stops when its connection is closed; None if that bounds nothing.
    produced: Produced | None = None
    # The client has left a stream that runs on for its usage, of which so many tokens had come; and it came to its end.
    left: bool = False
    came_before: int = 0
    ran_to_end: bool = False
    # Why its usage is not charged by, and what was reported, as JSON text; empty if it is.
    misreported: str = ""
    reported: str = ""
    # What the provider's error is about, if that is known.
    rejected: Why | None = None
    # Why it failed, for the log alone.
    detail: str = ""
    # How it ended: the reason code of a refusal, or the outcome in the `completed` entry. A defect says nothing else.
    outcome: str = "gateway_error"

    def take_place(self, place: Place) -> None:
        """It is known who asks: whatever it holds from now on counts for them."""
        self.place = place
        self.holding.holders = self.spooled.holders = self.turn.holders = place.holders

    @property
    def judged(self) -> bool:
        """True if the log has the decision, on its own or as one of several denials."""
        return self.recorded or self.counted != ""

    @property
    def asked(self) -> Asked:
        """The request of the client, as far as that is known."""
        if self.target is None:
            return self.unrouted
        models = self.requested_models or (self.call.models if self.call is not None else ())
        return Asked(self.target.method, self.target.path, models[0] if models else self.model or "")

    @property
    def repeatable(self) -> bool:
        """True if sending the call twice does no more than sending it once."""
        assert self.target is not None
        return self.target.method == "GET" or "idempotency-key" in self.head.headers

    def again(self, match: Match, others: tuple[Match, ...]) -> Exchange:
        """The next attempt at the same request, with a decision and a record of its own."""
        found = Exchange(
            new_id("dec_"),
            time.monotonic_ns(),
            random_bytes(SALT_BYTES),
            self.holding,
            self.spooled,
            self.turn,
        )
        found.speaker = match.destination.provider
        found.peer = self.peer
        found.target = self.target
        found.epochs = self.epochs
        found.principal = self.principal
        found.found = self.found
        found.match = match
        found.others = others
        found.attempt = self.attempt + 1
        found.retry_of = self.retry_of or (self.decision_id if self.recorded else "")
        found.retries = self.retries
        found.ends = self.ends
        found.head = self.head
        found.trace_id = self.trace_id
        found.trace = self.trace
        found.user_agent = self.user_agent
        found.received = self.received
        return found

    def change(self, call: Call, edits: tuple[str, ...]) -> None:
        """Put a call in the place of the client's, which differs from it by these edits."""
        assert self.call is not None
        if call.models != self.call.models:
            self.requested_models, self.requested_path = self.call.models, self.call.path
        self.call = call
        self.edits += edits

    def forget_request(self) -> Call:
        """Hand the call over to be forwarded, and release everything here that was judged and recorded of it.

        Answers take minutes. What was received stays until `forget_body`, in case that it must be sent again.
        """
        call, authorization = self.call, self.authorization
        assert call is not None
        assert authorization is not None
        self.action, self.model, self.priced_ns = call.action, call.model, authorization.now_ns
        self.output_cap, self.stores = authorization.obligations.max_output_tokens, call.stores
        self.keeps_all = call.stores and bounds.keeps_all(call)
        self.set_headers = authorization.obligations.set_headers
        if call.action == MODEL_LIST and self.principal is not None and self.match is not None:
            provider, used = self.match.destination.provider, authorization.input["usage"]
            self.usable = UsableModels(authorization.panel, self.principal, provider, call.upstream, used)
        self.panel = authorization.panel
        self.call, self.authorization = None, None
        self.turn.release()
        return call

    def count_spooled(self) -> None:
        """Count what is on disk: what was received and, if that was changed, what is sent instead."""
        bodies = {id(each): each for each in (self.received, self.call and self.call.raw) if each}
        self.spooled.hold(sum(len(each) for each in bodies.values() if not isinstance(each, bytes)))

    def forget_body(self) -> None:
        """Release what was received: it will not be sent again. Bodies are large."""
        if not isinstance(self.received, bytes):
            self.received.release()
        self.received, self.forgotten = b"", True
        self.holding.release()
        self.spooled.release()

    def release(self) -> None:
        """Give back everything that this request takes of what all share; may be called again."""
        self.forget_body()
        self.turn.release()
        if self.place is not None:
            self.place.leave()
