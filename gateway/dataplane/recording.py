"""Steps 6 and 9 of a request: write its two records, and remember what it has created.

`evidence.py` composes them, and `proxy.py` decides when they are written. A record that may be in the log is closed
whatever happens, also if the task that waits for it is cancelled.
"""

from __future__ import annotations

import asyncio
import logging
import time

import orjson

from gateway.audit import grants, merkle
from gateway.audit.entry import encode
from gateway.audit.errors import AuditError
from gateway.audit.writer import AuditWriter
from gateway.dataplane import border, costs, evidence
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.budget import refusal as refusal_of_limits
from gateway.dataplane.costs import Costs
from gateway.dataplane.measures import Measures
from gateway.dataplane.phases import Carried, Judged, Observed
from gateway.dataplane.reading import LARGE_BODY
from gateway.dataplane.refusals import Denials, Refusals
from gateway.errors import Denied, GatewayError, PrincipalHint
from gateway.identity.principals import Principal
from gateway.runtime.references import References
from gateway.shares import Shares
from gateway.usage.bounds import KeptState

logger = logging.getLogger("gateway.dataplane.recording")


class Recorder:
    """Writes the records of one worker's requests. `turns` are for large bodies: one at a time."""

    def __init__(
        self,
        writer: AuditWriter,
        references: References,
        turns: Shares,
        costs: Costs | None,
        measures: Measures | None,
        refusals: Refusals,
        denials: Denials,
    ) -> None:
        self._writer = writer
        self._references = references
        self._turns = turns
        self._costs = costs
        self._measures = measures
        self._refusals = refusals
        self._denials = denials

    @property
    def waiting(self) -> int:
        """The number of entries that wait for a commit."""
        return self._writer.waiting

    async def decided(self, judged: Judged) -> int:
        """Record the decision. `Denied` if that fails, or if the log finds that a limit is reached.

        A denial beyond its agent's pace is counted instead. Returns the number of the use of its approval; 0 if it uses
        none.
        """
        principal, observed = judged.admitted.principal, judged.admitted.observed
        has_room = self._denials.has_room(principal)
        if not has_room and not judged.authorization.allow and not judged.told_alone:
            self._count(observed, principal, judged.authorization.code)
            return 0
        if len(observed.request.received) <= LARGE_BODY:
            intent = evidence.decided(judged)
        else:
            intent = await beside(self._turns, holders_of(principal), evidence.decided, judged)
        intent.counted = not has_room
        try:
            committed = await self._writer.write(intent)
        except AuditError as error:
            raise Denied("audit_unavailable", str(error)) from error
        except asyncio.CancelledError:
            # The entry may be in the log all the same.
            if intent.open:
                await self.completed(Carried.of(judged), "gateway_stopped")
            raise
        observed.recorded, observed.decided_ns = committed.recorded, time.monotonic_ns()
        if border.concerns(judged.admitted):
            observed.leaf = merkle.leaf_hash(encode(committed.entry)).hex()
        if committed.recorded and committed.entry["allow"] is not True:
            self._denials.spend(principal, intent)
        if intent.allow and committed.entry["allow"] is not True:
            # The log has the last word: limits and approvals are looked at inside its transaction.
            if committed.entry["reason"] == grants.REASON:
                raise Denied(grants.REASON, reasons=orjson.loads(str(committed.entry["reasons_json"])))
            denied = refusal_of_limits(committed.entry)
            if self._measures is not None:
                self._measures.limited(intent.organization, denied.facts or ())
            if not committed.recorded:
                self._count(observed, principal, denied.code)
            raise denied
        return int(str(committed.entry.get("approval_use", 0)))

    def _count(self, observed: Observed, principal: Principal, code: str) -> None:
        """Count a denial that has no entry of its own."""
        observed.counted = self._refusals.add_denial(code, PrincipalHint.of(principal), observed.asked)

    async def completed(self, carried: Carried, outcome: str) -> bool:
        """Close the decision; false if it could not be recorded. Being cancelled ends the wait, not the recording."""
        try:
            await self._close(carried, outcome)
        except AuditError as error:
            logger.error("the closing of %s could not be recorded: %s", carried.admitted.observed.decision_id, error)
            return False
        finally:
            if carried.keeping is not None:
                carried.keeping.release()
        return True

    async def _close(self, carried: Carried, outcome: str) -> None:
        """Write `completed`. Nothing that a provider sends may leave the decision open: only a restart would end it."""
        try:
            self._reckon(carried)
            await self._writer.write(evidence.completed(carried, outcome))
        except Exception as error:
            if isinstance(error, AuditError) and error.code != "bad_entry":
                raise
            logger.exception("the closing of %s holds nothing of the answer", carried.admitted.observed.decision_id)
            await self._writer.write(evidence.bare(carried, outcome, type(error).__name__))

    def _reckon(self, carried: Carried) -> None:
        """Say what the call has cost, if what was reported of it can be charged by."""
        observed = carried.admitted.observed
        if found := costs.fault(carried):
            costs.withdraw(carried, found)
        elif self._costs is not None and (cost := self._costs.of(carried)) is not None:
            observed.cost_nanousd, observed.price = cost.nanousd, cost.price
            if cost.nanousd > costs.MOST_NANOUSD:
                costs.withdraw(carried, costs.IMPOSSIBLE)
        reservation, usage = carried.reservation, observed.report.usage
        if reservation is not None and reservation.estimate is not None and usage is not None:
            reservation.estimate.learn(usage.input + usage.output, observed.cost_nanousd or 0)

    async def remember_created(self, carried: Carried) -> None:
        """Remember the state that the answer created, so that this agent may refer to it."""
        observed, principal = carried.admitted.observed, carried.admitted.principal
        if not (created := observed.report.created):
            return
        whose = principal.organization, carried.admitted.match.destination.id, principal.agent_id
        try:
            await asyncio.to_thread(self._references.remember, *whose, created)
            usage, model = observed.report.usage, observed.model
            if carried.keeps_all and observed.outcome == "ok" and usage is not None and model is not None:
                kept = KeptState(model, usage.input + usage.output)
                for each in created:
                    if each.kind == "response":
                        await asyncio.to_thread(self._references.remember_usage, *whose, each.id, kept)
        except GatewayError as error:
            logger.error("%s: %s", observed.decision_id, error.message)
