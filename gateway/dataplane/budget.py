"""Between a request and the limits: what a call reserves, its output limit where it has none, what it is settled at.

`gateway/dataplane/proxy.py` asks in steps 5, 6 and 9. What limits are is in `gateway/usage/`.
Specification: docs/limits.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import orjson

from gateway.audit.balances import MINUTE_NS, Amounts
from gateway.audit.entry import Entry
from gateway.call import Call
from gateway.dataplane.exchange import Exchange
from gateway.errors import Denied
from gateway.identity.principals import Principal
from gateway.policy.authorization import Authorization, refused
from gateway.policy.decision import Verdict
from gateway.policy.obligations import Obligations, together
from gateway.usage import bounds, limits
from gateway.usage.limits import Applied
from gateway.usage.reservation import CallReservation
from gateway.usage.standing import Standing

LEAST_OUTPUT: Final = 16
"""The smallest output limit that the gateway sets: some providers take no smaller one."""
SENSIBLE_WAIT: Final = 60
"""Seconds after which a client may try again by itself."""
_UNLIMITED_INPUT: Final = 100_000  # tokens; the body of a call that no limit bounds can be megabytes of images
# Answers by which a provider says that it has not carried out the request, so that it charges nothing.
_DECLINED: Final = frozenset({*range(400, 500), 503, 529})
_WHOLE: Final = frozenset({"ok", "cap_exceeded"})

Apply = Callable[[Call, Obligations], tuple[Call, tuple[str, ...]]]


class Budget:
    """What one worker needs to count calls and to hold limits. May be used from several threads."""

    def __init__(self, standing: Standing, *, default_output: int) -> None:
        self._standing = standing
        self._default_output = default_output

    def usage(self, principal: Principal, now_ns: int) -> Mapping[str, Any]:
        """What the agent has used, as policies see it."""
        return self._standing.usage(principal.organization, f"agent:{principal.agent_id}", now_ns)

    def with_output_limit(
        self, found: Authorization, principal: Principal, call: Call, apply: Apply
    ) -> tuple[Authorization, int | None]:
        """The authorization with an output limit of the gateway's own, where a limit needs one and the call has none.

        It is the setting, or what is left of the limits if that is less, so that the last calls still go through.
        """
        if call.max_output_tokens is not None or not bounds.asks_a_model(call):
            return found, None
        applied = [each for each in self._applying(found, principal, call) if _needs_a_bound(each)]
        if not applied or not apply(call, Obligations(max_output_tokens=self._default_output))[1]:
            return found, None  # nothing needs a limit, or it is a call without output
        cap = min(found.obligations.max_output_tokens or self._default_output, self._default_output)
        room = self._room(applied, principal, call, found.now_ns)
        cap = min(cap, max(room, LEAST_OUTPUT))
        obligations = together([found.obligations, Obligations(max_output_tokens=cap)])
        return replace(found, obligations=obligations), cap

    def reserve(
        self, found: Authorization, principal: Principal, call: Call
    ) -> tuple[Authorization, CallReservation | None]:
        """What the call reserves as it will be forwarded; or the authorization refused, if a limit cannot hold it."""
        applied = self._applying(found, principal, call)
        tokens = 0
        if bounds.asks_a_model(call):
            strict = next((each for each in applied if _needs_a_bound(each)), None)
            if strict is None:
                # Nothing holds this call back: it counts so much only if it is never known what it used.
                tokens = min(len(call.raw), _UNLIMITED_INPUT) + (call.max_output_tokens or self._default_output)
            elif unbounded := bounds.unbounded(call):
                return refused(found, _unenforceable(strict, f"the request has {unbounded}")), None
            else:
                # A call that still has no output limit is one without output.
                tokens = bounds.input_tokens(call) + (call.max_output_tokens or 0)
        return found, CallReservation(
            organization=principal.organization,
            scopes=limits.all_scopes(principal, applied),
            limits=applied,
            tokens=tokens,
        )

    def _applying(self, found: Authorization, principal: Principal, call: Call) -> tuple[Applied, ...]:
        if (model := found.obligations.model) is not None:
            call = replace(call, model=model, models=(model,))
        return limits.applying(principal, found.limits, call)

    def _room(self, applied: list[Applied], principal: Principal, call: Call, now_ns: int) -> int:
        """The most output tokens that all of these limits have room for at this moment."""
        room, into = math.inf, bounds.input_tokens(call)
        for limit in applied:
            balance = self._standing.balance(principal.organization, limit.scope, now=True)
            used, _ = balance.at(limit.counter, max(now_ns // MINUTE_NS, balance.minute))
            left = limit.at(now_ns) - used
            if limits.is_tokens(limit.name):
                room = min(room, left - into)
        return int(min(room, self._default_output))


def settled(exchange: Exchange, outcome: str) -> Amounts | None:
    """What a call that has ended is settled at: by its usage if all of that is known, otherwise None: in full."""
    reservation, usage = exchange.reservation, exchange.report.usage
    if reservation is None or reservation.tokens == 0:
        return 1, 0, 0  # it asked no model
    if outcome in _WHOLE and usage is not None:
        return 1, usage.input + usage.output, 0
    if outcome == "provider_error" and exchange.upstream_status in _DECLINED:
        return 1, 0, 0
    if usage is not None and usage.input + usage.output > reservation.tokens:
        return 1, usage.input + usage.output, reservation.spend_nanousd
    return None


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
    return limits.is_tokens(limit.name) or limits.is_spend(limit.name)


def _unenforceable(limit: Applied, why: str) -> Verdict:
    reason = f"{limit.subject} has a limit `{limit.name}`, and {why}, of which nothing says how much it may use"
    return Verdict("limit_unenforceable", reasons=(reason,))
