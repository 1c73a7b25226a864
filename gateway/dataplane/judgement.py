"""Step 5 of a request: the policies judge the call, and limits are asked for it.

`judge` is the one judge: requests, dry runs (`dry_run.py`) and questions about permissions all ask it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from typing import Any

from gateway.call import Call, Reference
from gateway.dataplane import receiving
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.budget import Budget
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.obliged import obliged
from gateway.dataplane.reading import LARGE_BODY
from gateway.frozen import frozen
from gateway.identity.principals import Principal
from gateway.policy import authorization, shadow
from gateway.policy.authorization import Apply, Authorization
from gateway.policy.cache import Panel
from gateway.shares import Shares
from gateway.upstream.routing import Destination
from gateway.usage.bounds import Kept
from gateway.usage.reservation import CallReservation

# Bundles that take longer than this are asked beside the event loop from the next request on.
_LONG_JUDGEMENT = 0.005
_MAX_LONG = 1024  # panels that are remembered for it


@frozen()
class Judged:
    """The verdict of policies and limits on a call, and the call as it would be forwarded: with these edits.

    `document` is what was judged first, before any edit.
    """

    authorization: Authorization
    document: Mapping[str, Any]
    call: Call
    edits: tuple[str, ...]
    # The output limit that the gateway has set because a limit needs one.
    output_limit: int | None
    # Its share of the limits; None if it is refused, or limits were not asked.
    reservation: CallReservation | None


def judge(
    judges: Panel,
    principal: Principal,
    call: Call,
    now_ns: int,
    apply: Apply,
    ends: float,
    *,
    foreign: tuple[Reference, ...] = (),
    usage: Mapping[str, Any] | None = None,
    clock: Mapping[str, Any] | None = None,
    budget: Budget | None = None,
    destination: Destination | None = None,
    kept: Kept | None = None,
) -> Judged:
    """Judge a call, of a request or of anybody who asks what would become of one. Nothing is reserved or recorded here.

    If policies oblige the gateway to change the call, `apply` changes it and they judge the result once more; both
    judgements share one deadline, `ends`. Limits are asked if there is a `budget`, and a `destination` to know prices
    of. The rest is as in `authorization.decide`.
    """
    found = authorization.decide(
        judges, principal, call, now_ns, ends=ends, usage=usage, clock=clock, foreign=foreign
    )  # fmt: skip
    document = found.input
    edits: tuple[str, ...] = ()
    output_limit = reservation = None
    if found.allow and budget is not None and destination is not None:
        asked = time.monotonic()
        found, output_limit = budget.with_output_limit(found, principal, call, destination, apply, kept)
        # The bound of a long text takes longer than policies may: their deadline is for themselves.
        ends += time.monotonic() - asked
    if found.allow and found.obligations:
        found, call, edits = authorization.enforce(found, principal, call, apply, ends=ends)
    if found.allow and budget is not None and destination is not None:
        found, reservation = budget.reserve(found, principal, call, destination, kept)
    return Judged(found, document, call, edits, output_limit, reservation)


class Judgement:
    """Judges the calls of one worker's requests. `deadline` is what bundles have for a call, in seconds."""

    def __init__(self, budget: Budget, deadline: float) -> None:
        self._budget = budget
        self._deadline = deadline
        # One long judgement at a time, so that the event loop gets its share of the interpreter.
        self.turns = Shares("long judgements", 1)
        # Summaries of the panels whose last judgement was long.
        self._long: set[str] = set()

    async def decide(
        self, exchange: Exchange, principal: Principal, judges: Panel, foreign: tuple[Reference, ...]
    ) -> None:
        """Judge the call; `exchange.authorization` is what the policies say."""
        # A bound of its tokens looks at all characters of a body, and some take a microsecond each.
        if judges.summary in self._long or len(exchange.received) > LARGE_BODY:
            await beside(self.turns, holders_of(principal), self._decide, exchange, principal, judges, foreign)
            exchange.count_spooled()
        else:
            self._decide(exchange, principal, judges, foreign)

    def _decide(self, exchange: Exchange, principal: Principal, judges: Panel, foreign: tuple[Reference, ...]) -> None:
        """Touches nothing but the exchange, so it may run beside the event loop."""
        call, match = exchange.call, exchange.match
        assert call is not None
        assert match is not None
        began = time.monotonic()
        now_ns = time.time_ns()
        usage = self._budget.usage(principal, now_ns) if judges.reads_usage else None
        apply = functools.partial(obliged, match.destination.provider)
        found = judge(
            judges, principal, call, now_ns, apply, began + self._deadline,
            foreign=foreign, usage=usage, budget=self._budget, destination=match.destination, kept=exchange.kept,
        )  # fmt: skip
        if found.call is not call:
            exchange.change(receiving.spooled(found.call, exchange.received), found.edits)
        exchange.authorization = found.authorization
        exchange.output_limit, exchange.reservation = found.output_limit, found.reservation
        if judges.shadows:
            ends = time.monotonic() + self._deadline
            exchange.shadow = shadow.ask(judges.shadows, found.document, now_ns, ends)
        if time.monotonic() - began <= _LONG_JUDGEMENT:
            self._long.discard(judges.summary)
        elif len(self._long) < _MAX_LONG:
            self._long.add(judges.summary)
