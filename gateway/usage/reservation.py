"""A call's reservation: taken inside the transaction of its decision, or a refusal that says which limit has no room.

Every call of an agent counts, whether or not a limit applies to it. A call reserves its worst case, so usage never
exceeds a limit, however many calls run at once and whatever crashes. `gateway/audit/balances.py` has the
arithmetic; this file compares and explains. Specification: limits.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

import orjson

from gateway.audit.balance import METRIC_OF, MINUTE_NS, Balance, Ends, shown_time
from gateway.audit.balances import Balances, Group, Held, lasting, number
from gateway.audit.entry import MAX_INTEGER, document
from gateway.audit.intents import Denial, Fields
from gateway.audit.over_limits import RaisedLimit, may_exceed
from gateway.audit.thresholds import LimitWindow
from gateway.usage import zones
from gateway.usage.estimates import Estimate
from gateway.usage.limits import ESTIMATE, Applied, as_options
from gateway.usage.prices import Price

_WHY: Final = 256  # characters
_SHOWN: Final = 8  # limits that one refusal tells of
_WHILE_OPEN: Final = 1  # seconds: calls under way may give back what they reserved


GetBalance: TypeAlias = Callable[[str, str], Balance]
"""Gives the balance of a scope in an organization."""


class WorstCase(NamedTuple):
    """The parts of the reservation of a call that limits on tokens or money hold back."""

    input_tokens: int
    prices: tuple[Price | None, ...]
    service_tier: str | None
    # Kinds of content besides text that it can have.
    modalities: tuple[str, ...] | None = ()
    # True if a stream of it shows all that the model makes, and its provider stops when the connection is closed.
    seen: bool = False
    answers: int = 1
    # The most that the provider's tools can cost besides.
    fees: int = 0
    # The window of the model, if its maker is asked; a report of far more than that is none.
    window: int | None = None

    def cost(self, output: int, more: int = 0, *, rounds: int = 1) -> int:
        """The most that it can cost with so much output, and so much more in each round."""
        tokens = output + more * rounds
        return ceiling(self.prices, self.service_tier, self.input_tokens, tokens, self.modalities) + self.fees


def ceiling(
    prices: Sequence[Price | None],
    service_tier: str | None,
    into: int,
    out: int,
    modalities: tuple[str, ...] | None = None,
) -> int:
    """The most that a call can cost: by the dearest of its models, since the provider may use any."""
    found = (each.ceiling(into, out, service_tier, modalities) for each in prices if each is not None)
    return max(found, default=0)


class CallReservation(NamedTuple):
    """The reservation of one call, and its scopes: it implements `gateway.audit.intents.Reservation`."""

    organization: str
    scopes: tuple[str, ...]
    limits: tuple[Applied, ...] = ()
    tokens: int = 0
    spend_nanousd: int = 0
    # The time zone of the organization.
    zone: str = zones.DEFAULT
    worst: WorstCase | None = None
    # The reason why it is not the most that the call can use; None if it is.
    estimate: Estimate | None = None
    # The minutes until which windows of these scopes last.
    until: tuple[tuple[str, int], ...] = ()

    def take(self, balances: Balances, time_ns: int, raised: Sequence[RaisedLimit] = ()) -> Fields | Denial:
        """The members of the entry by which it reserves; or a denial with every limit that has no room for it.

        It may go over those that are `raised` by an approval, if the policies of this moment offer that, too.
        """
        group = balances.of(self.organization, self.scopes)
        minute = time_ns // MINUTE_NS
        for balance in group.balances:  # none of them goes back in time
            if balance.minute > minute:
                minute = balance.minute
        begun = None if self.zone == zones.DEFAULT else zones.ends(self.zone, minute)
        until = dict(self.until)
        if until and minute >= min(until.values()):
            return Denial(reasons=["the time for it is over"])
        read: list[list[Any]] = []
        if self.limits:
            exceeded, full = self._compare(group, minute, begun, time_ns, read, raised, until)
            if exceeded:
                return _denial(exceeded, full)
        tokens, spend = self.tokens, self.spend_nanousd
        if tokens > MAX_INTEGER or spend > MAX_INTEGER:
            tokens, spend = min(tokens, MAX_INTEGER), min(spend, MAX_INTEGER)
        # Canonical JSON, put together by hand: each call has it, and most of it is the same for all of an agent.
        ends = "" if begun is None else f'"ends":{orjson.dumps(begun).decode()},'
        compared = f'"read":{orjson.dumps(read).decode()},' if read else ""
        if self.estimate is not None:
            ends += f'"estimated":{orjson.dumps(self.estimate.why[:_WHY]).decode()},'
        lasts = f',"until":{orjson.dumps(until, option=orjson.OPT_SORT_KEYS).decode()}' if until else ""
        amounts = f'"spend_nanousd":{spend},"tokens":{tokens}'
        text = f'{{{ends}"minute":{minute},{compared}"scopes":{group.text},{amounts}{lasts}}}'
        balances.made(text, Held(group, minute, tokens, spend, begun, read, until))
        return {"reservation_json": text}

    def _compare(
        self,
        group: Group,
        minute: int,
        begun: Ends | None,
        time_ns: int,
        read: list[list[Any]],
        raised: Sequence[RaisedLimit],
        until: Mapping[str, int],
    ) -> tuple[list[dict[str, Any]], list[LimitWindow]]:
        """Compare the call with every limit. Values that were read go into `read`; returns the limits without room."""
        exceeded: list[dict[str, Any]] = []
        full: list[LimitWindow] = []
        amounts = 1, self.tokens, self.spend_nanousd
        for limit in self.limits:
            balance = group.by_scope[limit.scope]
            used, reserved = balance.at(limit.counter, minute)
            value = limit.at(time_ns) if limit.raised_until_ns else limit.value
            needed = amounts[METRIC_OF[limit.counter]]
            if used + needed > value and not (
                raised
                and _is_approvable(limit, used + needed)
                and may_exceed(raised, limit.scope, limit.counter, value, needed)
            ):
                new = lasting(until[limit.scope]) if limit.scope in until else begun
                ends = balance.ends(limit.counter, minute, new)
                exceeded.append(_exceeded(limit, value, used, reserved, needed, ends, time_ns))
                window = limit.scope, limit.counter, used, reserved, value, limit.id, minute, ends, needed
                full.append(LimitWindow(*window))
            if used <= MAX_INTEGER and value <= MAX_INTEGER:
                read.append([limit.scope, limit.counter, used, reserved, value, limit.id])
            else:
                read.append([limit.scope, limit.counter, number(used), number(reserved), number(value), limit.id])
            if limit.estimates:
                read[-1].append(ESTIMATE)
        return exceeded, full

    def standing(self, get: GetBalance, time_ns: int) -> list[dict[str, Any]]:
        """Every limit that applies, as a refusal tells of it; and what is `left` before the call, and `has_room`."""
        told: list[dict[str, Any]] = []
        for limit, value, used, found in self._told(get, time_ns):
            has_room = used + self.needed(limit.counter) <= value
            found |= {"left": max(0, (value - used) // limit.unit), "has_room": has_room}
            if has_room:
                found["retry_after_seconds"] = None
            told.append(found)
        return told

    def exceeded(self, get: GetBalance, time_ns: int) -> tuple[list[dict[str, Any]], bool]:
        """The limits that have no room, as a refusal tells of them; and true if an approval may let it go over all."""
        told: list[dict[str, Any]] = []
        approvable = True
        for limit, value, used, found in self._told(get, time_ns):
            if used + (needed := self.needed(limit.counter)) > value:
                approvable = approvable and _is_approvable(limit, used + needed)
                told.append(found)
        return told, approvable

    def _told(self, get: GetBalance, time_ns: int) -> Iterator[tuple[Applied, int, int, dict[str, Any]]]:
        """Every limit that applies, with its value, what is used of it, and how a refusal would tell of it."""
        found = {each: get(self.organization, each) for each in self.scopes}
        minute = max(time_ns // MINUTE_NS, *(each.minute for each in found.values()))
        begun = zones.ends(self.zone, minute)
        for limit in self.limits:
            balance, value = found[limit.scope], limit.at(time_ns)
            used, reserved = balance.at(limit.counter, minute)
            ends, needed = balance.ends(limit.counter, minute, begun), self.needed(limit.counter)
            yield limit, value, used, _exceeded(limit, value, used, reserved, needed, ends, time_ns)

    def needed(self, counter: str) -> int:
        """The units of a counter that the call needs in its worst case."""
        return (1, self.tokens, self.spend_nanousd)[METRIC_OF[counter]]


def _is_approvable(limit: Applied, total: int) -> bool:
    """True if people may let a call go over a limit, so that this is used of it in all."""
    return limit.approvable is None or total <= limit.approvable


def too_many(limit: Applied, value: int, running: int, time_ns: int) -> dict[str, Any]:
    """A limit on concurrent requests that has no room for one more, as `_exceeded` tells of it."""
    return _exceeded(limit, value, running, running, 1, None, time_ns)


def _exceeded(
    limit: Applied, value: int, used: int, reserved: int, needed: int, ends: int | None, time_ns: int
) -> dict[str, Any]:
    """One limit that has no room for the call, as the log and the client are told of it."""
    unit = limit.unit
    if needed > value:
        retry = None  # it would never fit
    elif used - reserved + needed <= value or ends is None:
        retry = _WHILE_OPEN
    else:
        retry = max(1, ends - time_ns // 10**9)
    found: dict[str, Any] = {
        "subject": limit.subject,
        "limit": limit.name,
        "value": value // unit,
        "spent": -(-(used - reserved) // unit),
        "reserved": -(-reserved // unit),
        "needed": -(-needed // unit),
        "resets_at": None if ends is None else shown_time(ends),
        "retry_after_seconds": retry,
        "set_by": "registry" if limit.id else "policy",
    }
    if any(limit.part):
        found["calls"] = limit.part.words()
    if limit.id:
        found |= {"id": limit.id, "by_gateway": limit.by_gateway}
    return found


def _denial(exceeded: Sequence[dict[str, Any]], full: Sequence[LimitWindow]) -> Denial:
    # The limit that takes longest to have room again decides how long to wait, and is told of first.
    exceeded = sorted(exceeded, key=lambda each: -(each["retry_after_seconds"] or 2**53))
    return Denial(
        reasons=[sentence(each) for each in exceeded[:_SHOWN]],
        fields={"limits_json": document(exceeded[:_SHOWN])},
        used_up=full,
    )


def sentence(found: Mapping[str, Any]) -> str:
    """One exceeded limit in words: whose it is, what is left of it, until when, and who may raise it."""
    name, value = found["limit"], found["value"]
    left = max(0, value - found["spent"] - found["reserved"])
    whose = found["subject"] + (f" ({found['calls']})" if "calls" in found else "")
    text = f"{whose} has {amount(name, left)} left of {amount(name, value)} ({name})"
    if found["reserved"]:
        text += f", {amount(name, found['reserved'])} of it reserved by calls under way"
    if found["needed"] > 1:
        text += f"; this call may use up to {amount(name, found['needed'])}"
    if found["resets_at"]:
        text += f"; the limit starts anew at {found['resets_at']}"
    if found["set_by"] == "policy":
        return f"{text}; it is set by a policy"
    where = as_options(found.get("calls", ""))
    raising = f"gateway limits raise {found['subject']} {name}"
    who = "an operator of the whole gateway" if found.get("by_gateway") else "an operator"
    return f"{text}; {who} can raise it: `{raising} VALUE{where} --for 2h --reason TEXT`"


def amount(name: str, count: int) -> str:
    """An amount in the words of a limit: `$1.50`, `200 tokens`, `3 requests`."""
    if name.startswith("spend"):
        whole = f"{count / 1e6:.6f}".rstrip("0")
        return "$" + (whole if len(whole.partition(".")[2]) >= 2 else f"{count / 1e6:.2f}")
    what = "token" if name.startswith("tokens") else "request"
    return f"{count:,} {what}{'' if count == 1 else 's'}"
