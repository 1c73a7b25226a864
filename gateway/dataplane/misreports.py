"""Reports of usage that are not to be charged by: numbers that are none, that are missing, or that no call can have.

Such a call is settled at all that it had reserved, as one without a report, and its entry says so (`misreported`) and
what was reported (`reported_json`). Otherwise a part that cannot be read would count as nothing, and one absurd number
would take what an organization may use in a month. Specification: limits.md.
"""

from __future__ import annotations

from typing import Final

from gateway.audit.balances import number
from gateway.audit.entry import document
from gateway.call import COUNTS, Usage
from gateway.dataplane.phases import Carried
from gateway.usage.reservation import CallReservation, WorstCase

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
