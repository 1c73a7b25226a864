"""The data plane: one request of an agent, as nine numbered steps (architecture.md, section 7).

    admit       1 guard the head   2 route    3 authenticate   4 read the body into a call
    judge       5 decide           6 record `decided`
    carry out   7 forward          8 relay    9 record `completed`

`DataPlane.__call__` calls these three in order; where an upstream fails, `attempts.py` may have the last two done again
for another one. A failure before step 6 is a refusal, and nothing has left the gateway. From step 6 on there is an open
decision, and every way out, also after a disconnect or in a cancelled task, passes through step 9. Two laws:

# INVARIANT: no byte goes upstream before `decided` is durable, and none that was not judged.
# INVARIANT: the client sees the end of an answer only after `completed` is durable.

This is the hot path, so it is pure ASGI with hand-made messages. `gateway/http/connection.py` guards connections and
`preconditions.py` checks heads; `receiving.py` and `reading.py` make a call of a body, `judgement.py` asks the
policies, `recording.py` writes the records, `relay.py` passes the answer on, `telling.py` says what has failed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from contextlib import suppress

from starlette.types import Receive, Scope, Send

from gateway.audit.entry import SALT_BYTES
from gateway.audit.writer import AuditWriter
from gateway.dataplane import aws_clients, client_headers, preconditions, receiving, rejected, wrong_server
from gateway.dataplane.admission import Admission
from gateway.dataplane.attempts import Chooser, Failure, KeptAnswer
from gateway.dataplane.breakers import Breakers, CircuitOpenError
from gateway.dataplane.budget import Budget
from gateway.dataplane.complaints import Complaints
from gateway.dataplane.contacts import Contacts
from gateway.dataplane.content import Contents
from gateway.dataplane.costs import Costs
from gateway.dataplane.deadline import Deadlines
from gateway.dataplane.denials import Denials
from gateway.dataplane.denied_texts import denial
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.held_bytes import Holding, Turn
from gateway.dataplane.judgement import Judgement
from gateway.dataplane.measures import Measures
from gateway.dataplane.outages import Outages
from gateway.dataplane.reading import Reader, check_upstream
from gateway.dataplane.recording import Recorder
from gateway.dataplane.refusals import Asked, Refusals
from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.relay import Relay
from gateway.dataplane.request_log import RequestLog
from gateway.dataplane.telling import Teller
from gateway.dataplane.tracing import Tracer
from gateway.dataplane.watch import Watch, Watched
from gateway.dataplane.wrong_server import WrongServerError
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.identifiers import new_id, random_bytes
from gateway.identity import authentication, signatures
from gateway.identity.certificates import Certificate
from gateway.identity.principals import Principal, Principals
from gateway.identity.signatures import Signed
from gateway.policy import authorization
from gateway.policy.cache import PolicyCache
from gateway.runtime.legacy_clients import LegacyClients
from gateway.runtime.references import References
from gateway.settings import Settings
from gateway.shares import Shares
from gateway.upstream import routing, wrong_route
from gateway.upstream.client import Answer, NotConnectedError, UpstreamClient
from gateway.upstream.providers import rejections
from gateway.upstream.providers.base import Head
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Choices, Match

logger = logging.getLogger("gateway.dataplane.proxy")


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
        self._complaints = Complaints()
        self._admission = Admission(settings)
        # Half of the memory is for reading one large body at a time: whatever others hold, there is room for that.
        self._room = settings.max_held_bytes // 2
        self._held = Shares("bytes of requests and answers in memory", settings.max_held_bytes - self._room)
        self._spooled = Shares("bytes of large requests on disk", settings.max_spooled_bytes)
        self._breakers = Breakers(settings, contacts.breaker)
        self._chooser = Chooser(settings, self._breakers)
        self.watch = Watch(registry, principals)
        self._deadlines = Deadlines(asyncio.get_running_loop())
        # One large body at a time, so that the event loop gets its share of the interpreter.
        bodies = Shares("large bodies that are worked on", 1)
        # One body that is on disk is read into memory at a time, and it stays there until it was judged and recorded.
        self._large = Shares("large bodies in memory", 1)
        self._reader = Reader(references, bodies)
        self._judgement = Judgement(budget, settings.policy_deadline_ms / 1000)
        self._recorder = Recorder(writer, references, bodies, costs, measures, refusals, Denials(settings.workers))
        self._teller = Teller(refusals)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = first = Exchange(
            new_id("dec_"),
            time.monotonic_ns(),
            random_bytes(SALT_BYTES),
            Holding(self._held),
            Holding(self._spooled),
            Turn(self._large, self._room),
        )
        client: Departure = scope[Departure.KEY]
        try:
            await self._admit(exchange, scope, receive, client)
            failure = await self._attempt(exchange, client, send)
            if failure is not None:
                attempt = functools.partial(self._attempt, client=client, send=send)
                done = await self._chooser.go_on(failure, attempt, client)
                if isinstance(done, Failure):
                    exchange = done.exchange
                    await self._teller.tell(done, client, send)
                else:
                    exchange = done
        except Denied as denied:
            await self._refuse(exchange, denied, scope, send)
        except receiving.ClientGoneError:
            exchange.outcome = "client_disconnected"  # nothing was decided, and there is no client to answer
        finally:
            first.release()
            if self._clients is not None and first.principal is not None and first.principal.adopting:
                named = first.model or (first.call.models[0] if first.call and first.call.models else None)
                self._clients.note(first.principal, first.user_agent, first.peer, named)
            if self._requests is not None:
                self._requests.add(exchange, f"{scope['method']} {scope['path']}", first.started_monotonic_ns)
            if self._measures is not None:
                self._measures.finished(exchange)
            if self._outages is not None:
                self._outages.finished(exchange)
            if self._tracer is not None:
                self._tracer.finished(exchange)

    async def _refuse(self, exchange: Exchange, denied: Denied, scope: Scope, send: Send) -> None:
        """Answer with a refusal. `__call__` keeps no name for it: its traceback holds that frame and the request."""
        denied = aws_clients.refusal(denied, scope["headers"], scope["query_string"])
        if exchange.speaker is None:
            names = frozenset(name for name, _ in scope["headers"])
            exchange.speaker = wrong_route.speaker(scope["raw_path"].decode("latin-1"), names)
        exchange.unrouted = Asked(scope["method"], scope["raw_path"].decode("latin-1"))
        exchange.outcome = denied.code
        if denied.code == "limit_exceeded" and not exchange.recorded and self._measures is not None:
            assert exchange.principal is not None
            self._measures.limited(exchange.principal.organization, denied.facts or ())
        await self._teller.refuse(exchange, denied, scope[Departure.KEY], send)

    def load(self) -> tuple[int, int, int, int]:
        """The requests in progress, the bytes that are held in memory and on disk, and the entries that wait."""
        return self._admission.requests.taken, self._held.taken, self._spooled.taken, self._recorder.waiting

    async def _attempt(self, exchange: Exchange, client: Departure, send: Send) -> Failure | None:
        """Judge the call and carry it out at one upstream. None if the client was answered, or has gone."""
        try:
            if exchange.call is None:
                await self._reader.read(exchange)
            await self._judge(exchange)
        except Denied as denied:
            exchange.outcome = denied.code
            # From Python 3.12 on, a traceback would hold the frames that hold the failure.
            return Failure(exchange, denied.with_traceback(None), by_policy=exchange.judged)
        return await self._carry_out(exchange, client, send)

    # Admit: steps 1 to 4

    async def _admit(self, exchange: Exchange, scope: Scope, receive: Receive, client: Departure) -> None:
        # 1 guard the head
        exchange.peer = scope["client"][0] if scope["client"] else None
        headers = preconditions.head(scope)
        # 2 route
        target = exchange.target = routing.target(scope["method"], scope["raw_path"])
        exchange.speaker = target.provider
        # 3 authenticate; upstreams belong to organizations, so the upstream is known only now
        credential = authentication.presented(
            scope["headers"],
            scope["query_string"],
            scope["method"],
            scope["raw_path"],
            scope.get(Certificate.KEY),
            legacy=True,
        )
        epochs = exchange.epochs = await self._registry.epochs()
        principal = exchange.principal = await self._principals.get(credential, epochs.authority)
        exchange.take_place(place := self._admission.enter(principal))
        client.known(place.holders)
        exchange.trace_id, exchange.user_agent = client_headers.trace_id(headers), client_headers.user_agent(headers)
        routes = await self._registry.routes(epochs.upstreams)
        try:
            found = routes.resolve(principal.organization, target)
        except Denied as denied:
            named = None if target.named is None else routes.named(principal.organization, target.named[0])
            if named is not None:
                exchange.speaker = named.provider
            found = await self._registry.resolve_again(denied, epochs.upstreams, principal.organization, target)
        self._choose(exchange, principal, found)
        match = exchange.match
        assert match is not None
        route = match.endpoint.route
        exchange.speaker = match.destination.provider
        exchange.head = Head(
            preconditions.query(scope["query_string"], route.query),
            client_headers.forwarded(
                headers, signatures.passed_on(route.request_headers, credential), principal.agent_id
            ),
            headers.get(b"content-type", b"").decode("latin-1"),
        )
        if self._tracer is not None:
            self._tracer.begin(exchange)
        # 4 read the body, strictly: the provider's view of the call
        if route.body == "none":
            preconditions.no_body(headers)
        else:
            check = preconditions.json_body if route.body == "json" else preconditions.multipart_body
            check(headers)
            assert exchange.place is not None
            exchange.place.expect_body()
            began = time.monotonic_ns()
            exchange.received = await receiving.receive_body(
                receive,
                headers,
                self._settings.max_body_bytes,
                self._settings.data.path,
                exchange.holding,
                exchange.spooled,
            )
            exchange.waited_ns = time.monotonic_ns() - began
            exchange.place.body_has_come()
        if isinstance(credential, Signed):
            await self._reader.check_body(credential, exchange.received, principal)
        await self._reader.read(exchange)

    def _choose(self, exchange: Exchange, principal: Principal, found: Match | Choices) -> None:
        """Choose the upstream of an attempt."""
        check_upstream(principal, found)
        self._chooser.choose(exchange, found)

    # Judge: steps 5 and 6

    async def _judge(self, exchange: Exchange) -> None:
        # 5 check principal and upstream again, which may have changed while the body arrived; then decide
        await self._look_again(exchange)
        principal, epochs = exchange.principal, exchange.epochs
        assert principal is not None
        assert epochs is not None
        judges = authorization.panel(principal, await self._registry.active(epochs.policy), self._policies)
        assert exchange.match is not None
        assert exchange.call is not None
        named = exchange.requested_models or exchange.call.models
        judges = authorization.within_scope(judges, principal.scope, exchange.call.action, named, exchange.peer)
        foreign = await self._reader.foreign(exchange, exchange.match)
        exchange.kept = await self._reader.kept(exchange, exchange.match)
        exchange.judging_ns = time.monotonic_ns()
        await self._judgement.decide(exchange, principal, judges, foreign)
        if self._contents is not None and principal.content is not None:
            exchange.keeping = self._contents.of(principal, exchange.decision_id, self._holding(exchange))
        exchange.judged_ns = time.monotonic_ns()
        # 6 record `decided`
        await self._recorder.decided(exchange)
        assert exchange.authorization is not None
        if not exchange.authorization.allow:
            raise denial(exchange.authorization)

    async def _look_again(self, exchange: Exchange) -> None:
        while True:
            target, principal = exchange.target, exchange.principal
            assert target is not None
            assert principal is not None
            epochs = await self._registry.epochs()
            if epochs is exchange.epochs:
                return  # nothing was waited for: all of this was found in the same turn of the event loop
            exchange.epochs = epochs
            principal = exchange.principal = await self._principals.refresh(principal, epochs.authority)
            found = (await self._registry.routes(epochs.upstreams)).resolve(principal.organization, target)
            if found is exchange.found or found == exchange.found:
                return
            before = exchange.match
            self._choose(exchange, principal, found)
            match = exchange.match
            assert match is not None
            exchange.speaker = match.destination.provider
            if before is None or before.endpoint.route != match.endpoint.route or exchange.retry_of:
                # The old route's allow-lists were applied, and a finished attempt cannot be undone.
                raise Denied("registry_unavailable", "the upstream's routes changed while the request arrived")
            await self._reader.read(exchange)  # another upstream may read the body in another way

    # Carry out: steps 7 to 9

    async def _carry_out(self, exchange: Exchange, client: Departure, send: Send) -> Failure | None:
        """Forward and relay within the time one call may take, and close the record whatever happens."""
        assert exchange.match is not None
        assert exchange.principal is not None
        exchange.ends = exchange.ends or asyncio.get_running_loop().time() + self._settings.upstream_total_timeout
        relay = Relay(exchange, exchange.match, self._holding(exchange), self._judgement.turns, send)
        carried = _Carried(exchange.match, relay, self.watch.enter(exchange.principal), client)
        try:
            await self._pass_on(exchange, carried)
        except TimeoutError:
            _end_in_time(exchange, carried)
        except Denied as denied:
            self._fail(exchange, carried, denied)
        except asyncio.CancelledError:
            carried.outcome = "gateway_stopped"
            raise
        finally:
            # 9 record `completed`
            closed = await self._close(exchange, carried)
        await self._recorder.remember_created(exchange)
        if client.gone:
            return None
        if not closed:
            carried.failure = Denied("outcome_unrecorded")
            exchange.outcome = carried.failure.code
        return await self._finish(exchange, carried)

    async def _pass_on(self, exchange: Exchange, carried: _Carried) -> None:
        """Steps 7 and 8. Raises what has ended the call early."""
        client, watched, loop = carried.client, carried.watched, asyncio.get_running_loop()
        first_byte = min(loop.time() + self._settings.upstream_first_byte_timeout, exchange.ends)
        with self._deadlines.at(first_byte) as limit:
            # A client that leaves ends the call at once: the upstream must not go on without a reader, but for a
            # moment in which a stream may tell of its usage. So does a revocation, as soon as it is seen.
            watched.end = limit.end_now

            def leave() -> None:
                if seconds := carried.relay.leave():
                    limit.bring_forward(loop.time() + seconds)
                else:
                    limit.end_now()

            client.tell = leave
            if client.gone or watched.denied is not None:
                client.tell()
            # 7 forward
            answer = await self._forward(exchange, carried.match.destination)
            # 8 relay; pauses within the answer are limited by the upstream client
            if exchange.others and self._chooser.may_replace(exchange, answer.status):
                kept = carried.kept = KeptAnswer()
                carried.relay = Relay(
                    exchange, carried.match, self._holding(exchange), self._judgement.turns, kept.send
                )  # fmt: skip
            else:
                limit.move(exchange.ends)
            try:
                carried.outcome = await carried.relay.run(answer)
            finally:
                answer.close()
        exchange.status = answer.status
        if exchange.left and carried.outcome in ("ok", "cap_exceeded"):
            carried.outcome, exchange.ran_to_end = "client_disconnected", True

    def _fail(self, exchange: Exchange, carried: _Carried, denied: Denied) -> None:
        """Note why the upstream, or what it sent, has ended the call."""
        # With its traceback, it would keep frames and the request until the next garbage collection.
        carried.outcome, carried.failure = _outcome(denied), denied.with_traceback(None)
        exchange.detail, destination = denied.detail, carried.match.destination
        if denied.code == "upstream_unavailable":
            self._complaints.unavailable(destination.id, destination.name, denied.detail, denied.hint)
        elif isinstance(denied, WrongServerError):
            self._complaints.refused(destination.id, destination.name, denied.detail, denied.hint)
        exchange.unsent = isinstance(denied, NotConnectedError | CircuitOpenError)
        if denied.code == "upstream_timeout":
            exchange.timeout = "connect" if isinstance(denied, NotConnectedError) else "idle"
        if carried.outcome != "circuit_open":  # one per call, so not worth a line
            logger.warning("%s ended with %s: %s", exchange.decision_id, denied.code, denied.detail)

    async def _close(self, exchange: Exchange, carried: _Carried) -> bool:
        """Step 9: tell everybody who keeps count of calls, and record the end. True if the log has it."""
        exchange.answered_ns = time.monotonic_ns()
        carried.client.tell = None
        self.watch.leave(carried.watched)
        outcome, failure, destination = carried.outcome, carried.failure, carried.match.destination
        agent = carried.watched.principal.agent_id
        self._breakers.note(destination, agent, outcome, exchange.upstream_status, unconnected=exchange.unsent)
        replaceable = carried.kept is not None and carried.watched.denied is None
        if replaceable or (failure is not None and self._chooser.may_follow(exchange, failure)):
            exchange.status = None  # the client gets another answer
        elif failure is not None and exchange.status is None and not carried.client.gone:
            exchange.status = failure.reason.status
        exchange.outcome, about = outcome, exchange.rejected
        if about is Why.CREDIT and failure is None:
            self._complaints.refused(destination.id, destination.name, exchange.detail, rejections.REMEDIES[about])
        self._contacts.note(destination.id, outcome, exchange.upstream_status, exchange.detail, about)
        closed = await self._recorder.completed(exchange, outcome)
        exchange.closed_ns = time.monotonic_ns()
        if self._measures is not None:
            self._measures.called(exchange, outcome)
        if self._tracer is not None:
            self._tracer.closed(exchange, outcome)
        return closed

    async def _finish(self, exchange: Exchange, carried: _Carried) -> Failure | None:
        """Give the client the end of its answer, or the failure back for which it may get another one."""
        relay, kept, failure = carried.relay, carried.kept, carried.failure
        if failure is None and kept is not None:
            return await kept.complete(exchange, relay.end)
        if failure is None:
            with suppress(TimeoutError), self._deadlines.at(exchange.ends):  # of a client that has stopped reading
                await relay.end()
            return None
        if kept is not None or not relay.begun:
            return Failure(exchange, failure)
        await relay.break_off(failure)
        return None

    def _holding(self, exchange: Exchange) -> Holding:
        return Holding(self._held, exchange.holding.holders)

    async def _forward(self, exchange: Exchange, destination: routing.Destination) -> Answer:
        call = exchange.forget_request()
        headers = {**exchange.head.headers, **exchange.set_headers, **destination.headers}
        assert exchange.principal is not None
        agent = exchange.principal.agent_id
        self._breakers.enter(destination, agent)
        if self._tracer is not None:
            self._tracer.forward(exchange, headers)
        outgoing = destination.provider.prepare(call, destination.base_url, destination.secret, headers)
        del call  # it holds the body, which nobody needs while the provider thinks
        keep = self._chooser.keeps_body(exchange)
        exchange.sent_ns = time.monotonic_ns()
        answer = await self._client.send(outgoing, _nothing if keep else exchange.forget_body, destination.reach)
        exchange.upstream_status = answer.status
        assert exchange.match is not None
        wrong: WrongServerError | None = None
        try:
            try:
                wrong = await wrong_server.check(answer, destination, exchange.match.endpoint.route)
            finally:
                self._breakers.answered(destination, agent, answer.status if wrong is None else wrong.reason.status)
            if wrong is not None:
                raise wrong
            if answer.status in (401, 403):
                found = await rejected.of_forbidden(answer, destination) if answer.status == 403 else None
                exchange.rejected = found.why if found is not None else None
                if found is None or not found.of_client:
                    raise rejected.refusal(answer.status, found, credential=destination.secret is not None)
            preconditions.answer(answer)
        except BaseException:
            answer.close()
            raise
        if keep and not (exchange.others and self._chooser.may_replace(exchange, answer.status)):
            exchange.forget_body()
        return answer


class _Carried:
    """A call that is being carried out: its relay, its outcome and its failure, from step 7 on."""

    __slots__ = ("client", "failure", "kept", "match", "outcome", "relay", "watched")

    def __init__(self, match: Match, relay: Relay, watched: Watched, client: Departure) -> None:
        self.match = match
        self.relay = relay
        self.watched = watched
        self.client = client
        # The answer, if another upstream's may take its place.
        self.kept: KeptAnswer | None = None
        self.outcome = "gateway_error"
        self.failure: Denied | None = None


def _end_in_time(exchange: Exchange, carried: _Carried) -> None:
    """Note whose time is over: the upstream's, or that of a client that has left or may go on no longer."""
    denied, gone = carried.watched.denied, carried.client.gone
    carried.failure = denied or Denied("upstream_timeout")
    carried.outcome = "client_disconnected" if gone else "upstream_timeout"
    if denied is None:
        exchange.timeout = "total" if asyncio.get_running_loop().time() >= exchange.ends else "first_byte"
    elif not gone:
        carried.outcome, exchange.detail = carried.watched.outcome, denied.detail
        logger.info("%s was ended: %s", exchange.decision_id, denied.detail or denied.code)


def _outcome(denied: Denied) -> str:
    """The log's outcome for a call that failed with this error."""
    if isinstance(denied, CircuitOpenError):
        return "circuit_open"
    # The upstream's answer about the gateway's key is one, whatever the client is told.
    return "provider_error" if denied.code == "upstream_unavailable" else denied.code


def _nothing() -> None:
    """For a body that may have to be sent again."""
