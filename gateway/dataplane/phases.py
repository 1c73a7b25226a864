"""The states of a request while it passes through `proxy.py`: each phase returns what the next one needs.

    Request    begins with the head: what all attempts at it share, and what it takes of what everybody shares
    Admitted   steps 1 to 4: who asks for what, and the upstream that this attempt goes to
    Judged     steps 5 and 6: the call that this upstream would get, and what the policies and limits say of it
    Carried    steps 7 to 9: what outlives the call, its body and the documents that were judged

A phase that needs a state takes it as an argument, so none asks whether it is there. Beside them, `Observed` says how
far an attempt has come and how it has ended, for those who count requests and show them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from gateway.body import Body
from gateway.call import Call
from gateway.dataplane.admission import Place
from gateway.dataplane.content import Keeping
from gateway.dataplane.guarding import Guarded
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.mandates import Mandate
from gateway.dataplane.produced import Produced
from gateway.dataplane.refusals import Asked
from gateway.errors import PrincipalHint
from gateway.frozen import frozen
from gateway.identity.call_tokens import Bearer
from gateway.identity.peers import Asserted
from gateway.identity.principals import Principal
from gateway.policy.authorization import Authorization
from gateway.policy.cache import Panel
from gateway.registry.port import Epochs
from gateway.upstream.proposed import ProposedCall
from gateway.upstream.providers.base import Provider, RequestHead, Sent
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Choices, Match, Target
from gateway.upstream.taps import ProviderReport
from gateway.usage import bounds
from gateway.usage.reservation import CallReservation


def _nothing() -> None:
    """For a request that has no place yet."""


@dataclass(slots=True, eq=False)
class Request:
    """A client's request, owned by the task that serves it."""

    started_ns: int
    method: str
    raw_path: bytes
    # The address that the connection comes from.
    peer: str | None
    # The body's share of the worker's budgets, in memory and on disk.
    holding: Holding
    spooled: Holding
    # For reading a body that is on disk.
    turn: Turn
    # Gives back its place among the requests in progress.
    leave: Callable[[], None] = _nothing
    # The provider in whose shape the client is refused while no upstream is known.
    speaker: Provider | None = None
    # For the log; empty if the client does not say.
    trace_id: str = ""
    user_agent: str = ""
    # The id of the mandate under which its client acts; empty if it names none.
    mandate: str = ""
    # The tracer's own state of this request, if there is a tracer.
    trace: object | None = None
    received: Body = b""
    # What the gateway of the caller says of it; None unless that is another one.
    assertion: Asserted | None = None
    # The received body is gone, so the call cannot be sent again.
    forgotten: bool = False
    # The time that the gateway waited for the client's body.
    waited_ns: int = 0
    # When the time for all attempts is over, by the event loop's clock; 0 before the first.
    ends: float = 0.0
    # The client asks several upstreams as one, and this goes to one of them: its name for the thing that it asks about,
    # empty if it names none. None if the client asks this upstream itself.
    joined_as: str | None = None

    def take_place(self, place: Place) -> None:
        """It is known who asks: whatever the request holds from now on counts for them."""
        self.leave = place.leave
        self.holding.holders = self.spooled.holders = self.turn.holders = place.holders

    def count_spooled(self, call: Call) -> None:
        """Count what is on disk: what was received and, if that was changed, what is sent instead."""
        bodies = {id(each): each for each in (self.received, call.raw)}
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
        if not self.forgotten:
            self.forget_body()
        self.turn.release()
        self.leave()


@dataclass(slots=True, eq=False)
class Observed:
    """The progress and the end of an attempt, for measures, traces, the request log and the client."""

    request: Request
    decision_id: str
    started_ns: int
    # The one who asks and where it goes, as far as that is known.
    principal: Principal | None = None
    match: Match | None = None
    # The agent of a refused request, if it is known.
    owner: PrincipalHint | None = None
    # The call as it is now; and the model that the client named, which policies may have replaced.
    action: str = ""
    model: str | None = None
    requested: str = ""
    # The id by which the client knows the answer, if its protocol has one; and `Call.as_answer`.
    message_id: str | int | None = None
    as_answer: bool = False
    # The bundles that have judged it.
    panel: Panel | None = None
    # The decision is, or may be, recorded. The client must not be given its id before.
    recorded: bool = False
    # The entry that counts its denial, if that has none of its own.
    counted: str = ""
    # The leaf of its decision, if another gateway is told of it.
    leaf: str = ""
    # What this gateway tells that of the caller about the decision.
    receipt: str = ""
    # By the monotonic clock, 0 for what has not happened: when judging began and ended, `decided` was durable, the call
    # went upstream, its answer had ended, and `completed` was durable.
    judging_ns: int = 0
    judged_ns: int = 0
    decided_ns: int = 0
    sent_ns: int = 0
    answered_ns: int = 0
    closed_ns: int = 0
    first_byte_ns: int | None = None
    # The status that the client sees; None until a head was sent.
    status: int | None = None
    upstream_status: int | None = None
    # It calls a tool that no model has proposed, although models propose calls to its agent.
    unproposed: bool = False
    # The subject of the provider's error, if that is known.
    rejected: Why | None = None
    report: ProviderReport = field(default_factory=ProviderReport)
    # Its cost in nano-dollars, None while that is not known, and the name of the price.
    cost_nanousd: int | None = None
    price: str = ""
    # Its end: the reason code of a refusal, or the outcome in the `completed` entry. A defect says nothing else.
    outcome: str = "gateway_error"

    @property
    def judged(self) -> bool:
        """True if the log has the decision, on its own or as one of several denials."""
        return self.recorded or self.counted != ""

    @property
    def speaker(self) -> Provider | None:
        """The provider in whose shape the client is refused; None while none is known."""
        return self.request.speaker if self.match is None else self.match.destination.provider

    @property
    def asked(self) -> Asked:
        """The request of the client, as far as that is known."""
        path = self.request.raw_path.decode("latin-1")
        return Asked(self.request.method, path, self.requested or self.model or "")


@frozen()
class Admitted:
    """One attempt at a request: who asks, and the upstream that it goes to. Nothing of it is older than `epochs`."""

    request: Request
    observed: Observed
    place: Place
    # For the commitments of this attempt: once it is erased, they reveal nothing.
    salt: bytes
    target: Target
    principal: Principal
    # The state of the registry that this request is judged by.
    epochs: Epochs
    # The rest of the head that counts; its headers go upstream in any case.
    head: RequestHead
    # The meaning of the path in the registry, the match that this attempt uses, and the matches that take its place if
    # it fails, in order.
    found: Match | Choices
    match: Match
    others: tuple[Match, ...]
    # From the second attempt on: which one this is, and the decision of the first.
    attempt: int = 1
    retry_of: str = ""
    # The number of times that the same upstream was tried again.
    retries: int = 0

    @property
    def repeatable(self) -> bool:
        """True if sending the call twice does no more than sending it once."""
        return self.target.method == "GET" or "idempotency-key" in self.head.headers


@frozen()
class Reading:
    """A call as its upstream reads it. `models` and `path` are the client's: a path may name a model, too."""

    call: Call
    # The provider's names for what the gateway changed in the body, in order.
    edits: tuple[str, ...]
    models: tuple[str, ...]
    path: str

    def changed(self, call: Call, edits: tuple[str, ...]) -> Reading:
        """The same with another call, which differs from this one by these edits."""
        return Reading(call, self.edits + edits, self.models, self.path)


@frozen()
class Received:
    """The decision of the other side of a call to an agent, which its own log gets."""

    decision_id: str
    callee: Principal
    authorization: Authorization
    salt: bytes
    # Its share of the limits on calls to the agent.
    reservation: CallReservation | None


@frozen()
class Proof:
    """What this gateway has said to another one of a call, and what that has said of its decision; both are signed."""

    assertion: str
    receipt: str
    decision: str
    leaf: str


@frozen()
class Mandated:
    """The half of a call under a mandate that the log of its grantor gets, with its share of that side's limits."""

    decision_id: str
    mandate: Mandate
    salt: bytes
    reservation: CallReservation


@frozen()
class Judged:
    """A call with the answer of policies and limits. `reading` has the call as it would be forwarded."""

    admitted: Admitted
    reading: Reading
    authorization: Authorization
    # The decisions of shadow bundles, which do not count, as JSON text.
    shadow: str
    # The output limit that the gateway has set because a limit needs one.
    output_limit: int | None
    # The amounts that it counts as, from the decision to its settlement; None if it is refused.
    reservation: CallReservation | None
    # Keeps its content; None if nothing is kept of it.
    keeping: Keeping | None
    # The request for approval that the call makes or uses.
    approval: str = ""
    # The commitment to the call in the log's entries about its request; empty if no request stands for the call.
    approval_commitment: str = ""
    # The same of what it has in common with calls that are alike; empty if policies name nothing.
    pattern_commitment: str = ""
    # Its decision must have an entry of its own, because a request names it.
    told_alone: bool = False
    # Of a call to another agent: the decision of its side; None also if that was not asked.
    received: Received | None = None
    # Of a call under a mandate: what its grantor's log gets.
    mandated: Mandated | None = None


@dataclass(slots=True, eq=False)
class Carried:
    """A call on its way, without the documents that were judged: answers take minutes."""

    admitted: Admitted
    # Until it is forwarded, which deletes it: it holds the body.
    call: Call
    sent: Sent
    # The usage of this call bounds the calls that continue its response.
    keeps_all: bool
    keeping: Keeping | None
    reservation: CallReservation | None
    # The time of its judgement, in nanoseconds since 1970: what it costs is what it cost then.
    priced_ns: int
    output_cap: int | None
    # A model was offered tools, so its answer may propose calls of them.
    offers_tools: bool
    # Headers that policies have set.
    set_headers: Mapping[str, str]
    # Filters an answer by what the agent may use, if policies want that.
    guarded: Guarded | None
    # The decision of the other side of a call to an agent; empty if there is none.
    received: str = ""
    # The decisions of all other sides: their ids, and whose they are.
    others: tuple[tuple[str, Principal], ...] = ()
    # The tool of an MCP server that is called; empty if none is.
    tool: str = ""
    # The calls of tools that the answer has proposed.
    proposed: Sequence[ProposedCall] = ()
    # Makes the tokens of its requests, if those are its upstream's credentials.
    bearer: Bearer | None = None
    # What the gateway of the agent that is called has said of its decision, verified.
    proof: Proof | None = None

    # Nothing of the request has reached the upstream, and nothing will.
    unsent: bool = False
    response_bytes: int = 0
    response_commitment: str | None = None
    # The time limit that ended it: connect, first_byte, idle or total.
    timeout: str = ""
    # Counts the received part of a stream whose provider stops when its connection is closed; None if that is no bound.
    produced: Produced | None = None
    # The client has left a stream that runs on for its usage, of which so many tokens had come; and it came to its end.
    left: bool = False
    came_before: int = 0
    ran_to_end: bool = False
    # The reason why it is not charged by its reported usage, and that usage as JSON text; both empty if it is.
    misreported: str = ""
    reported: str = ""
    # The reason for its failure, for the log alone.
    detail: str = ""

    @classmethod
    def of(cls, judged: Judged) -> Carried:
        """The state of a call that is let through."""
        admitted, call, found = judged.admitted, judged.reading.call, judged.authorization
        match = admitted.match
        sent = Sent(match.endpoint, call.action, judged.reading.edits, call.stores, call.message_id)
        guard = match.destination.provider.guard(sent)
        guarded = None
        if guard is not None:
            guarded = Guarded(guard, found.panel, admitted.principal, found.input["usage"], match.destination.derived)
        keeps_all, obligations = call.stores and bounds.keeps_all(call), found.obligations
        return cls(
            admitted, call, sent, keeps_all, judged.keeping, judged.reservation,
            found.now_ns, obligations.max_output_tokens, call.tools != (), obligations.set_headers, guarded,
            "" if judged.received is None else judged.received.decision_id,
            (
                *(() if judged.received is None else [(judged.received.decision_id, judged.received.callee)]),
                *(() if judged.mandated is None else [(judged.mandated.decision_id, judged.mandated.mandate.grantor)]),
            ),
            "" if call.tool is None else call.tool.name,
        )  # fmt: skip
