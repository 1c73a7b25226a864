"""The cost of a call, by the prices in force and what the provider reported. Never asked before the answer ends.

The log keeps it with the price that was used, so that the sum can be checked later. Prices are those of the time at
which the call was judged, by which it has reserved, too. If the provider did not report what it charges for, there is
no cost: an amount would be a guess.

Numbers that are none, that are missing, or that no call can have are not charged by. Such a call is settled at all that
it had reserved, as one without a report, and its entry says so (`misreported`) and what was reported (`reported_json`).
Otherwise a part that cannot be read would count as nothing, and one absurd number would take what an organization may
use in a month. Specification: limits.md.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from gateway.audit.balances import number
from gateway.audit.entry import document
from gateway.call import COUNTS, Usage
from gateway.dataplane.phases import Carried
from gateway.usage.price_book import PriceBook
from gateway.usage.prices import MOST, Price
from gateway.usage.reservation import CallReservation, WorstCase

CHARGED: Final = "charged@answer"
"""In the place of a price: the provider's answer says what it has charged."""


class Cost(NamedTuple):
    """An amount and the price it was reckoned with."""

    nanousd: int
    price: str
    """The entry of the table and its version, `Price.name`."""


class Costs:
    """Costs of calls by the prices that a book holds."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def of(self, carried: Carried) -> Cost | None:
        """The cost of this call; None if no price is known, or not what was used.

        If the provider says what it has charged, it is not less than that.
        """
        if carried.admitted.match.destination.published is not None:
            return _of_agent(carried)
        if carried.tool:
            return self._of_tool(carried)
        found, charged = self._reckoned(carried), carried.admitted.observed.report.charged
        if charged is None or (found is not None and found.nanousd >= charged):
            return found
        return Cost(min(charged, MOST), f"{carried.admitted.match.destination.preset}/{CHARGED}")

    def _of_tool(self, carried: Carried) -> Cost | None:
        """The price of a tool that was called, unless the server has answered with an error; None if it has none."""
        observed, price = carried.admitted.observed, self._find(carried, carried.tool)
        if carried.unsent or price is None:
            return None
        refused = observed.upstream_status is not None and observed.upstream_status >= 400
        return Cost(0 if refused else price.rates.request, price.name)

    def _reckoned(self, carried: Carried) -> Cost | None:
        """The cost by prices."""
        observed = carried.admitted.observed
        report = observed.report
        usage = report.usage
        if usage is None and report.seconds is None and report.images is None:
            answered = observed.upstream_status is not None and observed.upstream_status < 300
            if not answered:
                return None
        # The price of the model that has answered, or else of the one that was asked: an alias, or a deployment.
        price = None if report.model is None else self._find(carried, report.model)
        if price is None and (price := self._find(carried, observed.model or "")) is None:
            return None
        if usage is None and (
            price.counts_tokens
            or (price.rates.hour and report.seconds is None)
            or (price.rates.image and report.images is None)
        ):
            return None
        more, tier, region = 0, "", report.region or ""
        if report.service_tier is not None:
            tier = priced_tier(report.service_tier, carried.admitted.match.destination.provider.usual_tiers, price)
        if tier or region or report.tools or report.further:
            # A tool or model without a known price may cost more than any price says.
            besides = self._besides(carried, price, tier, region) if price.knows(tier, region) else None
            if besides is None:
                return None
            more, usage = besides
        nanousd = price.cost(
            usage,
            seconds=report.seconds or 0,
            images=report.images or 0,
            service_tier=tier,
            region=region,
        )
        return Cost(min(nanousd + more, MOST), price.name)

    def _besides(self, carried: Carried, price: Price, tier: str, region: str) -> tuple[int, Usage | None] | None:
        """The cost of a call besides the tokens of its own model, and its usage without the part that this cost covers.

        None if the answer names something that no price is known of.
        """
        admitted = carried.admitted
        upstream, table, report = admitted.match.destination, self._book.table, admitted.observed.report
        total, usage = 0, report.usage
        for tool, times in report.tools.items():
            fee = table.fee(upstream.preset, upstream.name, admitted.principal.organization, price, tool)
            if fee is None:
                return None
            total += times * fee
        for model, part in report.further:
            other = price if model is None else self._find(carried, model)
            if other is None or (region and region not in other.regions):
                return None
            total += other.cost(part, requests=0, service_tier=tier, region=region)
            usage = None if usage is None else usage.less(part)
        return total, usage

    def _find(self, carried: Carried, model: str) -> Price | None:
        upstream, organization = carried.admitted.match.destination, carried.admitted.principal.organization
        return self._book.table.find(upstream.preset, upstream.name, model, carried.priced_ns, organization)


def _of_agent(carried: Carried) -> Cost | None:
    """The charge of an agent that was called: all that the call was said to cost, unless it answers with an error."""
    observed, reservation = carried.admitted.observed, carried.reservation
    if carried.unsent or reservation is None or not reservation.spend_nanousd:
        return None
    status, charged = observed.upstream_status, observed.report.charged
    refused = charged == 0 or (status is not None and status >= 400)
    name = f"{carried.admitted.match.destination.name}/{CHARGED}"
    return Cost(0 if refused else reservation.spend_nanousd, name)


def priced_tier(tier: str, usual: Collection[str], price: Price) -> str:
    """A service tier as the price names it: empty if it has no rates of its own and costs no more than usual."""
    tier = tier.lower()
    return "" if tier in usual and tier not in price.service_tiers else tier


INVALID: Final = "invalid"
IMPOSSIBLE: Final = "impossible"

MOST_OF_A_CALL: Final = 2**24
"""More tokens than one call to a model can have: no model has a window of more than ten million."""
MOST_OF_SEVERAL: Final = 2**28
"""The same of a call for which the provider may call its models again and again, as with tools of its own."""
MOST_NANOUSD: Final = 10_000 * 10**9
"""More money than one call can cost: so much is that many tokens at the highest price of the table."""


def fault(carried: Carried) -> str:
    """The fault of the report of an answer; empty if it can be charged by."""
    report, reservation = carried.admitted.observed.report, carried.reservation
    if report.unsound or report.lacking:
        return INVALID
    usage = report.usage
    if usage is None:
        return ""
    # A part is cheaper than the whole. Two may overlap, as OpenRouter reports them, and each is charged.
    for each in (usage, *[part for _, part in report.further]):
        if each.cached > each.input or each.cache_write > each.input:
            return INVALID
    most = MOST_OF_SEVERAL
    if reservation is not None and reservation.worst is not None and reservation.estimate is None:
        most = _most(reservation, reservation.worst)
    return IMPOSSIBLE if usage.input + usage.output > most else ""


def _most(reservation: CallReservation, worst: WorstCase) -> int:
    """The most tokens that a call with a bound can have, whatever its upstream makes of its output limit.

    A model's window holds the input and, of each answer, the output.
    """
    if worst.window is None:
        return MOST_OF_A_CALL
    return min(MOST_OF_A_CALL, max(reservation.tokens, worst.window * (1 + worst.answers)))


def withdraw(carried: Carried, found: str) -> None:
    """Take back what was reported, so that nothing counts it. The entry keeps the numbers."""
    observed = carried.admitted.observed
    report = observed.report
    carried.misreported, carried.reported = found, document(_shown(report.usage))
    report.usage = report.charged = report.seconds = report.images = None
    report.further, report.tools = (), {}
    observed.cost_nanousd, observed.price = None, ""


def _shown(usage: Usage | None) -> dict[str, int | str]:
    """The numbers that could be read, by the names of `Usage`."""
    found = {} if usage is None else {name: getattr(usage, name) for name in COUNTS}
    return {f"{name}_tokens": number(value) for name, value in found.items() if value}
