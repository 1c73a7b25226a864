"""Step 5 of a request: the policies judge the call, and limits are asked for it.

`judge` is the one judge: requests, dry runs (`dry_run.py`) and questions about permissions all ask it.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from gateway.call import Call, Reference
from gateway.dataplane import mandates, receiving
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.budget import Budget
from gateway.dataplane.mandates import Mandate
from gateway.dataplane.obliged import obliged
from gateway.dataplane.phases import Admitted
from gateway.dataplane.reading import LARGE_BODY
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.identity.call_tokens import ON_BEHALF_OF
from gateway.identity.principals import Principal
from gateway.policy import authorization, shadow
from gateway.policy.authorization import CHANGED_TWICE, NOT_ENFORCED, Apply, Authorization
from gateway.policy.cache import Panel
from gateway.policy.decision import ALLOWED, APPROVAL
from gateway.shares import Shares
from gateway.upstream.routing import Destination
from gateway.usage.bounds import KeptState
from gateway.usage.reservation import CallReservation

# Bundles that take longer than this are asked beside the event loop from the next request on.
_LONG_JUDGEMENT = 0.005
_MAX_LONG = 1024  # panels that are remembered for it
# Denials that are as policies and keys are meant. Any other one is a fault, which the log should have.
SAYS_NO: Final = frozenset({"policy_denied", "policy_undefined", "no_policy", "key_scope"})


@frozen()
class Judgement:
    """The verdict of policies and limits on a call, and the call as it would be forwarded: with these edits.

    `document` is what was judged first, before any edit.
    """

    authorization: Authorization
    document: Mapping[str, Any]
    call: Call
    edits: tuple[str, ...]
    # The output limit that the gateway has set because a limit needs one.
    output_limit: int | None
    # Its share of the limits, also while people have to say if it may go over them; None if it is refused otherwise, or
    # limits were not asked.
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
    kept: KeptState | None = None,
    approval: Mapping[str, Any] | None = None,
    mandate: Mandate | None = None,
) -> Judgement:
    """Judge a call, of a request or of anybody who asks what would become of one. Nothing is reserved or recorded here.

    If policies oblige the gateway to change the call, `apply` changes it and they judge the result once more; both
    judgements share one deadline, `ends`. Limits are asked if there is a `budget`, and a `destination` to know prices
    of. The rest is as in `authorization.decide`.
    """
    found = authorization.decide(
        judges, principal, call, now_ns, ends=ends, usage=usage, clock=clock, foreign=foreign, approval=approval
    )  # fmt: skip
    if (
        destination is not None
        and destination.auth == ON_BEHALF_OF
        and principal.person is None
        and found.code in (ALLOWED, APPROVAL)
    ):
        found = authorization.refused(found, authorization.PERSON_REQUIRED)
    if mandate is not None and mandate.refusal and found.code in (ALLOWED, APPROVAL):
        found = authorization.refused(found, mandates.refused(mandate))
    document = found.input
    edits: tuple[str, ...] = ()
    output_limit = reservation = None
    if found.allow and budget is not None and destination is not None:
        asked = time.monotonic()
        found, output_limit = budget.with_output_limit(found, principal, call, destination, apply, kept, mandate)
        # The bound of a long text takes longer than policies may: their deadline is for themselves.
        ends += time.monotonic() - asked
    if found.allow and found.obligations:
        found, call, edits = authorization.enforce(found, principal, call, apply, ends=ends)
    if found.allow and budget is not None and destination is not None:
        found, reservation = budget.reserve(found, principal, call, destination, kept, mandate)
        if reservation is not None:
            found = budget.beyond_limits(found, reservation, approval)
    elif found.code == APPROVAL and found.over_limit and budget is not None and destination is not None:
        # Whoever approves the call decides about the limits as well.
        _, reservation = budget.reserve(found, principal, call, destination, kept, mandate)
        if reservation is not None:
            found = budget.beyond_limits(found, reservation, approval)
    return Judgement(found, document, call, edits, output_limit, reservation)


class Judge:
    """Judges the calls of one worker's requests. `deadline` is what bundles have for a call, in seconds."""

    def __init__(self, budget: Budget, deadline: float) -> None:
        self._budget = budget
        self._deadline = deadline
        # One long judgement at a time, so that the event loop gets its share of the interpreter.
        self.turns = Shares("long judgements", 1)
        # Summaries of the panels whose last judgement was long.
        self._long: set[str] = set()

    async def decide(
        self,
        admitted: Admitted,
        call: Call,
        judges: Panel,
        foreign: tuple[Reference, ...],
        kept: KeptState | None,
        approval: Mapping[str, Any] | None = None,
        mandate: Mandate | None = None,
    ) -> tuple[Judgement, str]:
        """Judge the call. The text says what bundles would have decided that do not count."""
        # A bound of its tokens looks at all characters of a body, and some take a microsecond each.
        if judges.summary not in self._long and len(admitted.request.received) <= LARGE_BODY:
            return self._decide(admitted, call, judges, foreign, kept, approval, mandate)
        whose = holders_of(admitted.principal)
        asked = admitted, call, judges, foreign, kept, approval, mandate
        found = await beside(self.turns, whose, self._decide, *asked)
        admitted.request.count_spooled(found[0].call)
        return found

    def received(
        self, callee: Principal, caller: Principal, theirs: Authorization, call: Call
    ) -> CallReservation | None:
        """The share of a call in the limits of the agent that is called; None if that side denies it."""
        return self._budget.received(callee, caller, theirs.limits, call) if theirs.allow else None

    def _decide(
        self,
        admitted: Admitted,
        call: Call,
        judges: Panel,
        foreign: tuple[Reference, ...],
        kept: KeptState | None,
        approval: Mapping[str, Any] | None,
        mandate: Mandate | None,
    ) -> tuple[Judgement, str]:
        """Touches nothing of the request, so it may run beside the event loop."""
        principal, destination = admitted.principal, admitted.match.destination
        began = time.monotonic()
        now_ns = time.time_ns()
        usage = self._budget.usage(principal, now_ns) if judges.reads_usage else None
        if mandate is not None:
            left = self._budget.left_microusd(mandate, now_ns)
            call = replace(call, mandate=None if mandate.refusal else mandate.document(left))
        apply = functools.partial(obliged, destination.provider)
        found = judge(
            judges, principal, call, now_ns, apply, began + self._deadline,
            foreign=foreign, usage=usage, budget=self._budget, destination=destination, kept=kept, approval=approval,
            mandate=mandate,
        )  # fmt: skip
        if found.call is not call:
            found = replace(found, call=receiving.spooled(found.call, admitted.request.received))
        would = ""
        if judges.shadows:
            would = shadow.ask(judges.shadows, found.document, now_ns, time.monotonic() + self._deadline)
        if time.monotonic() - began <= _LONG_JUDGEMENT:
            self._long.discard(judges.summary)
        elif len(self._long) < _MAX_LONG:
            self._long.add(judges.summary)
        return found, would

    async def may(self, admitted: Admitted, call: Call, judges: Panel) -> bool:
        """False if policies say no to this call: then nobody need ask for it. Nothing is reserved or recorded."""
        if judges.summary in self._long:
            return await beside(self.turns, holders_of(admitted.principal), self._may, admitted.principal, call, judges)
        return self._may(admitted.principal, call, judges)

    def _may(self, principal: Principal, call: Call, judges: Panel) -> bool:
        began, now_ns = time.monotonic(), time.time_ns()
        usage = self._budget.usage(principal, now_ns) if judges.reads_usage else None
        found = authorization.decide(judges, principal, call, now_ns, ends=began + self._deadline, usage=usage)
        return found.code not in SAYS_NO


_LONGEST: Final = 128
_AUTHOR: Final = "whoever writes the policies has to mend that"
_FEWER: Final = "ask for fewer answers (`n`) or fewer tokens"


def denial(found: Authorization) -> Denied:
    """The refusal of a call that a decision denies: the policies' reasons, or what was missing if there are none.

    A developer can mend a request, or ask whoever writes the policies, only if the text says which of the two it takes.
    It tells the shape of a policy's answer, never a value or a condition in it.
    """
    denied = Denied(found.code, reasons=found.reasons or _missing(found))
    if found.code in ("policy_denied", "policy_undefined") and not found.reasons:
        denied.message = f"no policy allows {_asked(found.input)}"
    return denied


def _missing(found: Authorization) -> tuple[str, ...]:
    if found.code == "policy_unsupported":
        unmet = found.detail.removeprefix(NOT_ENFORCED)
        if unmet == found.detail:
            return (f"{found.detail}; {_AUTHOR}",)
        return (f"{unmet}: {_FEWER}" if unmet.startswith("`max_output_tokens`") and "asks for" in unmet else unmet,)
    if found.code == "policy_bad_decision":
        detail = found.detail or CHANGED_TWICE.detail
        return (f"{detail}; {_AUTHOR}",)
    return ()


def _asked(document: Mapping[str, Any]) -> str:
    """`chat.completions of o3`: what a call wants, in the words of its input document."""
    model = document["resource"]["model"]
    named = isinstance(model, str) and 0 < len(model) <= _LONGEST and model.isprintable()
    return f"{document['action']} of {model}" if named else str(document["action"])
