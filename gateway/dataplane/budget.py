"""Between a request and the limits: what a call reserves, its output limit where it has none, what it is settled at.

`gateway/dataplane/proxy.py` asks in steps 5, 6 and 9. `gateway/usage/` defines the limits.
Specification: limits.md.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import orjson

from gateway.audit.balance import MINUTE_NS, Amounts
from gateway.audit.entry import MAX_INTEGER, Entry
from gateway.call import Call
from gateway.dataplane.costs import priced_tier
from gateway.dataplane.mandates import Mandate
from gateway.dataplane.phases import Carried
from gateway.dataplane.produced import MARGIN
from gateway.errors import Denied
from gateway.identity.principals import Principal
from gateway.policy.approvals import are_given
from gateway.policy.authorization import Apply, Authorization, refused
from gateway.policy.decision import Verdict, beyond_limits
from gateway.policy.obligations import Obligations, together
from gateway.upstream.routing import Destination
from gateway.usage import bounds, limits, windows
from gateway.usage.bounds import KeptState
from gateway.usage.estimates import UNKNOWN_TOKENS, Estimate, Estimates
from gateway.usage.limits import Applied
from gateway.usage.price_book import PriceBook
from gateway.usage.prices import Price
from gateway.usage.reservation import CallReservation, WorstCase, ceiling
from gateway.usage.standing import StandingBalances

LEAST_OUTPUT: Final = 16
"""The smallest output limit that the gateway sets: some providers take no smaller one."""
SENSIBLE_WAIT: Final = 60
"""Seconds after which a client may try again by itself."""
_UNLIMITED_INPUT: Final = 100_000  # tokens; the body of a call that no limit bounds can be megabytes of images
# Answers by which a provider says that it has not carried out the request, so that it charges nothing.
_DECLINED: Final = frozenset({*range(400, 500), 503, 529})
_SHOWN: Final = 64  # characters of a client's own
_OWN_PRICES: Final = "leave it out, or ask an operator to say in `prices.json` what it costs"
_WHOLE: Final = frozenset({"ok", "cap_exceeded"})


class Budget:
    """Counts the calls of one worker and holds them to limits. May be used from several threads."""

    def __init__(self, standing: StandingBalances, prices: PriceBook, *, default_output: int) -> None:
        self._standing = standing
        self._prices = prices
        self._default_output = default_output
        self._estimates = Estimates()

    def usage(self, principal: Principal, now_ns: int) -> Mapping[str, Any]:
        """The agent's usage, as policies see it."""
        return self._standing.usage(principal.organization, "agent:" + principal.agent_id, now_ns)

    def with_output_limit(
        self,
        found: Authorization,
        principal: Principal,
        call: Call,
        destination: Destination,
        apply: Apply,
        kept: KeptState | None = None,
        mandate: Mandate | None = None,
    ) -> tuple[Authorization, int | None]:
        """The authorization with an output limit of the gateway's own, where a limit needs one and the call has none.

        It is the setting, or what is left of the limits if that is less, so that the last calls still go through.
        """
        if call.max_output_tokens is not None or not bounds.asks_a_model(call):
            return found, None
        every = self._applying(found, principal, call)
        if mandate is not None:
            every = (*every, *mandate.applied(call))
        applied = [each for each in every if _needs_a_bound(each)]
        if not applied or not apply(call, Obligations(max_output_tokens=self._default_output))[1]:
            return found, None  # nothing needs a limit, or it is a call without output
        cap = min(found.obligations.max_output_tokens or self._default_output, self._default_output)
        room = self._room(applied, principal, _as_obliged(found, call), destination, found.now_ns, kept)
        if room >= LEAST_OUTPUT or not found.over_limit:  # else people decide about the call as it would be without
            cap = min(cap, max(room, LEAST_OUTPUT))
        obligations = together([found.obligations, Obligations(max_output_tokens=cap)])
        return replace(found, obligations=obligations), cap

    def reserve(
        self,
        found: Authorization,
        principal: Principal,
        call: Call,
        destination: Destination,
        kept: KeptState | None = None,
        mandate: Mandate | None = None,
    ) -> tuple[Authorization, CallReservation | None]:
        """The call's reservation, as it will be forwarded; or the authorization, refused, if a limit cannot hold it.

        What is reserved on the side of a mandate is as much (`Mandate.reservation`), so its limits are looked at, too.
        """
        of_agent = limits.prepared(principal)
        if found.limits or of_agent.partial:
            applied = self._applying(found, principal, call)
            scopes, strict = limits.all_scopes(principal, applied), limits.bounded(applied)
        else:
            applied, scopes, strict = of_agent.applied, of_agent.scopes, of_agent.bounded
        theirs: tuple[Applied, ...] = ()
        if mandate is not None:
            theirs = mandate.applied(call)
            strict = limits.bounded((*applied, *theirs))
        tokens = spend = 0
        if bounds.asks_a_model(call):
            if strict is not None:
                return self._reserve_bound(found, principal, call, destination, applied, scopes, strict, kept, theirs)
            # Nothing holds this call back: it counts so much only if it is never known what it used.
            into, out = len(call.raw), call.max_output_tokens or self._default_output
            if into > _UNLIMITED_INPUT:
                into = _UNLIMITED_INPUT
            tokens = into + out
            spend = self._most(principal, call, destination, found.now_ns, into, out)
        elif call.agent is not None:
            spend = bounds.charge_of_agent(call)
        elif call.tool is not None:
            where = destination.preset, destination.name, call.tool.name, found.now_ns, principal.organization
            price = self._prices.table.find(*where)
            spend = 0 if price is None else price.rates.request
        # In the order of its fields: named ones take twice as long.
        return found, CallReservation(principal.organization, scopes, applied, tokens, spend, principal.zone)

    def received(self, callee: Principal, caller: Principal, policy: Mapping[str, int], call: Call) -> CallReservation:
        """The reservation of a call on the side of the agent that is called; `policy` are its bundles' limits."""
        applied, scopes = limits.received(callee, caller, policy)
        return CallReservation(callee.organization, scopes, applied, 0, bounds.charge_of_agent(call), callee.zone)

    def left_microusd(self, mandate: Mandate, now_ns: int) -> int:
        """What is left of a mandate, as policies see it."""
        return mandate.left_microusd(self._standing.balance(mandate.grantor.organization, mandate.balance), now_ns)

    def beyond_limits(
        self, found: Authorization, reservation: CallReservation, approval: Mapping[str, Any] | None
    ) -> Authorization:
        """The same authorization, or one that waits for people, if limits have no room and policies let them decide.

        Nothing is refused here: what the approval does not give, the transaction of the decision refuses.
        """
        if not found.over_limit:
            return found
        get = functools.partial(self._standing.balance, now=True)
        exceeded, approvable = reservation.exceeded(get, found.now_ns)
        found = replace(found, exceeded=tuple(exceeded))
        if not exceeded or not approvable:
            return found
        demanded = beyond_limits(Verdict(found.code, approvals=found.approvals, over_limit=found.over_limit))
        if are_given(demanded.approvals, approval):
            return replace(found, approvals=demanded.approvals)
        if approval is not None:
            return found
        code, reasons = demanded.code, demanded.reasons
        return replace(found, allow=False, code=code, reasons=reasons, approvals=demanded.approvals)

    def _reserve_bound(
        self,
        found: Authorization,
        principal: Principal,
        call: Call,
        destination: Destination,
        applied: tuple[Applied, ...],
        scopes: tuple[str, ...],
        strict: Applied,
        kept: KeptState | None,
        theirs: tuple[Applied, ...] = (),
    ) -> tuple[Authorization, CallReservation | None]:
        """The same for a call that has to stay within limits, of which `strict` needs to know the most it can use."""
        bound = bounds.of(call, kept, preset=destination.preset)
        if bound.unbounded and not strict.estimates:
            why = f"the call has {bound.unbounded}, which may be any number of tokens; leave that out"
            why += _or_estimate(strict)
            return refused(found, _unenforceable(strict, why)), None
        prices = self._priced(principal, call, destination, found.now_ns)
        money = limits.first((*applied, *theirs), limits.SPEND)
        if None in prices and money is not None:
            why = f"the model `{call.models[prices.index(None)]}` has no price: `gateway prices` shows and sets prices"
            return refused(found, _unenforceable(money, why)), None
        if (why := _unpriced(prices, call, destination)) and money is not None:
            return refused(found, _unenforceable(money, why)), None
        fees = self._fees(bound, prices, principal, destination)
        if fees is None and money is not None and not strict.estimates:
            why = f"nothing says what a use of its tools costs ({bound.fees[0][0]}); {_OWN_PRICES}"
            return refused(found, _unenforceable(money, why)), None
        # A call that still has no output limit is one without output.
        out = (call.max_output_tokens or 0) * bound.rounds + bounds.predicted_tokens(call)
        seen = bounds.is_seen(call, destination.preset) and bound.input_tokens == bound.known
        worst = WorstCase(
            bound.input_tokens,
            tuple(prices),
            call.service_tier,
            _kinds(call, bound),
            seen,
            bounds.answers(call),
            fees or 0,
            windows.window(call.models, call.betas) if destination.preset in bounds.MAKERS else None,
        )
        most = worst.input_tokens + out, worst.cost(out)
        if not bound.unbounded and fees is not None and not (bound.loose and strict.estimates):
            return found, CallReservation(principal.organization, scopes, applied, *most, principal.zone, worst)
        why = bound.unbounded or bound.loose or f"tools without a price ({bound.fees[0][0]})"
        like = principal.organization, principal.agent_id, call.action, call.model or ""
        estimate = Estimate(why, like, self._estimates)
        least = worst._replace(input_tokens=bound.known, seen=False)
        out = (call.max_output_tokens or 0) + bounds.predicted_tokens(call)
        tokens, spend = self._estimated(estimate, applied, least, out, found.now_ns)
        if not bound.unbounded:
            tokens, spend = min(tokens, most[0]), spend if fees is None else min(spend, most[1])
        return found, CallReservation(
            principal.organization, scopes, applied, tokens, spend, principal.zone, least, estimate
        )

    def _estimated(
        self, estimate: Estimate, applied: tuple[Applied, ...], worst: WorstCase, out: int, now_ns: int
    ) -> tuple[int, int]:
        """The assumed use of a call: the most that one like it has, but not less than what of it has a bound.

        Until one has ended this is a guess. An estimate is never more than half of a limit: else the first of its kind
        could not go through, or, after one that used a whole limit, no other would ever again.
        """
        least = worst.input_tokens + out, worst.cost(out)
        known = self._estimates.of(estimate.like)
        if known is None:
            more = worst._replace(input_tokens=worst.input_tokens + UNKNOWN_TOKENS)
            known = more.input_tokens + out, more.cost(out)
        known = min(known[0], _half(applied, now_ns, money=False)), min(known[1], _half(applied, now_ns, money=True))
        return max(least[0], known[0]), max(least[1], known[1])

    def _fees(
        self, bound: bounds.Bound, prices: Sequence[Price | None], principal: Principal, destination: Destination
    ) -> int | None:
        """The most that the provider's tools can cost by the use; None if nobody has said how much that is."""
        table, total = self._prices.table, 0
        for tool, times in bound.fees:
            known = [
                table.fee(destination.preset, destination.name, principal.organization, price, tool)
                for price in prices
                if price is not None
            ]
            if None in known:
                return None
            total += times * max((each for each in known if each is not None), default=0)
        return total

    def _applying(self, found: Authorization, principal: Principal, call: Call) -> tuple[Applied, ...]:
        return limits.applying(principal, found.limits, _as_obliged(found, call), found.firm)

    def _priced(self, principal: Principal, call: Call, destination: Destination, now_ns: int) -> list[Price | None]:
        """The price of every model that the call names, in their order."""
        find, preset, name = self._prices.table.find, destination.preset, destination.name
        return [find(preset, name, model, now_ns, principal.organization) for model in call.models]

    def _most(
        self, principal: Principal, call: Call, destination: Destination, now_ns: int, into: int, out: int
    ) -> int:
        """The most that the call can cost, whatever its content is."""
        models = call.models
        if len(models) != 1 or call.service_tier != "":
            prices = self._priced(principal, call, destination, now_ns)
            return ceiling(prices, call.service_tier, into, out)
        dearest, organization = self._prices.table.ceiling, principal.organization
        return dearest(destination.preset, destination.name, models[0], now_ns, organization, into, out)

    def _room(
        self,
        applied: list[Applied],
        principal: Principal,
        call: Call,
        destination: Destination,
        now_ns: int,
        kept: KeptState | None,
    ) -> int:
        """The most output tokens that all of these limits have room for at this moment; less than 1 if they have none.

        More than the setting are of no interest.
        """
        room, bound, predicted = (
            self._default_output,
            bounds.of(call, kept, preset=destination.preset),
            bounds.predicted_tokens(call),
        )
        if all(each.estimates for each in applied):
            bound = bound._replace(input_tokens=bound.known, rounds=1)
        prices = self._priced(principal, call, destination, now_ns)
        fees = self._fees(bound, prices, principal, destination) or 0
        into, kinds = bound.input_tokens, _kinds(call, bound)
        worst = WorstCase(into, tuple(prices), call.service_tier, kinds, fees=fees)
        for limit in applied:
            balance = self._standing.balance(limit.organization or principal.organization, limit.scope, now=True)
            used, _ = balance.at(limit.counter, max(now_ns // MINUTE_NS, balance.minute))
            left = limit.at(now_ns) - used
            if limits.is_tokens(limit.name):
                room = min(room, (left - into - predicted) // bound.rounds)
            else:
                cost = functools.partial(worst.cost, predicted, rounds=bound.rounds)
                room = bisect.bisect_right(range(max(room, 0) + 1), left, key=cost) - 1
        return room


def _as_obliged(found: Authorization, call: Call) -> Call:
    """The call with the model that policies put in the place of its own."""
    model = found.obligations.model
    return call if model is None else replace(call, model=model, models=(model,))


def _half(applied: Sequence[Applied], now_ns: int, *, money: bool) -> int:
    """Half of the lowest limit on money, or on tokens."""
    found = (each.at(now_ns) for each in applied if each.name in limits.BOUNDED and each.spends is money)
    return min(found, default=2 * MAX_INTEGER) // 2


def _kinds(call: Call, bound: bounds.Bound) -> tuple[str, ...] | None:
    """The kinds of content besides text that the call can have; None for any. Pages are charged as images."""
    if bound.unbounded or bound.input_tokens != bound.known:
        return None
    return (*call.modalities, "image") if "file" in call.modalities else call.modalities


def _or_estimate(limit: Applied) -> str:
    """A way in which a call that has no bound can be let through all the same, if there is one."""
    if not limit.id:
        return " (limits of policies are always exact)"
    part = limits.as_options(limit.part.words())
    command = f"gateway limits set {limit.subject} {limit.name} VALUE{part} --mode estimate"
    return f", or have an operator let the limit reserve an estimate of it: `{command}`"


def _unpriced(prices: Sequence[Price | None], call: Call, destination: Destination) -> str:
    """Name the tier or region that a model of the call has no price for, so that it may cost anything; else empty."""
    tier, region = call.service_tier or "", bounds.region(call)
    if not tier and not region:
        return ""
    for model, price in zip(call.models, prices, strict=True):
        if price is None:
            continue
        if not price.knows(priced_tier(tier, destination.provider.usual_tiers, price), ""):
            return f"the price of the model `{model}` says nothing of the service tier `{tier[:_SHOWN]}`; {_OWN_PRICES}"
        if not price.knows("", region):
            return f"the price of the model `{model}` says nothing of the region `{region[:_SHOWN]}`; {_OWN_PRICES}"
    return ""


def settled(carried: Carried, outcome: str) -> Amounts | None:
    """The amounts that an ended call is settled at, by its usage; None, for all that it reserved, if any is unknown."""
    reservation, observed = carried.reservation, carried.admitted.observed
    usage = observed.report.usage
    if carried.unsent:
        return 0, 0, 0
    if reservation is None or reservation.tokens == 0:
        return 1, 0, observed.cost_nanousd or 0  # it asked no model
    if outcome == "provider_error" and observed.upstream_status in _DECLINED:
        return 1, 0, 0
    tokens = None if usage is None else usage.input + usage.output
    spend = observed.cost_nanousd
    if outcome in _WHOLE or carried.ran_to_end:
        if carried.misreported or (tokens is None and spend is None):
            return None
        # A call that costs something and reports no tokens is not sold by them, but by seconds of sound, for instance.
        return 1, tokens or 0, reservation.spend_nanousd if spend is None else spend
    if (part := of_what_came(carried, outcome)) is not None:
        return 1, max(tokens or 0, part.tokens), max(spend or 0, part.spend_nanousd)
    # The usage reported before the answer broke off may be less than the provider charges for, but not more.
    return 1, max(tokens or 0, reservation.tokens), max(spend or 0, reservation.spend_nanousd)


class ChargedPart(NamedTuple):
    """The most that a call can be charged at whose client has left: what had come, and what was still to come."""

    tokens: int
    spend_nanousd: int
    came: int
    margin: int


def of_what_came(carried: Carried, outcome: str) -> ChargedPart | None:
    """The most that a stream whose client has left can have used; None where only the reservation bounds it."""
    reservation, produced = carried.reservation, carried.produced
    if outcome != "client_disconnected" or carried.ran_to_end or not carried.left:
        return None
    if reservation is None or reservation.worst is None or produced is None:
        return None
    worst, came = reservation.worst, produced.tokens
    margin = MARGIN * worst.answers + 2 * (came - carried.came_before)
    if (usage := carried.admitted.observed.report.usage) is not None:
        worst = worst._replace(input_tokens=usage.input)
    tokens, spend = worst.input_tokens + came + margin, worst.cost(came, margin)
    return ChargedPart(min(tokens, reservation.tokens), min(spend, reservation.spend_nanousd), came, margin)


def refusal(entry: Entry) -> Denied:
    """The refusal of a call whose reservation was turned down, according to the entry that says so."""
    reasons = orjson.loads(str(entry["reasons_json"]))
    facts = orjson.loads(str(entry.get("limits_json") or "null"))
    waits = [each["retry_after_seconds"] for each in facts or ()]
    if not waits or None in waits:
        # A wait does not help if one of them never has room for this call.
        return Denied(str(entry["reason"]), reasons=reasons, facts=facts, retry=None if facts is None else False)
    wait = max(waits)
    return Denied(
        str(entry["reason"]),
        reasons=reasons,
        facts=facts,
        retry=wait <= SENSIBLE_WAIT,
        headers=[(b"retry-after", b"%d" % wait)],
    )


def _needs_a_bound(limit: Applied) -> bool:
    return limit.name in limits.BOUNDED


def _unenforceable(limit: Applied, why: str) -> Verdict:
    reason = f"`{limit.name}` of {limit.subject}: {why}"
    return Verdict("limit_unenforceable", reasons=(reason,))
