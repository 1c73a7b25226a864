"""Mandates that calls name: what one is as of an epoch, and whether its holder may act under it now.

The agent that a mandate was given to names it in the header `Gateway-Mandate`. It acts with its own credential, and its
own policies judge. The mandate adds the word of the agent that granted it, which must be able to act itself; and what
the call uses counts against the mandate and against the limits of that agent as well.
Specification: docs/how-to/identity/mandates.md.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import Any, Final

from gateway.audit.balance import COUNTERS, MINUTE_NS, Balance, unit
from gateway.audit.halves_check import GRANTOR
from gateway.call import Call
from gateway.frozen import frozen
from gateway.identity import key_scope
from gateway.identity.key_scope import KeyScope
from gateway.identity.principals import Found, Principal, principal_of, refusal_of
from gateway.policy.decision import Verdict
from gateway.registry.port import MandateRow, RegistryPort
from gateway.usage import limits
from gateway.usage.limits import Applied
from gateway.usage.reservation import CallReservation

HEADER: Final = b"gateway-mandate"
_LONGEST: Final = 64
_MOST: Final = 4096


@frozen()
class Mandate:
    """A mandate that a call names. `refusal` says why the call is not let through under it; empty if it is."""

    id: str
    grantor: Principal
    refusal: str
    scope: KeyScope = field(default_factory=KeyScope)
    amount_microusd: int = 0
    requests: int | None = None
    purpose: str = ""
    expires_ns: int = 0

    @property
    def balance(self) -> str:
        """The scope in which its use is counted, in the organization of the grantor."""
        return limits.scope("mandate", self.id)

    @property
    def until(self) -> tuple[tuple[str, int], ...]:
        """The minute at which its windows end: a little later than it."""
        return ((self.balance, self.expires_ns // MINUTE_NS + 2),)

    @property
    def _own(self) -> Mapping[str, int]:
        requests = {} if self.requests is None else {limits.MANDATE_REQUESTS: self.requests}
        return {limits.MANDATE_SPEND: self.amount_microusd} | requests

    def left_microusd(self, balance: Balance, now_ns: int) -> int:
        """What is left of its amount."""
        used, _ = balance.at(COUNTERS[limits.MANDATE_SPEND], max(now_ns // MINUTE_NS, balance.minute))
        return max(0, self.amount_microusd + -used // unit(limits.MANDATE_SPEND))

    def applied(self, call: Call) -> tuple[Applied, ...]:
        """The limits of its side that apply to a call under it: its own, and those of its grantor."""
        own = [
            Applied(name, self.balance, COUNTERS[name], value * unit(name), f"mandate:{self.id}", id=self.id)
            for name, value in self._own.items()
        ]
        # Upstreams are those of the organization that calls, so limits on others of the same name are not meant.
        others = [each for each in limits.applying(self.grantor, {}, call) if not each.part.upstream]
        return tuple(replace(each, organization=self.grantor.organization) for each in (*own, *others))

    def reservation(self, of_caller: CallReservation, call: Call) -> CallReservation:
        """The reservation of a call under it on its side: as much as the caller's own."""
        applied = self.applied(call)
        return CallReservation(
            self.grantor.organization,
            (self.balance, *limits.all_scopes(self.grantor, applied[len(self._own) :])),
            applied,
            of_caller.tokens,
            of_caller.spend_nanousd,
            self.grantor.zone,
            until=self.until,
        )

    def document(self, left_microusd: int) -> Mapping[str, Any]:
        """What policies see of it."""
        return {
            "id": self.id,
            "organization": self.grantor.organization,
            "agent": self.grantor.name,
            "purpose": self.purpose,
            "amount_microusd": self.amount_microusd,
            "left_microusd": left_microusd,
            "expires": datetime.fromtimestamp(self.expires_ns // 10**9, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }


def refused(mandate: Mandate) -> Verdict:
    """The verdict of a call that a mandate does not let through."""
    return Verdict(GRANTOR.refusal, reasons=(mandate.refusal,))


class Mandates:
    """Those that one worker has looked up; used from its event loop's thread only."""

    def __init__(self, registry: RegistryPort) -> None:
        self._registry = registry
        self._epoch = -1
        self._known: dict[str, tuple[MandateRow, Principal, Found] | None] = {}

    async def of(self, named: str, holder: Principal, call: Call, epoch: int) -> Mandate:
        """The mandate that a call of an agent names, as of this epoch of authority."""
        nobody = Mandate(named, holder, "there is no such mandate for this agent")
        if not named.startswith("mnd_") or len(named) > _LONGEST:
            return nobody
        if epoch != self._epoch or len(self._known) >= _MOST:
            self._known, self._epoch = {}, epoch
        if named not in self._known:
            self._known[named] = await self._find(named, epoch)
        found = self._known[named]
        if found is None or found[0].to_agent != holder.agent_id:
            return nobody
        row, grantor, state = found
        scope = key_scope.parse(row.scope) or KeyScope()
        now_ns = time.time_ns()
        refusal = ""
        if row.revoked_ns is not None:
            refusal = "the mandate was revoked"
        elif row.expires_ns <= now_ns:
            refusal = "the mandate has expired"
        elif refusal_of(state, now_ns=now_ns) is not None:
            refusal = f"`{grantor.organization}/{grantor.name}`, which granted the mandate, cannot act itself now"
        elif scope.outside(call.action, call.models, None):
            refusal = "the mandate is not for this call: it names other actions or models"
        values = scope, row.amount_microusd, row.requests, row.purpose, row.expires_ns
        return Mandate(row.id, grantor, refusal, *values)

    async def _find(self, named: str, epoch: int) -> tuple[MandateRow, Principal, Found] | None:
        row = await self._registry.mandate(named)
        holder = None if row is None else await self._registry.named(row.agent)
        if row is None or holder is None or holder.organization != row.organization:
            return None
        return row, principal_of(holder, "", epoch), Found(holder, None)
