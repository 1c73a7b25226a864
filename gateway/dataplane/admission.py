"""Step 3 of a request, its second half: the place of an authenticated request, taken before its body is read.

The places for requests in progress are shared by agents and organizations (`gateway/shares.py`). A limit on concurrent
requests is held by the log, exactly and across workers, once a call is decided. Until then its body is arriving, for as
long as the client likes, so here an agent may have no more bodies arriving in one worker than it may have calls.

A worker has one processor, and a request needs it until it goes upstream and again when its answer has ended. As long
as requests of several agents do, those of each take turns. Otherwise each step of a request would wait for as many
requests as another agent has connections. Specification: resilience.md.
"""

from __future__ import annotations

import time
from typing import Final, TypeAlias

from gateway.audit.balance import CONCURRENT
from gateway.errors import Denied
from gateway.identity.principals import Principal
from gateway.settings import Settings
from gateway.shares import Holder, NoShareError, Shares, Turns
from gateway.usage import limits, reservation
from gateway.usage.limits import Applied

Holders: TypeAlias = tuple[Holder, ...]
"""Everybody who answers for a request: its agent and its organization, and nobody before it is authenticated."""

_RETRY: Final = b"1"
AT_WORK: Final = 1
"""Requests of an agent that are at work at once, beside those of others; of an organization there are three times as
many. So few never wait."""
_RECENT: Final = 0.5  # seconds for which others count after their request: most send another one


def holders_of(principal: Principal) -> Holders:
    found: Holders | None = principal.derived.get("holders")
    if found is None:
        made = Holder("agent", principal.agent_id), Holder("organization", principal.organization)
        found = principal.derived["holders"] = made
    return found


def refusal(error: NoShareError) -> Denied:
    """The refusal of a request for which there is no share: says whose share it is, and what to do."""
    return Denied("overloaded", str(error), reasons=[error.advice])


class Admission:
    """The places of one worker; used from its event loop's thread only."""

    def __init__(self, settings: Settings) -> None:
        self.requests = Shares("requests in progress", settings.max_requests)
        # The requests that need the processor or wait for a turn, and the turns.
        self.at_work = 0
        self.turns = Turns("requests at work", AT_WORK)
        # The holders of the last request that asked, and the times until which several agents and several organizations
        # take turns.
        self._last: Holders = ()
        self._several = [0.0, 0.0]
        # The number of bodies that are arriving, by the scope of a limit on concurrent requests.
        self._arriving: dict[str, int] = {}

    def enter(self, principal: Principal) -> Place:
        """The place of one request until it leaves; `Denied` with `overloaded` if its share has none."""
        holders = holders_of(principal)
        try:
            self.requests.take(*holders)
        except NoShareError as error:
            raise refusal(error) from None
        return Place(self, holders, principal)

    def rivals(self, holders: Holders) -> Holders:
        """Those of these holders that take turns: others beside them need the processor, or did a moment ago."""
        now = time.monotonic()
        for at, (holder, last) in enumerate(zip(holders, self._last, strict=False)):
            if holder != last:
                self._several[at] = now + _RECENT
        self._last = holders
        return tuple([each for each, until in zip(holders, self._several, strict=True) if now < until])

    def expect(self, applied: tuple[Applied, ...]) -> None:
        """Count a body that is arriving; `Denied` with `limit_exceeded` if there are as many as calls may run."""
        now = time.time_ns()
        for limit in applied:
            # A limit of 0 is left to the decision, which says so.
            running, most = self._arriving.get(limit.scope, 0), max(1, limit.at(now))
            if running >= most:
                found = reservation.too_many(limit, most, running, now)
                bodies = "the body of another request is" if running == 1 else f"the bodies of {running} requests are"
                reasons = [f"{bodies} still arriving, and {reservation.sentence(found)}"]
                raise Denied("limit_exceeded", reasons=reasons, facts=[found], headers=[(b"retry-after", _RETRY)])
        for limit in applied:
            self._arriving[limit.scope] = self._arriving.get(limit.scope, 0) + 1

    def has_come(self, applied: tuple[Applied, ...]) -> None:
        """A body that was expected has come, or never will."""
        for limit in applied:
            left = self._arriving[limit.scope] - 1
            if left:
                self._arriving[limit.scope] = left
            else:
                del self._arriving[limit.scope]


class Place:
    """The place of one request."""

    __slots__ = ("_admission", "_arriving", "_left", "_principal", "_turn", "holders", "is_at_work")

    def __init__(self, admission: Admission, holders: Holders, principal: Principal) -> None:
        self.holders = holders
        self._admission = admission
        self._principal = principal
        self._arriving: tuple[Applied, ...] = ()
        self._left = self.is_at_work = False
        self._turn: Holders = ()

    async def work(self) -> None:
        """The request needs the processor until `rest`. Wait for a turn if others need it, too."""
        admission = self._admission
        admission.at_work += 1
        self.is_at_work, self._turn = True, ()
        if admission.at_work > AT_WORK and (rivals := admission.rivals(self.holders)):
            await admission.turns.take_in_turn(*rivals)
            self._turn = rivals

    def rest(self) -> None:
        """The request waits for its upstream, or has ended; may be called again."""
        if self.is_at_work:
            self.is_at_work = False
            self._admission.at_work -= 1
            if self._turn:
                self._admission.turns.give_back(*self._turn)

    def go_on(self) -> None:
        """The request needs the processor again, to end. It waits for nobody, and its holders have one turn less."""
        if not self.is_at_work:
            self._admission.at_work += 1
            self.is_at_work = True
            if self._turn:
                self._admission.turns.claim(*self._turn)

    def expect_body(self) -> None:
        """The body is read from now on; `Denied` as from `Admission.expect`."""
        if applied := _concurrent(self._principal):
            self._admission.expect(applied)
            self._arriving = applied

    def body_has_come(self) -> None:
        if self._arriving:
            self._admission.has_come(self._arriving)
            self._arriving = ()

    def leave(self) -> None:
        """Give the place back; may be called again."""
        if self._arriving:
            self.body_has_come()
        if not self._left:
            self._left = True
            self._admission.requests.give_back(*self.holders)


def _concurrent(principal: Principal) -> tuple[Applied, ...]:
    """The limits on concurrent requests that hold whatever the call is: its body would say the model."""
    found: tuple[Applied, ...] | None = principal.derived.get("concurrent")
    if found is None:
        applied = limits.prepared(principal).applied
        made = tuple(each for each in applied if each.name == CONCURRENT and not any(each.part))
        found = principal.derived["concurrent"] = made
    return found
