"""The data plane: one request of an agent, as nine numbered steps (docs/architecture.md, section 7).

    1 guard the head      4 read and parse the body   7 forward what was judged
    2 route               5 decide                    8 relay the answer
    3 authenticate        6 record `decided`          9 record `completed`

`DataPlane.__call__` is those steps in order. Whatever fails before step 6 is a refusal and nothing has left the
gateway; from step 6 on there is an open decision, and every way out of here, also a disconnect or a cancelled task,
passes through step 9. Two laws:

# INVARIANT: no byte goes upstream before `decided` is durable, and none that was not judged.
# INVARIANT: the client sees the end of an answer only after `completed` is durable.

Pure ASGI, messages made by hand: this is the hot path. `preconditions.py` says what a head may hold,
`gateway/upstream/` what a body means, `gateway/policy/authorization.py` what policies say, `evidence.py` what the log
keeps, and `gateway/http/listener.py` what a connection may do.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace

from starlette.types import Receive, Scope, Send

from gateway.audit.errors import AuditError
from gateway.audit.writer import AuditWriter
from gateway.call import Call
from gateway.dataplane import evidence, preconditions
from gateway.dataplane.exchange import USAGE_EDIT, Exchange
from gateway.dataplane.refusals import Refusals
from gateway.dataplane.registry_view import RegistryView
from gateway.dataplane.relay import Relay
from gateway.errors import Denied, PrincipalHint
from gateway.http.departure import Departure
from gateway.identifiers import new_id
from gateway.identity import authentication
from gateway.identity.principals import Principal, Principals
from gateway.policy.authorization import confirm, decide
from gateway.policy.cache import PolicyCache
from gateway.registry.port import ActiveSet
from gateway.settings import Settings
from gateway.upstream import routing, strict_json
from gateway.upstream.client import Answer, UpstreamClient
from gateway.upstream.providers.base import Headers, Provider

logger = logging.getLogger("gateway.dataplane.proxy")


class DataPlane:
    """The ASGI application of one data worker. Everything it is given belongs to the worker's event loop."""

    def __init__(
        self,
        settings: Settings,
        *,
        principals: Principals,
        registry: RegistryView,
        policies: PolicyCache,
        writer: AuditWriter,
        refusals: Refusals,
        client: UpstreamClient,
    ) -> None:
        self._settings = settings
        self._principals = principals
        self._registry = registry
        self._policies = policies
        self._writer = writer
        self._refusals = refusals
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(new_id("dec_"), time.monotonic_ns(), evidence.new_salt())
        provider: Provider = routing.PROVIDERS["openai"]
        try:
            # 1 guard the head
            headers = preconditions.head(scope)
            # 2 route
            target = routing.target(scope["method"], scope["raw_path"])
            provider = target.provider
            # 3 authenticate; an upstream belongs to an organization, so only now is it known which one is meant
            credential = authentication.presented(scope["headers"])
            exchange.epochs = await self._registry.epochs()
            exchange.principal = await self._principals.get(credential, exchange.epochs.authority)
            routes = await self._registry.routes(exchange.epochs.upstreams)
            match = routes.resolve(exchange.principal.organization, target)
            provider = match.upstream.provider
            preconditions.query(scope["query_string"], match.route.query)
            # 4 read the body, strictly: the provider's view of the call
            if match.route.has_body:
                preconditions.json_body(headers)
                exchange.received = await self._read_body(headers, receive)
            else:
                preconditions.no_body(headers)
            # 5 check the epoch again, then decide: whom and where this is about may have changed while the body came
            exchange.epochs = await self._registry.epochs()
            exchange.principal = await self._principals.refresh(exchange.principal, exchange.epochs.authority)
            routes = await self._registry.routes(exchange.epochs.upstreams)
            match = routes.resolve(exchange.principal.organization, target)
            exchange.call = self._parse(exchange, match)
            self._decide(exchange, match, await self._registry.active(exchange.epochs.policy))
            # 6 record `decided`
            await self._record_decided(exchange)
            assert exchange.authorization is not None
            if not exchange.authorization.allow:
                raise Denied(exchange.authorization.code, reasons=exchange.authorization.reasons)
        except Denied as denied:
            await self._refuse(exchange, provider, denied, send)
        except _ClientGoneError:
            pass  # nothing was decided and nobody is there to be answered
        else:
            await self._carry_out(exchange, match, headers, scope[Departure.KEY], send)

    # Steps 4 to 6

    async def _read_body(self, headers: Mapping[bytes, bytes], receive: Receive) -> bytes:
        limit = self._settings.max_body_bytes
        if int(headers.get(b"content-length", b"0")) > limit:
            raise _too_large(limit)
        pieces: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _ClientGoneError
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > limit:
                raise _too_large(limit)
            if not message.get("more_body", False):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _parse(self, exchange: Exchange, match: routing.Match) -> Call:
        if not match.route.has_body:
            return _call(match, b"", None)
        body = strict_json.parse(exchange.received)
        call = _call(match, exchange.received, body)
        # Streams report usage only when asked. The edit comes before the judgement: what is judged is what is sent.
        if (asked := match.upstream.provider.ask_for_usage(body)) is not None:
            exchange.edits.append(USAGE_EDIT)
            call = _call(match, strict_json.dump(asked), asked)
        return call

    def _decide(self, exchange: Exchange, match: routing.Match, active: ActiveSet) -> None:
        """Judge the call; where that obliges the gateway to change it, change it and judge the result once more."""
        principal, call = exchange.principal, exchange.call
        assert principal is not None
        assert call is not None
        deadline_ms = self._settings.policy_deadline_ms
        first = decide(principal, call, active, self._policies, time.time_ns(), deadline_ms=deadline_ms)
        exchange.authorization = first
        if not first.allow:
            return
        if call.references:
            # No route of this gateway lets an agent create such state yet, so none of it can be this agent's own.
            detail = ", ".join(sorted({each.kind for each in call.references}))
            exchange.authorization = replace(first, allow=False, code="foreign_reference", detail=detail)
        elif first.max_output_tokens is not None and call.body is not None:
            capped = match.upstream.provider.cap_output(call.body, first.max_output_tokens)
            if capped is not None:
                exchange.edits.append("max_output_tokens")
                exchange.call = _call(match, strict_json.dump(capped), capped)
                exchange.authorization = confirm(first, principal, exchange.call, deadline_ms=deadline_ms)

    async def _record_decided(self, exchange: Exchange) -> None:
        intent = evidence.decided(exchange)
        # From here on it may be in the log, also if this task is cancelled while it waits.
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
            raise Denied(str(committed.entry["reason"]))

    # Steps 7 to 9

    async def _carry_out(
        self, exchange: Exchange, match: routing.Match, headers: Mapping[bytes, bytes], client: Departure, send: Send
    ) -> None:
        """Forward and relay within the time one call may take, and close the record whatever happens."""
        outcome = "gateway_error"
        relay = Relay(exchange, match.upstream.provider, send)
        loop = asyncio.get_running_loop()
        started = loop.time()
        refusal: Denied | None = None
        try:
            async with asyncio.timeout(self._settings.upstream_first_byte_timeout) as limit:
                # A client that leaves ends the call at once: the upstream must not go on for nobody.
                client.tell = functools.partial(_end_now, limit, loop)
                if client.gone:
                    client.tell()
                # 7 forward
                answer = await self._forward(exchange, match, headers)
                # 8 relay; pauses within the answer are limited by the upstream client
                if not client.gone:  # otherwise this call ends in the next turn, as was just said
                    limit.reschedule(started + self._settings.upstream_total_timeout)
                try:
                    await relay.run(answer)
                finally:
                    answer.close()
            outcome = "upstream_error" if relay.failed else "ok"
            exchange.status = answer.status
        except TimeoutError:
            outcome = "client_disconnected" if client.gone else "upstream_timeout"
            refusal = Denied("upstream_timeout")
        except Denied as denied:
            outcome, exchange.detail, refusal = denied.code, denied.detail, denied
            logger.warning("%s ended with %s: %s", exchange.decision_id, denied.code, denied.detail)
        except asyncio.CancelledError:
            outcome = "gateway_stopped"
            raise
        finally:
            # 9 record `completed`
            client.tell = None
            if refusal is not None and exchange.status is None and not client.gone:
                exchange.status = refusal.reason.status
            closed = await self._record_completed(exchange, outcome)
        if client.gone:
            return
        if not closed:
            refusal = Denied("audit_unavailable")
        if refusal is None:
            with suppress(TimeoutError):  # of a client that has stopped reading
                async with asyncio.timeout_at(started + self._settings.upstream_total_timeout):
                    await relay.end()
        elif not relay.begun:
            await self._refuse(exchange, match.upstream.provider, refusal, send)
        # Otherwise a part is out: returning without an end makes the server close the connection.

    async def _forward(self, exchange: Exchange, match: routing.Match, headers: Mapping[bytes, bytes]) -> Answer:
        call = exchange.call
        assert call is not None
        sent = {"Accept-Encoding": "identity", "User-Agent": "agent-identity-gateway"}
        for name in match.route.request_headers:
            if name in headers and headers[name].isascii():
                sent[name.decode()] = headers[name].decode("latin-1")
        if call.body is not None:
            sent["Content-Type"] = "application/json"
        if match.upstream.secret is not None:
            name_of_credential, value = match.upstream.provider.credential(match.upstream.secret)
            sent[name_of_credential] = value
        answer = await self._client.send(call.method, match.url, sent, call.raw)
        exchange.upstream_status = answer.status
        try:
            preconditions.answer(answer)
        except Denied:
            answer.close()
            raise
        return answer

    async def _record_completed(self, exchange: Exchange, outcome: str) -> bool:
        """Close the decision; false if it could not be recorded. Being cancelled ends the wait, not the recording."""
        try:
            await self._writer.write(evidence.completed(exchange, outcome))
        except AuditError as error:
            logger.error("the closing of %s could not be recorded: %s", exchange.decision_id, error)
            return False
        exchange.open = False
        return True

    # Refusals

    async def _refuse(self, exchange: Exchange, provider: Provider, denied: Denied, send: Send) -> None:
        if not exchange.recorded:
            self._refusals.add(denied, _owner(exchange.principal))
        body = provider.error(denied)
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-should-retry", b"true" if denied.reason.retry else b"false"),
        ]
        if denied.reason.status == 503:
            headers.append((b"retry-after", b"1"))
        if exchange.recorded:
            headers.append((b"x-decision-id", exchange.decision_id.encode()))
        await send({"type": "http.response.start", "status": denied.reason.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


class _ClientGoneError(Exception):
    """The client closed the connection before it had sent its request."""


def _end_now(limit: asyncio.Timeout, loop: asyncio.AbstractEventLoop) -> None:
    if not limit.expired():
        limit.reschedule(loop.time())


def _call(match: routing.Match, raw: bytes, body: object) -> Call:
    provider = match.upstream.provider
    path = provider.prefix + match.route.path
    return provider.parse_call(match.route, upstream=match.upstream.name, path=path, params={}, raw=raw, body=body)


def _too_large(limit: int) -> Denied:
    return Denied("too_large", reasons=[f"the body may have at most {limit} bytes"])


def _owner(principal: Principal | None) -> PrincipalHint | None:
    return PrincipalHint(principal.organization, principal.agent_id, principal.key_id) if principal else None
