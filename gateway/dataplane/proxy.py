"""The data plane: one request of an agent, as nine numbered steps (architecture.md, section 7).

    admit       1 guard the head   2 route    3 authenticate   4 receive the body
    judge       4 read it into a call         5 decide         6 record `decided`
    carry out   7 forward          8 relay    9 record `completed`

`DataPlane.__call__` calls these three in order, and each returns what the next one needs (`phases.py`). If an
upstream fails, `attempts.py` may have the last two done again for another one. A failure before step 6 is a refusal,
and nothing has left the gateway. From step 6 on there is an open decision, and every way out, also after a disconnect
or in a cancelled task, passes through step 9. Two laws:

# INVARIANT: no byte goes upstream before `decided` is durable, and none that was not judged.
# INVARIANT: the client sees the end of an answer only after `completed` is durable.

This is the hot path, so it is pure ASGI with hand-made messages. `gateway/http/connection.py` guards connections and
`preconditions.py` checks heads; `receiving.py` and `reading.py` make a call of a body, `judgement.py` asks the
policies, `recording.py` writes the records, `relay.py` passes the answer on, `refusal_answers.py` says what has failed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import TypeAlias

import orjson
from starlette.types import Receive, Scope, Send

from gateway.audit.entry import SALT_BYTES
from gateway.audit.halves_check import CALLEE
from gateway.audit.writer import AuditWriter
from gateway.call import Call, Reference
from gateway.dataplane import (
    border,
    client_headers,
    mandates,
    preconditions,
    receiving,
    refusal_answers,
    upstream_errors,
)
from gateway.dataplane.admission import Admission, Place
from gateway.dataplane.approving import Approvals, AwaitingError
from gateway.dataplane.attempts import Chooser, Failure, KeptAnswer, again
from gateway.dataplane.border import Border
from gateway.dataplane.breakers import Breakers, CircuitOpenError
from gateway.dataplane.budget import Budget
from gateway.dataplane.callees import Callee
from gateway.dataplane.contacts import Contacts
from gateway.dataplane.content import Contents
from gateway.dataplane.costs import Costs
from gateway.dataplane.deadline import Deadlines
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.joining import Joining
from gateway.dataplane.judgement import Judge, Judgement, denial
from gateway.dataplane.measures import Measures
from gateway.dataplane.outages import Outages
from gateway.dataplane.phases import Admitted, Carried, Judged, Mandated, Observed, Reading, Received, Request
from gateway.dataplane.reading import Reader, check_upstream
from gateway.dataplane.recording import Recorder
from gateway.dataplane.refusal_answers import Teller
from gateway.dataplane.refusals import Denials, Refusals
from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.relay import Relay
from gateway.dataplane.request_log import RequestLog
from gateway.dataplane.tracing import Tracer
from gateway.dataplane.upstream_errors import Complaints, WrongServerError
from gateway.dataplane.watch import Watch, Watched
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.identifiers import new_id, random_bytes
from gateway.identity import authentication, signatures
from gateway.identity.call_tokens import KEY, CallTokens
from gateway.identity.certificates import Certificate
from gateway.identity.peers import ASSERTION_HEADER, PEER, Asserted
from gateway.identity.principals import Principal, Principals
from gateway.identity.signatures import Signed
from gateway.outbound.client import NotConnectedError, Outgoing, UpstreamClient
from gateway.outbound.connection import Answer
from gateway.policy import authorization
from gateway.policy.cache import PolicyCache
from gateway.policy.decision import APPROVAL, Verdict
from gateway.registry.port import ActiveSet
from gateway.runtime.legacy_clients import LegacyClients
from gateway.runtime.proposals import Proposals
from gateway.runtime.references import References
from gateway.settings import Settings
from gateway.shares import Shares
from gateway.upstream import routing, translating, wrong_route
from gateway.upstream.mcp_conversation import Server
from gateway.upstream.mcp_sessions import Sessions
from gateway.upstream.providers import rejections
from gateway.upstream.providers.base import RequestHead
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Choices, Match
from gateway.upstream.translating import Link, Translation

logger = logging.getLogger("gateway.dataplane.proxy")


Sighted: TypeAlias = Callable[[str, str, str], None]
"""Takes, on the event loop, the id of an MCP server, and digest and definition of a tool that is not as approved."""


def _nobody(upstream: str, digest: str, definition: str) -> None:
    """Hear of no tools."""


class DataPlane:
    """The ASGI application of one data worker. It runs in the worker's event loop, with everything it is given."""

    def __init__(
        self,
        settings: Settings,
        *,
        principals: Principals,
        registry: RegistryView,
        policies: PolicyCache,
        references: References,
        writer: AuditWriter,
        refusals: Refusals,
        contacts: Contacts,
        client: UpstreamClient,
        budget: Budget,
        costs: Costs | None = None,
        requests: RequestLog | None = None,
        contents: Contents | None = None,
        measures: Measures | None = None,
        tracer: Tracer | None = None,
        clients: LegacyClients | None = None,
        outages: Outages | None = None,
        approvals: Approvals | None = None,
        tokens: CallTokens,
        proposals: Proposals,
        sighted: Sighted = _nobody,
    ) -> None:
        self._settings = settings
        self._principals = principals
        self._registry = registry
        self._policies = policies
        self._contacts = contacts
        self._client = client
        self._requests = requests
        self._contents = contents
        self._measures = measures
        self._tracer = tracer
        self._clients = clients
        self._outages = outages
        # Those who keep count of requests and hear of each that has ended.
        self._finishers = [each.finished for each in (measures, outages, tracer) if each is not None]
        self._approvals = approvals
        self._sighted = sighted
        self._tokens = tokens
        self._proposals = proposals
        self._sessions = Sessions(client)
        self._complaints = Complaints()
        self._admission = Admission(settings)
        # Half of the memory is for reading one large body at a time: whatever others hold, there is room for that.
        self._room = settings.max_held_bytes // 2
        self._held = Shares("bytes of requests and answers in memory", settings.max_held_bytes - self._room)
        self._spooled = Shares("bytes of large requests on disk", settings.max_spooled_bytes)
        self._border = Border(registry.peers, settings.data)
        self._breakers = Breakers(settings, contacts.breaker)
        self._chooser = Chooser(settings, self._breakers)
        self.watch = Watch(registry, principals)
        self._deadlines = Deadlines(asyncio.get_running_loop())
        # One large body at a time, so that the event loop gets its share of the interpreter.
        bodies = Shares("large bodies that are worked on", 1)
        # One body that is on disk is read into memory at a time, and it stays there until it was judged and recorded.
        self._large = Shares("large bodies in memory", 1)
        self._reader = Reader(references, bodies)
        self._judgements = Judge(budget, settings.policy_deadline_ms / 1000)
        self._recorder = Recorder(writer, references, bodies, costs, measures, refusals, Denials(settings.workers))
        self._teller = Teller(refusals, settings.public_data_plane)
        self._joining = Joining(self, settings, registry, policies, self._reader, self._judgements)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic_ns()
        client: Departure = scope[Departure.KEY]
        request = Request(
            began,
            scope["method"],
            scope["raw_path"],
            scope["client"][0] if scope["client"] else None,
            Holding(self._held),
            Holding(self._spooled),
            Turn(self._large, self._room),
        )
        observed = first = Observed(request, new_id("dec_"), began)
        try:
            admitted = await self._admit(observed, scope, receive, client)
            if admitted.match.destination.provider.joins:
                holding = Holding(self._held, admitted.place.holders)
                observed = await self._joining.serve(admitted, client, send, holding)
            elif (failure := await self._attempt(admitted, client, send)) is not None:
                observed = await self._go_on(failure, client, send)
        except Denied as denied:
            await self._refuse(observed, denied, scope, send)
        except receiving.ClientGoneError:
            observed.outcome = "client_disconnected"  # nothing was decided, and there is no client to answer
        finally:
            request.release()
            if self._clients is not None and first.principal is not None and first.principal.adopting:
                self._clients.note(first.principal, request.user_agent, request.peer, first.model)
            if self._requests is not None:
                self._requests.add(observed, f"{scope['method']} {scope['path']}", began)
            for finished in self._finishers:
                finished(observed)

    async def serve(self, admitted: Admitted, client: Departure, send: Send) -> Observed:
        """Judge a call and carry it out, as often as it takes. Returns the attempt that the client was answered by."""
        failure = await self._attempt(admitted, client, send)
        return admitted.observed if failure is None else await self._go_on(failure, client, send)

    async def _go_on(self, failure: Failure, client: Departure, send: Send) -> Observed:
        """Do what is left to do after an attempt that has failed, and answer. Returns the last attempt."""
        observed, last = failure.admitted.observed, failure
        if self._approvals is not None:
            observed, waited = await self._wait_for_people(self._approvals, failure, client, send)
            if waited is None:
                return observed
            last = waited
        if not isinstance(last.denied, AwaitingError):
            attempt = functools.partial(self._attempt, client=client, send=send)
            done = await self._chooser.go_on(last, attempt, client)
            if not isinstance(done, Failure):
                return done
            observed, last = done.admitted.observed, done
        await self._teller.tell(last, client, send)
        return observed

    def finished(self, observed: Observed, subject: str, began_ns: int) -> None:
        """Tell everybody who keeps count of requests that one has ended; `subject` is its method and path."""
        if self._requests is not None:
            self._requests.add(observed, subject, began_ns)
        for finished in self._finishers:
            finished(observed)

    def request_of(self, outer: Request) -> Request:
        """A further request of the same client, to another upstream."""
        memory, disk, turn = Holding(self._held), Holding(self._spooled), Turn(self._large, self._room)
        made = Request(time.monotonic_ns(), outer.method, outer.raw_path, outer.peer, memory, disk, turn)
        made.trace_id, made.user_agent = outer.trace_id, outer.user_agent
        return made

    def enter(self, request: Request, principal: Principal) -> Place:
        """The place of a request among those in progress; `Denied` if its share has none."""
        place = self._admission.enter(principal)
        request.take_place(place)
        return place

    async def _refuse(self, observed: Observed, denied: Denied, scope: Scope, send: Send) -> None:
        """Answer with a refusal. `__call__` keeps no name for it: its traceback holds that frame and the request."""
        request = observed.request
        denied = refusal_answers.for_aws(denied, scope["headers"], scope["query_string"])
        if observed.speaker is None:
            names = frozenset(name for name, _ in scope["headers"])
            request.speaker = wrong_route.speaker(request.raw_path.decode("latin-1"), names)
        observed.outcome = denied.code
        if denied.code == "limit_exceeded" and self._measures is not None and observed.principal is not None:
            self._measures.limited(observed.principal.organization, denied.facts or ())
        await self.tell(observed, denied, scope[Departure.KEY], send)

    async def tell(self, observed: Observed, denied: Denied, client: Departure, send: Send) -> None:
        """Answer with a refusal, and count it."""
        await self._teller.refuse(observed, denied, client, send)

    def load(self) -> tuple[int, int, int, int]:
        """The requests in progress, the bytes that are held in memory and on disk, and the entries that wait."""
        return self._admission.requests.taken, self._held.taken, self._spooled.taken, self._recorder.waiting

    async def _attempt(self, admitted: Admitted, client: Departure, send: Send) -> Failure | None:
        """Judge the call and carry it out at one upstream. None if the client was answered, or has gone."""
        place = admitted.place
        try:
            await place.work()
            judged = await self._judge(admitted)
            if isinstance(judged, Failure):
                return judged
            carried = Carried.of(judged)
            del judged  # it holds the body and the documents, which nobody needs while the provider thinks
            return await self._carry_out(carried, client, send)
        finally:
            if place.is_at_work:
                place.rest()

    async def _wait_for_people(
        self, approvals: Approvals, failure: Failure, client: Departure, send: Send
    ) -> tuple[Observed, Failure | None]:
        """Let a call that people must approve wait for them; each further try is judged from the beginning."""
        ends = approvals.ends()
        if failure.overtaken:
            admitted = failure.admitted
            following = again(admitted, admitted.match, admitted.others, admitted.retries)
            if (failed := await self._attempt(following, client, send)) is None:
                return following.observed, None
            failure = failed
        while True:
            admitted = failure.admitted
            if not await approvals.hold(failure.denied, admitted.request, client, ends):
                return admitted.observed, failure
            place = self.enter(admitted.request, admitted.principal)
            following = again(admitted, admitted.match, admitted.others, admitted.retries)
            failed = await self._attempt(replace(following, place=place), client, send)
            if failed is None:
                return following.observed, None
            failure = failed

    # Admit: steps 1 to 4

    async def _admit(self, observed: Observed, scope: Scope, receive: Receive, client: Departure) -> Admitted:
        # 1 guard the head
        request, headers = observed.request, preconditions.head(scope)
        # 2 route
        target = routing.target(scope["method"], scope["raw_path"])
        request.speaker = target.provider
        if target.provider is not None and target.provider.refuses_pages:
            preconditions.no_foreign_page(headers, self._settings.public_data_plane)
        # 3 authenticate; upstreams belong to organizations, so the upstream is known only now
        credential = authentication.presented(
            scope["headers"],
            scope["query_string"],
            scope["method"],
            scope["raw_path"],
            scope.get(Certificate.KEY),
            legacy=True,
        )
        epochs = await self._registry.epochs()
        principal = observed.principal = await self._principals.get(credential, epochs.authority)
        place = self._admission.enter(principal)
        request.take_place(place)
        client.known(place.holders)
        if mandates.HEADER in headers:
            request.mandate = headers[mandates.HEADER].decode("latin-1") or "-"
        request.trace_id, request.user_agent = client_headers.trace_id(headers), client_headers.user_agent(headers)
        routes = await self._registry.routes(epochs.upstreams)
        try:
            found = routes.resolve(principal.organization, target)
        except Denied as denied:
            named = None if target.named is None else routes.named(principal.organization, target.named[0])
            if named is not None:
                request.speaker = named.provider
            found = await self._registry.resolve_again(denied, epochs.upstreams, principal.organization, target)
        match, others = self.choose(principal, found)
        observed.match = match
        route = match.endpoint.route
        head = RequestHead(
            preconditions.query(scope["query_string"], route.query),
            client_headers.forwarded(
                headers, signatures.passed_on(route.request_headers, credential), principal.agent_id
            ),
            headers.get(b"content-type", b"").decode("latin-1"),
        )
        if self._tracer is not None:
            self._tracer.begin(request, head.headers)
        # 4 receive the body
        if route.body == "none":
            preconditions.no_body(headers)
        else:
            check = preconditions.json_body if route.body == "json" else preconditions.multipart_body
            check(headers)
            place.expect_body()
            began = time.monotonic_ns()
            request.received = await receiving.receive_body(
                receive,
                headers,
                self._settings.max_body_bytes,
                self._settings.data.path,
                request.holding,
                request.spooled,
            )
            request.waited_ns = time.monotonic_ns() - began
            place.body_has_come()
        if isinstance(credential, Signed):
            await self._reader.check_body(credential, request.received, principal)
            request.assertion = credential if isinstance(credential, Asserted) else None
        salt = random_bytes(SALT_BYTES)
        return Admitted(request, observed, place, salt, target, principal, epochs, head, found, match, others)

    def choose(self, principal: Principal, found: Match | Choices) -> tuple[Match, tuple[Match, ...]]:
        """The upstream of an attempt, and those that may take its place."""
        check_upstream(principal, found)
        return self._chooser.choose(principal, found)

    # Judge: steps 5 and 6

    async def _judge(self, admitted: Admitted) -> Judged | Failure:
        observed = admitted.observed
        overtaken = False
        try:
            # 4 read the body strictly: the provider's view of the call
            # 5 check principal and upstream again, which may have changed while the body arrived; then decide
            admitted, reading = await self._look_again(*await self._reader.read(admitted))
            principal, match, call = admitted.principal, admitted.match, reading.call
            active, callee, known = await self._registry.active(admitted.epochs.policy), None, False
            if match.destination.published is not None:
                callee = await self._registry.callees.of(match.destination, admitted.epochs.authority)
                call = replace(call, agent=callee.document)
            elif (remote := match.destination.remote) is not None:
                known = await self._border.speaker(remote[0]) is not None
                call = replace(call, agent=border.document_of(remote, known=known))
            judges = authorization.panel(principal, active, self._policies)
            named, peer = reading.models, admitted.request.peer
            judges = authorization.within_scope(judges, principal.scope, call, named, peer)
            if call.tool is not None and call.tool.arguments is not None:
                proposal, among = await self._proposals.find(principal, call.tool.name, call.tool.arguments)
                call = replace(call, tool=replace(call.tool, proposed_by=proposal))
                observed.unproposed = among and proposal is None
            foreign = await self._reader.foreign(principal, match, call)
            kept = await self._reader.kept(principal, match, call)
            observed.judging_ns = time.monotonic_ns()
            consent, received, mandate, mandated = None, None, None, None
            if named_mandate := admitted.request.mandate:
                mandate = await self._registry.mandates.of(named_mandate, principal, call, admitted.epochs.authority)
            asked = admitted, call, judges, foreign, kept
            if admitted.request.assertion is not None:
                found, received = self._receive_alone(admitted, call, callee, active, foreign)
                shadow = ""
                if mandate is not None:  # its holder would be an agent of this gateway
                    refused = authorization.refused(found.authorization, mandates.refused(mandate))
                    found, received = replace(found, authorization=refused), None
            else:
                found, shadow = await self._judgements.decide(*asked, mandate=mandate)
            if found.authorization.code == APPROVAL and self._approvals is not None:
                consent = await self._approvals.of(admitted, call, found.authorization)
                if (given := consent.document) is not None:
                    found, shadow = await self._judgements.decide(*asked, given, mandate)
            if received is None and callee is not None and found.authorization.allow:
                found, received = self._receive(admitted, found, callee, active)
            if found.authorization.allow and match.destination.remote is not None and not known:
                found = replace(
                    found, authorization=border.unavailable(found.authorization, match.destination.remote[0])
                )
            if mandate is not None and found.authorization.allow and found.reservation is not None:
                share = mandate.reservation(found.reservation, found.call)
                mandated = Mandated(new_id("dec_"), mandate, random_bytes(SALT_BYTES), share)
            observed.panel, observed.model = found.authorization.panel, found.call.model
            keeping = None
            if self._contents is not None and principal.content is not None:
                holding = Holding(self._held, admitted.place.holders)
                keeping = self._contents.of(principal, observed.decision_id, holding)
            observed.judged_ns = time.monotonic_ns()
            # 6 record `decided`
            told = ("", "", "", False) if consent is None else consent.told(found.authorization)
            judged = Judged(
                admitted,
                reading.changed(found.call, found.edits),
                found.authorization,
                shadow,
                found.output_limit,
                found.reservation if found.authorization.allow else None,
                keeping,
                *told,
                received,
                mandated,
            )
            overtaken = consent is None and found.authorization.may_be_overtaken
            use = await (self._recorder.decided(judged) if received is None else self._record(judged))
            overtaken = False
            if consent is not None and self._approvals is not None:
                try:
                    await self._approvals.settle(consent, found.authorization, observed.decision_id, use)
                except asyncio.CancelledError:
                    if found.authorization.allow:  # as in `decided`: the log has an open decision
                        await self._recorder.completed(Carried.of(judged), "gateway_stopped")
                    raise
            if not found.authorization.allow:
                if received is not None and admitted.request.assertion is not None:
                    raise border.refusal(received)
                raise denial(found.authorization)
            return judged
        except Denied as denied:
            observed.outcome = denied.code
            # From Python 3.12 on, a traceback would hold the frames that hold the failure.
            overtaken = overtaken and denied.code == "limit_exceeded"
            return Failure(admitted, denied.with_traceback(None), by_policy=observed.judged, overtaken=overtaken)
        finally:
            # Before the next attempt: what waits to be at work must not keep this from one that is.
            admitted.request.turn.release()

    def _receive(
        self, admitted: Admitted, found: Judgement, callee: Callee, active: ActiveSet
    ) -> tuple[Judgement, Received | None]:
        """Ask the side of the agent that is called, whose word is needed as well. Its reasons are for its own log."""
        organization, name = callee.document["organization"], callee.document["name"]
        if callee.refusal is not None:
            verdict = Verdict("callee_unavailable", reasons=(f"`{organization}/{name}` takes no requests now",))
            return replace(found, authorization=authorization.refused(found.authorization, verdict)), None
        judges = authorization.panel(callee.principal, active, self._policies, receiving=True)
        ends = time.monotonic() + self._settings.policy_deadline_ms / 1000
        theirs = authorization.decide_received(judges, admitted.principal, found.call, time.time_ns(), ends=ends)
        share = self._judgements.received(callee.principal, admitted.principal, theirs, found.call)
        received = Received(new_id("dec_"), callee.principal, theirs, random_bytes(SALT_BYTES), share)
        if not theirs.allow:
            told = {CALLEE.organization: organization, CALLEE.name: name, CALLEE.decision: received.decision_id}
            verdict = Verdict(CALLEE.refusal, reasons=(CALLEE.refused(told),))
            found = replace(found, authorization=authorization.refused(found.authorization, verdict))
        return found, received

    async def _record(self, judged: Judged) -> int:
        """Record the decision as `Recorder.decided` does. Another gateway that has asked is told what is recorded."""
        asserted, received, observed = judged.admitted.request.assertion, judged.received, judged.admitted.observed
        if asserted is None or received is None:
            return await self._recorder.decided(judged)
        allow = received.authorization.allow
        checkpoint = await self._border.checkpoint(received.callee.organization)
        try:
            return await self._recorder.decided(judged)
        except Denied:
            if not observed.recorded:
                raise
            allow = False  # a limit had no room, as its transaction has found
            raise border.refusal(received) from None
        finally:
            if observed.recorded:
                observed.receipt = self._border.receipt(asserted, received, observed.leaf, checkpoint, allow=allow)

    def _receive_alone(
        self,
        admitted: Admitted,
        call: Call,
        callee: Callee | None,
        active: ActiveSet,
        foreign: tuple[Reference, ...],
    ) -> tuple[Judgement, Received]:
        """Ask the side of the agent that is called, where the caller's has decided behind another gateway."""
        if callee is None:
            raise Denied("unknown_route")
        self._border.check()
        judges = authorization.panel(callee.principal, active, self._policies, receiving=True)
        ends = time.monotonic() + self._settings.policy_deadline_ms / 1000
        theirs = authorization.decide_received(
            judges, admitted.principal, call, time.time_ns(), ends=ends, foreign=foreign
        )
        if callee.refusal is not None:
            verdict = Verdict("callee_unavailable", reasons=("it takes no requests now",))
            theirs = authorization.refused(theirs, verdict)
        share = self._judgements.received(callee.principal, admitted.principal, theirs, call)
        received = Received(admitted.observed.decision_id, callee.principal, theirs, admitted.salt, share)
        return Judgement(theirs, theirs.input, call, (), None, None), received

    async def _look_again(self, admitted: Admitted, reading: Reading) -> tuple[Admitted, Reading]:
        while (epochs := await self._registry.epochs()) is not admitted.epochs:
            before, target = admitted, admitted.target
            principal = await self._principals.refresh(before.principal, epochs.authority)
            found = (await self._registry.routes(epochs.upstreams)).resolve(principal.organization, target)
            admitted = replace(before, epochs=epochs, principal=principal)
            admitted.observed.principal = principal
            if found == before.found:
                break
            match, others = self.choose(principal, found)
            admitted.observed.match = match
            if before.match.endpoint.route != match.endpoint.route or before.retry_of:
                # The old route's allow-lists were applied, and a finished attempt cannot be undone.
                raise Denied("registry_unavailable", "the upstream's routes changed while the request arrived")
            # Another upstream may read the body in another way.
            admitted, reading = await self._reader.read(replace(admitted, found=found, match=match, others=others))
        return admitted, reading  # all of this was found in the same turn of the event loop

    # Carry out: steps 7 to 9

    async def _carry_out(self, carried: Carried, client: Departure, send: Send) -> Failure | None:
        """Forward and relay within the time one call may take, and close the record whatever happens."""
        admitted, request = carried.admitted, carried.admitted.request
        total = admitted.match.endpoint.route.lifetime.total or self._settings.upstream_total_timeout
        request.ends = request.ends or asyncio.get_running_loop().time() + total
        passing = _Passing(carried, self._relay(carried, send), self.watch.enter(admitted.principal), client)
        try:
            await self._pass_on(passing)
        except TimeoutError:
            _end_in_time(passing)
        except Denied as denied:
            self._fail(passing, denied)
        except asyncio.CancelledError:
            passing.outcome = "gateway_stopped"
            raise
        finally:
            # 9 record `completed`
            closed = await self._close(passing)
        await self._recorder.remember_created(carried)
        observed = carried.admitted.observed
        if carried.proposed:
            principal, model = carried.admitted.principal, observed.model
            await self._proposals.remember(principal, observed.decision_id, model, carried.proposed)
        if observed.unproposed:
            await self._proposals.count(carried.admitted.principal, observed.decision_id)
        if client.gone:
            return None
        if not closed:
            passing.failure = Denied("outcome_unrecorded")
            admitted.observed.outcome = passing.failure.code
        return await self._finish(passing)

    def _relay(self, carried: Carried, send: Send) -> Relay:
        holding = Holding(self._held, carried.admitted.place.holders)
        upstream, loop = carried.admitted.match.destination.id, asyncio.get_running_loop()

        def note(digest: str, definition: str) -> None:
            """Called from the thread in which a list is judged."""
            loop.call_soon_threadsafe(self._sight, upstream, digest, definition)

        return Relay(carried, holding, self._judgements.turns, send, note)

    def _sight(self, upstream: str, digest: str, definition: str) -> None:
        """A server has told an agent of a tool that is not as it was approved."""
        self._registry.doubt(upstream, str(orjson.loads(definition).get("name")))
        self._sighted(upstream, digest, definition)

    async def _pass_on(self, passing: _Passing) -> None:
        """Steps 7 and 8. Raises what has ended the call early."""
        carried, client, watched, loop = passing.carried, passing.client, passing.watched, asyncio.get_running_loop()
        ends, lifetime = carried.admitted.request.ends, carried.sent.endpoint.route.lifetime
        first_byte = lifetime.first_byte or self._settings.upstream_first_byte_timeout
        with self._deadlines.at(min(loop.time() + first_byte, ends)) as limit:
            # A client that leaves ends the call at once: the upstream must not go on without a reader, but for a
            # moment in which a stream may tell of its usage. So does a revocation, as soon as it is seen.
            watched.end = limit.end_now

            def leave() -> None:
                if seconds := passing.relay.leave():
                    limit.bring_forward(loop.time() + seconds)
                else:
                    limit.end_now()

            client.tell = leave
            if client.gone or watched.denied is not None:
                client.tell()
            # 7 forward
            answer = await self._forward(carried)
            # 8 relay; pauses within the answer are limited by the upstream client
            if carried.admitted.others and self._chooser.may_replace(carried.admitted, answer.status):
                passing.kept = KeptAnswer()
                passing.relay = self._relay(carried, passing.kept.send)
            else:
                limit.move(ends)
            try:
                passing.outcome = await passing.relay.run(answer)
            finally:
                answer.close()
        carried.admitted.observed.status = answer.status
        if carried.left and passing.outcome in ("ok", "cap_exceeded"):
            passing.outcome, carried.ran_to_end = "client_disconnected", True

    def _fail(self, passing: _Passing, denied: Denied) -> None:
        """Note why the upstream, or what it sent, has ended the call."""
        # With its traceback, it would keep frames and the request until the next garbage collection.
        passing.outcome, passing.failure = _outcome(denied), denied.with_traceback(None)
        carried, destination = passing.carried, passing.carried.admitted.match.destination
        carried.detail = denied.detail
        if denied.code == "upstream_unavailable":
            self._complaints.unavailable(destination.id, destination.name, denied.detail, denied.hint)
        elif isinstance(denied, WrongServerError):
            self._complaints.refused(destination.id, destination.name, denied.detail, denied.hint)
        carried.unsent = isinstance(denied, NotConnectedError | CircuitOpenError)
        if denied.code == "upstream_timeout":
            carried.timeout = "connect" if isinstance(denied, NotConnectedError) else "idle"
        if passing.outcome != "circuit_open":  # one per call, so not worth a line
            logger.warning("%s ended with %s: %s", carried.admitted.observed.decision_id, denied.code, denied.detail)

    async def _close(self, passing: _Passing) -> bool:
        """Step 9: tell everybody who keeps count of calls, and record the end. True if the log has it."""
        carried, admitted, observed = passing.carried, passing.carried.admitted, passing.carried.admitted.observed
        admitted.place.go_on()
        observed.answered_ns = time.monotonic_ns()
        passing.client.tell = None
        self.watch.leave(passing.watched)
        outcome, failure, destination = passing.outcome, passing.failure, admitted.match.destination
        agent, status = admitted.principal.agent_id, observed.upstream_status
        self._breakers.note(destination, agent, outcome, status, unconnected=carried.unsent)
        replaceable = passing.kept is not None and passing.watched.denied is None
        if replaceable or (failure is not None and self._chooser.may_follow(admitted, failure)):
            observed.status = None  # the client gets another answer
        elif failure is not None and observed.status is None and not passing.client.gone:
            observed.status = failure.reason.status
        observed.outcome, about = outcome, observed.rejected
        if about is Why.CREDIT and failure is None:
            self._complaints.refused(destination.id, destination.name, carried.detail, rejections.REMEDIES[about])
        self._contacts.note(destination.id, outcome, status, carried.detail, about)
        closed = await self._recorder.completed(carried, outcome)
        observed.closed_ns = time.monotonic_ns()
        if self._measures is not None:
            self._measures.called(observed, destination, outcome)
        if self._tracer is not None:
            self._tracer.closed(observed, outcome)
        admitted.place.rest()  # a client may take its time to read the end
        return closed

    async def _finish(self, passing: _Passing) -> Failure | None:
        """Give the client the end of its answer, or the failure back for which it may get another one."""
        relay, kept, failure, admitted = passing.relay, passing.kept, passing.failure, passing.carried.admitted
        if failure is None and kept is not None:
            return await kept.complete(admitted, relay.end)
        if failure is None:
            with suppress(TimeoutError), self._deadlines.at(admitted.request.ends):  # the client may not read on
                await relay.end()
            return None
        if kept is not None or not relay.begun:
            return Failure(admitted, failure)
        await relay.break_off(failure)
        return None

    async def _forward(self, carried: Carried) -> Answer:
        admitted, observed, call = carried.admitted, carried.admitted.observed, carried.call
        del carried.call
        destination, agent = admitted.match.destination, admitted.principal.agent_id
        headers = {**admitted.head.headers, **carried.set_headers, **destination.headers}
        self._breakers.enter(destination, agent)
        if carried.received:
            principal = admitted.principal
            headers["Gateway-Caller"] = f"{principal.organization}/{principal.name}"
            headers["Gateway-Decision"] = carried.received
        if self._tracer is not None:
            self._tracer.forward(observed, headers)
        if destination.auth not in (KEY, PEER):
            carried.bearer = self._tokens.of_call(
                admitted.principal,
                call,
                observed.decision_id,
                destination.base_url,
                destination.auth,
                carried.received,
            )
        outgoing = destination.provider.prepare(call, destination.base_url, destination.secret, headers)
        if destination.auth == PEER:
            outgoing = await self._border.vouched(carried, call.action, outgoing)
        translation = destination.provider.translation(call) if call.translated else None
        del call  # it holds the body, which nobody needs while the provider thinks
        keep = self._chooser.keeps_body(admitted)
        admitted.place.rest()
        observed.sent_ns = time.monotonic_ns()
        sent = _nothing if keep else admitted.request.forget_body
        lifetime = carried.sent.endpoint.route.lifetime
        answer: Answer
        if translation is None:
            if carried.bearer is not None:
                outgoing = outgoing.with_bearer(carried.bearer.token(outgoing.body))
            answer = await self._client.send(outgoing, sent, destination.reach, lifetime.idle)
        else:
            answer = await self._translate(carried, translation, outgoing, sent)
        observed.upstream_status = answer.status
        wrong: WrongServerError | None = None
        try:
            if destination.auth == PEER:
                await self._border.prove(carried, outgoing.headers[ASSERTION_HEADER], answer)
            try:
                wrong = await upstream_errors.wrong_server(answer, destination, carried.sent)
            finally:
                self._breakers.answered(destination, agent, answer.status if wrong is None else wrong.reason.status)
            if wrong is not None:
                raise wrong
            if answer.status in (401, 403):
                found = await upstream_errors.of_forbidden(answer, destination) if answer.status == 403 else None
                observed.rejected = found.why if found is not None else None
                if found is None or not found.of_client:
                    raise upstream_errors.refusal(
                        answer.status, found, credential=carried.bearer is not None or destination.secret is not None
                    )
            preconditions.answer(answer)
        except BaseException:
            answer.close()
            raise
        if keep and not (admitted.others and self._chooser.may_replace(admitted, answer.status)):
            admitted.request.forget_body()
        return answer

    async def _translate(
        self, carried: Carried, translation: Translation, outgoing: Outgoing, sent: Callable[[], None]
    ) -> Answer:
        """Forward a call to an upstream that speaks another era of the protocol."""
        if (told := translation.told()) is not None:
            sent()
            return told
        admitted, bearer = carried.admitted, carried.bearer
        destination, principal = admitted.match.destination, admitted.principal
        idle = admitted.match.endpoint.route.lifetime.idle
        holding = Holding(self._held, admitted.place.holders)
        link = Link(self._client, sent, destination.reach, idle, holding, bearer)
        if not translation.sessions:
            return await translating.send(translation, outgoing, link)
        behalf = [each["id"] for each in principal.document["delegation"]], principal.person
        whose = destination.id, principal.agent_id, orjson.dumps(behalf)
        server = Server(destination.base_url, destination.reach, destination.headers, destination.secret, bearer)
        return await self._sessions.send(whose, server, translation, outgoing, link)

    async def close(self) -> None:
        """End what outlives requests."""
        await self._sessions.close()


class _Passing:
    """A call from step 7 on, with those who look after it: its relay, its outcome and its failure."""

    __slots__ = ("carried", "client", "failure", "kept", "outcome", "relay", "watched")

    def __init__(self, carried: Carried, relay: Relay, watched: Watched, client: Departure) -> None:
        self.carried = carried
        self.relay = relay
        self.watched = watched
        self.client = client
        # The answer, if another upstream's may take its place.
        self.kept: KeptAnswer | None = None
        self.outcome = "gateway_error"
        self.failure: Denied | None = None


def _end_in_time(passing: _Passing) -> None:
    """Note whose time is over: the upstream's, or that of a client that has left or may go on no longer."""
    carried, denied, gone = passing.carried, passing.watched.denied, passing.client.gone
    passing.failure = denied or Denied("upstream_timeout")
    passing.outcome = "client_disconnected" if gone else "upstream_timeout"
    if denied is None:
        over = asyncio.get_running_loop().time() >= carried.admitted.request.ends
        carried.timeout = "total" if over else "first_byte"
    elif not gone:
        passing.outcome, carried.detail = passing.watched.outcome, denied.detail
        logger.info("%s was ended: %s", carried.admitted.observed.decision_id, denied.detail or denied.code)


def _outcome(denied: Denied) -> str:
    """The log's outcome for a call that failed with this error."""
    if isinstance(denied, CircuitOpenError):
        return "circuit_open"
    # The upstream's answer about the gateway's key is one, whatever the client is told.
    return "provider_error" if denied.code == "upstream_unavailable" else denied.code


def _nothing() -> None:
    """For a body that may have to be sent again."""
