"""Chooses the upstream of a request and handles its failure: fallbacks, retries, and the answer to the client.

A request makes one attempt after the other until one has an answer for the client. Each is judged and recorded like a
request of its own: it has its own decision and its own closing, and goes through the same steps of `proxy.py`. This
file only chooses. An attempt ends in a `Failure` as long as the client was sent nothing.

    the upstream is in a pool   the next member, in the order that was drawn; not for calls about state at a provider
    no member is left           the same upstream again, after a pause, if nothing was sent or the call is repeatable
    nothing is left             the client gets the last failure or, if policies denied every attempt, the first denial

Specification: resilience.md.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TypeAlias

from starlette.types import Message

from gateway.audit.entry import SALT_BYTES
from gateway.dataplane.breakers import Breakers
from gateway.dataplane.phases import Admitted, Observed
from gateway.errors import Denied
from gateway.http.departure import Departure
from gateway.identifiers import new_id, random_bytes
from gateway.identity.principals import Principal
from gateway.outbound.client import NotConnectedError
from gateway.settings import Settings
from gateway.upstream.providers.rejections import Why
from gateway.upstream.routing import Choices, Match, PoolMember

_FIRST_PAUSE, _LONGEST_PAUSE = 0.25, 8.0
# An error of a provider that is larger than this is not kept while others are tried.
_MAX_KEPT = 64 * 1024


class KeptAnswer:
    """An upstream's answer that is kept from the client while another attempt may replace it: ASGI's `send`."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._size = 0

    async def send(self, message: Message) -> None:
        self._size += len(message.get("body", b""))
        if self._size > _MAX_KEPT:
            raise Denied("upstream_error", "an error larger than the gateway keeps")
        self.messages.append(message)

    async def complete(self, admitted: Admitted, end: Callable[[], Awaitable[None]]) -> Failure:
        """The failure that this answer is, once its end is kept too."""
        try:
            await end()
        except Denied as denied:
            return Failure(admitted, denied)
        return Failure(admitted, Denied("upstream_error"), self)


@dataclass(slots=True)
class Failure:
    """A failed attempt. The client was sent nothing of it, and its record is closed."""

    admitted: Admitted
    # If no other attempt follows, the client gets the provider's own answer, or this refusal if there is none.
    denied: Denied
    answer: KeptAnswer | None = None
    # A recorded decision denies this attempt: nothing was sent.
    by_policy: bool = False
    # Other calls have taken what limits had left for it, and people may let it go over them: judged again, it asks.
    overtaken: bool = False


# Failures of one upstream, which another one may not have.
_OF_THE_UPSTREAM = frozenset({"upstream_error", "upstream_timeout", "upstream_unavailable"})


Attempt: TypeAlias = Callable[[Admitted], Awaitable[Failure | None]]


class Chooser:
    """Chooses upstreams for the requests of one worker."""

    def __init__(self, settings: Settings, breakers: Breakers, draws: random.Random | None = None) -> None:
        self._settings = settings
        self._breakers = breakers
        self._random = draws or random.Random()  # noqa: S311  # it spreads load and keeps no secret

    def choose(self, principal: Principal, found: Match | Choices) -> tuple[Match, tuple[Match, ...]]:
        """The upstream where this agent's request goes first, and those that may take its place."""
        if isinstance(found, Match):
            return found, ()
        order = drawn(found.members, self._random)
        closed = [each for each in order if not self._wait(principal, each)]
        # If all are open, the first is tried all the same, and the client is told so.
        first, *others = closed or order[:1]
        return first, tuple(others)

    def keeps_body(self, admitted: Admitted) -> bool:
        """True if the body may have to be sent again after all of it was sent."""
        return bool(admitted.others) or (self._settings.upstream_retries > 0 and admitted.repeatable)

    def may_replace(self, admitted: Admitted, status: int) -> bool:
        """True if an answer with this status may be replaced by another upstream's: it is kept until that is known."""
        # 402: the account has no credit, and another upstream's may have. So it is with a model that it may not use.
        failed = status >= 500 or status in (402, 429) or admitted.observed.rejected is Why.MODEL
        return failed and self._next(admitted) is not None

    def may_follow(self, admitted: Admitted, denied: Denied) -> bool:
        """True if another attempt may follow one that ended so."""
        if not admitted.observed.recorded or admitted.request.forgotten or denied.code not in _OF_THE_UPSTREAM:
            return False
        return self._next(admitted) is not None or self._may_retry(admitted, denied)

    async def go_on(self, failure: Failure, attempt: Attempt, client: Departure) -> Observed | Failure:
        """Make further attempts after one that has failed. Returns the attempt that has answered the client, or the
        failure that the client is told.
        """
        told: Failure = failure
        while True:
            if not failure.by_policy:  # the first denial, but rather the last real failure
                told = failure
            following = await self._after(failure, client)
            if following is None:
                return told
            failed = await attempt(following)
            if failed is None:
                return following.observed
            if not failed.by_policy and failed.denied.code not in _OF_THE_UPSTREAM:
                return failed  # a failure of this gateway itself ends the request, whatever happened before
            failure = failed

    async def _after(self, failure: Failure, client: Departure) -> Admitted | None:
        """The next attempt, which has yet to be judged."""
        admitted = failure.admitted
        if client.gone or not (failure.by_policy or self.may_follow(admitted, failure.denied)):
            return None
        following = self._next(admitted)
        if following is not None:
            others = admitted.others[admitted.others.index(following) + 1 :]
            return again(admitted, following, others, admitted.retries)
        if failure.by_policy or failure.answer is not None or not await self._pause(admitted, client):
            return None
        return again(admitted, admitted.match, (), admitted.retries + 1)

    def _next(self, admitted: Admitted) -> Match | None:
        """The next upstream that calls are sent to."""
        return next((each for each in admitted.others if not self._wait(admitted.principal, each)), None)

    def _may_retry(self, admitted: Admitted, denied: Denied) -> bool:
        """True if the same upstream may be sent the same call again: nothing was sent, or twice is as good as once."""
        if admitted.retries >= self._settings.upstream_retries or admitted.observed.upstream_status is not None:
            return False
        may = isinstance(denied, NotConnectedError) or admitted.repeatable
        return may and not self._wait(admitted.principal, admitted.match)

    def _wait(self, principal: Principal, match: Match) -> float:
        """The time for which no call of this agent should go to this upstream."""
        return self._breakers.wait(match.destination.id, principal.agent_id)

    async def _pause(self, admitted: Admitted, client: Departure) -> bool:
        """Wait before the same upstream is tried again; false if there is no time left, or no client."""
        pause = min(_FIRST_PAUSE * 2**admitted.retries, _LONGEST_PAUSE) * self._random.uniform(0.5, 1.0)
        if asyncio.get_running_loop().time() + pause >= admitted.request.ends:
            return False
        gone = asyncio.Event()
        client.tell = gone.set
        with suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await gone.wait()
        client.tell = None
        return not client.gone


def again(before: Admitted, match: Match, others: tuple[Match, ...], retries: int) -> Admitted:
    """The next attempt at a request, with a decision and a record of its own."""
    seen = before.observed
    observed = Observed(before.request, new_id("dec_"), time.monotonic_ns(), seen.principal, match)
    return replace(
        before,
        observed=observed,
        salt=random_bytes(SALT_BYTES),
        match=match,
        others=others,
        attempt=before.attempt + 1,
        retry_of=before.retry_of or (seen.decision_id if seen.recorded else ""),
        retries=retries,
    )


def drawn(members: Sequence[tuple[PoolMember, Match]], draws: random.Random) -> list[Match]:
    """The members in the order in which a request tries them: by tier and, within one, drawn by weight."""
    order: list[Match] = []
    for tier in sorted({member.tier for member, _ in members}):
        left = [(member.weight, match) for member, match in members if member.tier == tier]
        while left:
            at = draws.choices(range(len(left)), [weight for weight, _ in left])[0] if len(left) > 1 else 0
            order.append(left.pop(at)[1])
    return order
