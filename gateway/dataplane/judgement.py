"""Step 5 of a request: the policies judge the call, and limits are reserved for it."""

from __future__ import annotations

import functools
import time

from gateway.call import Reference
from gateway.dataplane import receiving
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.budget import Budget
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.obliged import obliged
from gateway.dataplane.reading import LARGE_BODY
from gateway.identity.principals import Principal
from gateway.policy import authorization, shadow
from gateway.policy.cache import Panel
from gateway.shares import Shares

# Bundles that take longer than this are asked beside the event loop from the next request on.
_LONG_JUDGEMENT = 0.005
_MAX_LONG = 1024  # panels that are remembered for it


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
        """Judge the call; where that obliges the gateway to change it, change it and judge the result once more.

        Both judgements share one deadline. Touches nothing but the exchange, so it may run beside the event loop.
        """
        call, match = exchange.call, exchange.match
        assert call is not None
        assert match is not None
        began = time.monotonic()
        ends = began + self._deadline
        now_ns = time.time_ns()
        usage = self._budget.usage(principal, now_ns) if judges.reads_usage else None
        found = authorization.decide(judges, principal, call, now_ns, foreign=foreign, ends=ends, usage=usage)
        document = found.input
        apply = functools.partial(obliged, match.destination.provider)
        if found.allow:
            asked = time.monotonic()
            found, exchange.output_limit = self._budget.with_output_limit(
                found, principal, call, match.destination, apply, exchange.kept
            )
            # The bound of a long text takes longer than policies may: their deadline is for themselves.
            ends += time.monotonic() - asked
        if found.allow and found.obligations:
            again = functools.partial(authorization.again, found, principal, ends=ends)
            found, changed, edits = authorization.enforce(found, call, apply, again)
            exchange.change(receiving.spooled(changed, exchange.received), edits)
        if found.allow:
            assert exchange.call is not None
            found, exchange.reservation = self._budget.reserve(
                found, principal, exchange.call, match.destination, exchange.kept
            )
        exchange.authorization = found
        if judges.shadows:
            ends = time.monotonic() + self._deadline
            exchange.shadow = shadow.ask(judges.shadows, document, now_ns, ends)
        if time.monotonic() - began <= _LONG_JUDGEMENT:
            self._long.discard(judges.summary)
        elif len(self._long) < _MAX_LONG:
            self._long.add(judges.summary)
