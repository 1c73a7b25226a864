"""The data plane: one request of an agent, as nine numbered steps (docs/architecture.md, section 7).

    admit       1 guard the head   2 route    3 authenticate   4 read the body into a call
    judge       5 decide           6 record `decided`
    carry out   7 forward          8 relay    9 record `completed`

`DataPlane.__call__` calls these three in order. A failure before step 6 is a refusal, and nothing has left the gateway.
From step 6 on there is an open decision, and every way out, also after a disconnect or in a cancelled task, passes
through step 9. Two laws:

# INVARIANT: no byte goes upstream before `decided` is durable, and none that was not judged.
# INVARIANT: the client sees the end of an answer only after `completed` is durable.

This is the hot path, so it is pure ASGI with hand-made messages. `preconditions.py` checks heads, `gateway/upstream/`
reads bodies, `gateway/policy/authorization.py` asks policies, `evidence.py` names what the log keeps, and
`gateway/http/listener.py` guards connections.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeVar

from starlette.types import Receive, Scope, Send

from gateway.audit.entry import SALT_BYTES
from gateway.audit.errors import AuditError
from gateway.audit.writer import AuditWriter
from gateway.call import Call, Reference
from gateway.dataplane import evidence, preconditions
from gateway.dataplane.budget import Budget
from gateway.dataplane.budget import refusal as refusal_of_limits
from gateway.dataplane.complaints import Complaints
from gateway.dataplane.contacts import Contacts
from gateway.dataplane.costs import Costs
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.held_bytes import HeldBytes, Holding
from gateway.dataplane.obliged import obliged
from gateway.dataplane.references import References
from gateway.dataplane.refusals import Refusals
from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.relay import Headers, Relay
from gateway.dataplane.request_log import RequestLog
from gateway.errors import Denied, GatewayError, PrincipalHint
from gateway.http import refusal
from gateway.http.departure import Departure
from gateway.identifiers import new_id, random_bytes
from gateway.identity import authentication
from gateway.identity.principals import Principal, Principals
from gateway.policy import authorization, shadow
from gateway.policy.cache import Panel, PolicyCache
from gateway.settings import Settings
from gateway.upstream import routing, wrong_route
from gateway.upstream.client import Answer, UpstreamClient
from gateway.upstream.providers.base import Edits, Endpoint, Head, Provider

logger = logging.getLogger("gateway.dataplane.proxy")

# Work on a larger body is done beside the event loop. Smaller ones cost less than handing them over.
_LARGE_BODY = 64 * 1024
# Bundles that take longer than this are asked beside the event loop from the next request on.
_LONG_JUDGEMENT = 0.005
_MAX_LONG = 1024  # panels that are remembered for it

_Result = TypeVar("_Result")


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
    ) -> None:
        self._settings = settings
        self._principals = principals
        self._registry = registry
        self._policies = policies
        self._references = references
        self._writer = writer
        self._refusals = refusals
        self._contacts = contacts
        self._client = client
        self._budget = budget
        self._costs = costs
        self._requests = requests
        self._complaints = Complaints()
        self._held = HeldBytes(settings.max_held_bytes)
        # One large body and one long judgement at a time, so that the event loop gets its share of the interpreter.
        self._bodies = asyncio.Semaphore(1)
        self._judgements = asyncio.Semaphore(1)
        # Summaries of the panels whose last judgement was long.
        self._long: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        holding = Holding(self._held)
        exchange = Exchange(new_id("dec_"), time.monotonic_ns(), random_bytes(SALT_BYTES), holding)
        try:
            await self._admit(exchange, scope, receive)
            await self._judge(exchange)
        except Denied as denied:
            if exchange.speaker is None:
                exchange.speaker = wrong_route.speaker(scope["raw_path"].decode("latin-1"))
            exchange.outcome = denied.code
            await self._refuse(exchange, denied, send)
        except _ClientGoneError:
            exchange.outcome = "client_disconnected"  # nothing was decided, and there is no client to answer
        else:
            await self._carry_out(exchange, scope[Departure.KEY], send)
        finally:
            holding.release()
            if self._requests is not None:
                self._requests.add(exchange, f"{scope['method']} {scope['path']}")

    # Admit: steps 1 to 4

    async def _admit(self, exchange: Exchange, scope: Scope, receive: Receive) -> None:
        # 1 guard the head
        headers = preconditions.head(scope)
        # 2 route
        target = exchange.target = routing.target(scope["method"], scope["raw_path"])
        exchange.speaker = target.provider
        # 3 authenticate; upstreams belong to organizations, so the upstream is known only now
        credential = authentication.presented(scope["headers"], scope["query_string"])
        epochs = exchange.epochs = await self._registry.epochs()
        principal = exchange.principal = await self._principals.get(credential, epochs.authority)
        routes = await self._registry.routes(epochs.upstreams)
        match = exchange.match = routes.resolve(principal.organization, target)
        route = match.endpoint.route
        exchange.speaker = match.destination.provider
        exchange.head = Head(
            preconditions.query(scope["query_string"], route.query),
            preconditions.forwarded(headers, route.request_headers),
            headers.get(b"content-type", b"").decode("latin-1"),
        )
        # 4 read the body, strictly: the provider's view of the call
        if route.body == "none":
            preconditions.no_body(headers)
        else:
            check = preconditions.json_body if route.body == "json" else preconditions.multipart_body
            check(headers)
            exchange.received = await self._receive_body(exchange.holding, headers, receive)
        await self._read_call(exchange)

    async def _receive_body(self, holding: Holding, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        if int(headers.get(b"content-length", b"0")) > limit:
            raise _too_large(limit)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            piece = message.get("body", b"")
            size += len(piece)
            if size > limit:
                raise _too_large(limit)
            holding.add(len(piece))
            pieces.append(piece)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def _read_call(self, exchange: Exchange) -> None:
        match = exchange.match
        assert match is not None
        arguments = match.destination.provider, match.endpoint, exchange.head, exchange.received
        if len(exchange.received) <= _LARGE_BODY:
            exchange.call, exchange.edits = _read(*arguments)
        else:
            exchange.call, exchange.edits = await _beside(self._bodies, _read, *arguments)

    # Judge: steps 5 and 6

    async def _judge(self, exchange: Exchange) -> None:
        # 5 check principal and upstream again, which may have changed while the body arrived; then decide
        await self._look_again(exchange)
        principal, epochs = exchange.principal, exchange.epochs
        assert principal is not None
        assert epochs is not None
        judges = authorization.panel(principal, await self._registry.active(epochs.policy), self._policies)
        foreign = self._foreign(exchange, principal)
        if judges.summary in self._long:
            await _beside(self._judgements, self._decide, exchange, principal, judges, foreign)
        else:
            self._decide(exchange, principal, judges, foreign)
        # 6 record `decided`
        await self._record_decided(exchange)
        assert exchange.authorization is not None
        if not exchange.authorization.allow:
            raise Denied(exchange.authorization.code, reasons=exchange.authorization.reasons)

    async def _look_again(self, exchange: Exchange) -> None:
        while True:
            target, principal = exchange.target, exchange.principal
            assert target is not None
            assert principal is not None
            epochs = exchange.epochs = await self._registry.epochs()
            principal = exchange.principal = await self._principals.refresh(principal, epochs.authority)
            match = (await self._registry.routes(epochs.upstreams)).resolve(principal.organization, target)
            if match is exchange.match or match == exchange.match:
                return
            before = exchange.match
            exchange.match = match
            exchange.speaker = match.destination.provider
            if before is None or before.endpoint.route != match.endpoint.route:
                # Which queries and headers may go upstream was checked by the other route.
                raise Denied("registry_unavailable", "the upstream's routes changed while the request arrived")
            await self._read_call(exchange)  # another upstream may read the body in another way

    def _foreign(self, exchange: Exchange, principal: Principal) -> tuple[Reference, ...]:
        """The references of the call to state at the provider that its agent did not create here."""
        call, match = exchange.call, exchange.match
        assert call is not None
        assert match is not None
        if not call.references:
            return ()
        upstream = match.destination.id
        return self._references.foreign(principal.organization, upstream, principal.agent_id, call.references)

    def _decide(self, exchange: Exchange, principal: Principal, judges: Panel, foreign: tuple[Reference, ...]) -> None:
        """Judge the call; where that obliges the gateway to change it, change it and judge the result once more.

        Both judgements share one deadline. Touches nothing but the exchange, so it may run beside the event loop.
        """
        call, match = exchange.call, exchange.match
        assert call is not None
        assert match is not None
        began = time.monotonic()
        ends = began + self._settings.policy_deadline_ms / 1000
        now_ns = time.time_ns()
        usage = self._budget.usage(principal, now_ns)
        found = authorization.decide(judges, principal, call, now_ns, foreign=foreign, ends=ends, usage=usage)
        document = found.input
        apply = functools.partial(obliged, match.destination.provider)
        if found.allow:
            found, exchange.output_limit = self._budget.with_output_limit(
                found, principal, call, match.destination, apply
            )
        if found.allow and found.obligations:
            again = functools.partial(authorization.again, found, principal, ends=ends)
            found, changed, edits = authorization.enforce(found, call, apply, again)
            exchange.change(changed, edits)
        if found.allow:
            assert exchange.call is not None
            found, exchange.reservation = self._budget.reserve(found, principal, exchange.call, match.destination)
        exchange.authorization = found
        if judges.shadows:
            ends = time.monotonic() + self._settings.policy_deadline_ms / 1000
            exchange.shadow = shadow.ask(judges.shadows, document, now_ns, ends)
        if time.monotonic() - began <= _LONG_JUDGEMENT:
            self._long.discard(judges.summary)
        elif len(self._long) < _MAX_LONG:
            self._long.add(judges.summary)

    async def _record_decided(self, exchange: Exchange) -> None:
        if len(exchange.received) <= _LARGE_BODY:
            intent = evidence.decided(exchange)
        else:
            intent = await _beside(self._bodies, evidence.decided, exchange)
        # From here on the entry may be in the log, also if this task is cancelled while it waits.
        exchange.open = intent.open
        try:
            committed = await self._writer.write(intent)
        except AuditError as error:
            exchange.open = False
            raise Denied("audit_unavailable", str(error)) from error
        except asyncio.CancelledError:
            if exchange.open:
                await self._record_completed(exchange, "gateway_stopped")
            raise
        exchange.recorded = True
        if intent.allow and committed.entry["allow"] is not True:
            # The log has the last word: a reservation can turn an allow around inside its transaction.
            exchange.open = False
            raise refusal_of_limits(committed.entry)

    # Carry out: steps 7 to 9

    async def _carry_out(self, exchange: Exchange, client: Departure, send: Send) -> None:
        """Forward and relay within the time one call may take, and close the record whatever happens."""
        assert exchange.match is not None
        outcome = "gateway_error"
        relay = Relay(exchange, exchange.match, Holding(self._held), send)
        loop = asyncio.get_running_loop()
        started = loop.time()
        failure: Denied | None = None
        try:
            async with asyncio.timeout(self._settings.upstream_first_byte_timeout) as limit:
                # A client that leaves ends the call at once: the upstream must not go on without a reader.
                client.tell = functools.partial(_end_now, limit, loop)
                if client.gone:
                    client.tell()
                # 7 forward
                answer = await self._forward(exchange, exchange.match.destination)
                # 8 relay; pauses within the answer are limited by the upstream client
                if not client.gone:  # otherwise the call ends in the next iteration of the loop
                    limit.reschedule(started + self._settings.upstream_total_timeout)
                try:
                    outcome = await relay.run(answer)
                finally:
                    answer.close()
            exchange.status = answer.status
        except TimeoutError:
            outcome = "client_disconnected" if client.gone else "upstream_timeout"
            failure = Denied("upstream_timeout")
        except Denied as denied:
            outcome, exchange.detail, failure = denied.code, denied.detail, denied
            if denied.code == "upstream_unavailable":
                outcome = "provider_error"  # which is what it is, whatever the client is told
                destination = exchange.match.destination
                self._complaints.unavailable(destination.id, destination.name, denied.detail)
            logger.warning("%s ended with %s: %s", exchange.decision_id, denied.code, denied.detail)
        except asyncio.CancelledError:
            outcome = "gateway_stopped"
            raise
        finally:
            # 9 record `completed`
            client.tell = None
            if failure is not None and exchange.status is None and not client.gone:
                exchange.status = failure.reason.status
            exchange.outcome = outcome
            self._contacts.note(exchange.match.destination.id, outcome, exchange.upstream_status, exchange.detail)
            closed = await self._record_completed(exchange, outcome)
        await self._remember_created(exchange)
        if client.gone:
            return
        if not closed:
            failure = Denied("outcome_unrecorded")
            exchange.outcome = failure.code
        if failure is None:
            with suppress(TimeoutError):  # of a client that has stopped reading
                async with asyncio.timeout_at(started + self._settings.upstream_total_timeout):
                    await relay.end()
        elif not relay.begun:
            await self._refuse(exchange, failure, send)
        else:
            await relay.break_off(failure)

    async def _forward(self, exchange: Exchange, destination: routing.Destination) -> Answer:
        call = exchange.forget_request()
        headers = {**exchange.head.headers, **exchange.set_headers}
        outgoing = destination.provider.prepare(call, destination.base_url, destination.secret, headers)
        del call  # it holds the body, which nobody needs while the provider thinks
        answer = await self._client.send(outgoing, exchange.holding.release)
        exchange.upstream_status = answer.status
        try:
            preconditions.answer(answer, credential=destination.secret is not None)
        except Denied:
            answer.close()
            raise
        return answer

    async def _record_completed(self, exchange: Exchange, outcome: str) -> bool:
        """Close the decision; false if it could not be recorded. Being cancelled ends the wait, not the recording."""
        if self._costs is not None and (cost := self._costs.of(exchange)) is not None:
            exchange.cost_nanousd, exchange.price = cost.nanousd, cost.price
        try:
            await self._writer.write(evidence.completed(exchange, outcome))
        except AuditError as error:
            logger.error("the closing of %s could not be recorded: %s", exchange.decision_id, error)
            return False
        exchange.open = False
        return True

    async def _remember_created(self, exchange: Exchange) -> None:
        """Remember the state that the answer created, so that this agent may refer to it."""
        principal, match, created = exchange.principal, exchange.match, exchange.report.created
        if not created or principal is None or match is None:
            return
        try:
            await asyncio.to_thread(
                self._references.remember, principal.organization, match.destination.id, principal.agent_id, created
            )
        except GatewayError as error:
            logger.error("%s: %s", exchange.decision_id, error.message)

    # Refusals

    async def _refuse(self, exchange: Exchange, denied: Denied, send: Send) -> None:
        exchange.status = denied.reason.status
        if not exchange.recorded:
            self._refusals.add(denied, _owner(exchange.principal))
        body = refusal.body(denied) if exchange.speaker is None else exchange.speaker.error(denied)
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-should-retry", b"true" if denied.retry else b"false"),
            *denied.headers,
        ]
        if denied.reason.status == 503:
            headers.append((b"retry-after", b"1"))
        if exchange.recorded:
            headers.append((b"x-decision-id", exchange.decision_id.encode()))
        await send({"type": "http.response.start", "status": denied.reason.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _ClientGoneError(Exception):
    """The client closed the connection before its request was complete."""


async def _beside(turn: asyncio.Semaphore, work: Callable[..., _Result], *arguments: object) -> _Result:
    """Do long work on another thread, one at a time for each `turn`, so that the event loop goes on."""
    async with turn:
        return await asyncio.get_running_loop().run_in_executor(None, work, *arguments)


def _read(provider: Provider, endpoint: Endpoint, head: Head, raw: bytes) -> tuple[Call, tuple[str, ...]]:
    """The call in this request, changed so that its answer will report usage: what is judged is what is sent."""
    return provider.edit(provider.read(endpoint, head, raw), Edits(report_usage=True))


def _end_now(limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    if not limit.expired():
        limit.reschedule(loop.time())


def _too_large(limit: int) -> Denied:
    return Denied("too_large", reasons=[f"the body may have at most {limit} bytes"])


def _owner(principal: Principal | None) -> PrincipalHint | None:
    return PrincipalHint(principal.organization, principal.agent_id, principal.key_id) if principal else None
