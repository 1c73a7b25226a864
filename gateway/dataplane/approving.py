"""Calls that people must approve: find or make the request of one, hold its client for a while, say that it was used.

A call that asks is a decision that denies; the call that runs is another one, judged from the beginning. This file
only brings the two together: the log decides whether an approval can be used (`gateway/audit/grants.py`). While a
client is held its request has no place among those in progress, and nothing is reserved for it.
Specification: docs/explanation/approvals.md.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Final

from gateway.approvals.asking import AskedRequest, Asking, Askings
from gateway.approvals.calls import MAX_BODY, RawCall, committed, committed_pattern
from gateway.audit.balance import shown_time
from gateway.call import Call
from gateway.dataplane.phases import Admitted
from gateway.dataplane.phases import Request as Held
from gateway.errors import Denied
from gateway.frozen import frozen
from gateway.http.departure import Departure
from gateway.policy.approvals import ordered
from gateway.policy.authorization import Authorization, exceeded_text
from gateway.policy.decision import ALLOWED, APPROVAL
from gateway.registry.approvals import page
from gateway.settings import Settings
from gateway.shares import NoShareError, Shares
from gateway.usage.reservation import sentence

logger = logging.getLogger("gateway.dataplane.approving")

POLL_SECONDS: Final = 0.25
"""The requests of held clients are looked at so often, all at once."""
RETRY_SECONDS: Final = 10
"""The time after which a client that was not held shall ask again."""


class AwaitingError(Denied):
    """The refusal of a call whose request waits, so that it may be allowed later; `request` is its id.

    It is `new` if this very call has made it.
    """

    def __init__(self, request: str, *, new: bool, **more: Any) -> None:
        super().__init__(APPROVAL, **more)
        self.request = request
        self.new = new


@frozen()
class Consent:
    """The request of a call. `document` is the approval that the call can use; None while there is none."""

    request: AskedRequest
    organization: str
    commitment: str
    pattern_commitment: str
    document: Mapping[str, Any] | None
    # The request was made by this very call.
    new: bool = False

    def told(self, found: Authorization) -> tuple[str, str, str, bool]:
        """The members of `Judged` that this is: which request the decision is about."""
        if found.code not in (ALLOWED, APPROVAL):
            return "", "", "", False  # other reasons deny the call, whatever people say
        stands = self.request.state != "denied"
        return self.request.id, self.commitment if stands else "", self.pattern_commitment, self.new


class Approvals:
    """The approvals of one worker's calls. `dashboard` is the address of the pages where people review them."""

    def __init__(self, askings: Askings, hold: float, dashboard: str, most_held: int) -> None:
        self._askings = askings
        self._hold = hold
        self._dashboard = dashboard
        self._held = Shares("calls that wait for people", most_held)
        self._waiting: dict[str, set[asyncio.Future[str]]] = {}
        self._looking: asyncio.Task[None] | None = None

    @classmethod
    def of_settings(cls, settings: Settings, askings: Askings) -> Approvals:
        return cls(askings, settings.approval_hold, settings.dashboard, settings.max_requests)

    async def of(self, admitted: Admitted, call: Call, found: Authorization) -> Consent:
        """The request of a call that policies allow only after an approval; makes it if there is none."""
        raw = _raw(admitted, call)
        if len(raw.body) > MAX_BODY:
            raise Denied(APPROVAL, reasons=[f"its body has more than {MAX_BODY} bytes, so nobody can review it"])
        return await asyncio.to_thread(self._of, admitted, call, found, raw)

    def _of(self, admitted: Admitted, call: Call, found: Authorization, raw: RawCall) -> Consent:
        now, new = time.time_ns(), False
        request, digest, pattern = self._standing(raw, found, now)
        if request is None or not request.stands(now) or not self._askings.join(request):
            observed = admitted.observed
            asking = Asking(
                call=raw,
                digest=digest,
                pattern=pattern,
                requirements=found.approvals,
                key_id=admitted.principal.key_id,
                decision_id=observed.decision_id,
                about=_about(admitted, call, found),
            )
            request = self._askings.ask(asking, now)
            new = request.decision_id == observed.decision_id
            if not new:
                self._askings.join(request)
        approved = request.state == "approved" and request.stands(now)
        return Consent(
            request,
            raw.organization,
            committed(request.salt, digest),
            committed_pattern(request.salt, pattern),
            self._askings.approval(request) if approved else None,
            new,
        )

    def _standing(
        self, raw: RawCall, found: Authorization, now_ns: int
    ) -> tuple[AskedRequest | None, bytes, bytes | None]:
        """The request that stands for a call, and its digests; or none, and those of the one to make.

        A call has one request at a time, whether it has asked with its limits used up or not.
        """
        usual = tuple(each for each in found.approvals if not each.over_limit)
        sets = dict.fromkeys([ordered((*usual, *found.over_limit)), usual or found.approvals, found.approvals])
        for each in sets:
            digest, pattern = raw.digest(each), raw.pattern_digest(each)
            request = self._askings.find(raw.agent_id, digest, pattern, now_ns)
            if request is not None and request.stands(now_ns):
                return request, digest, pattern
        return None, raw.digest(found.approvals), raw.pattern_digest(found.approvals)

    async def settle(self, consent: Consent, found: Authorization, decision: str, use: int) -> None:
        """The decision is recorded: raises the refusal of a call that may not run, or says which use of the approval
        it is.

        Lists may show that later; the log has it already.
        """
        if found.code == APPROVAL:
            raise self._denial(consent, found)
        if not found.allow:
            return
        try:
            await asyncio.to_thread(self._askings.used, consent.request.id, decision, use, time.time_ns())
        except Denied as error:
            logger.warning("that %s was used is noted later: %s", consent.request.id, error.detail)

    def _denial(self, consent: Consent, found: Authorization) -> Denied:
        """The refusal of a call that may not run, or not yet."""
        request = consent.request
        reasons = [*found.reasons, *(f"it goes over a limit: {sentence(each)}" for each in found.waits_for)]
        if request.state == "denied":
            return Denied(APPROVAL, reasons=[*reasons, f"a person has denied this call ({request.id})"])
        if request.state == "approved":
            why = "it is approved, and its policies demand something else since then"
            return Denied(APPROVAL, reasons=[*reasons, why])
        url = page(self._dashboard, consent.organization, request.id)
        until = shown_time(request.expires_ns // 10**9)
        told = (
            f"the request {request.id} waits for that until {until}: {url}; send the same call again once it is given"
        )
        return AwaitingError(
            request.id,
            new=consent.new,
            reasons=[*reasons, told],
            headers=[(b"retry-after", b"%d" % RETRY_SECONDS)],
            facts=[{"approval": request.id, "url": url, "expires_at": until}],
        )

    async def hold(self, denied: Denied, request: Held, client: Departure, ends: float) -> bool:
        """Wait until people have decided about a call, at most until `ends`; true if it should be tried again.

        Meanwhile the request has no place among those in progress, so it needs another one then. If the client leaves
        that has asked, nobody may wait for the answer any more.
        """
        found = await self._hold_until(denied, request, client, ends)
        if client.gone and isinstance(denied, AwaitingError) and denied.new:
            try:
                await asyncio.to_thread(self._askings.leave, denied.request, time.time_ns())
            except Denied as error:
                logger.warning("%s stays open, and its client has gone: %s", denied.request, error.detail)
        return found

    async def _hold_until(self, denied: Denied, request: Held, client: Departure, ends: float) -> bool:
        loop = asyncio.get_running_loop()
        if not isinstance(denied, AwaitingError) or client.gone or loop.time() >= ends:
            return False
        holders = request.turn.holders
        try:
            self._held.take(*holders)
        except NoShareError:
            return False  # the client comes again by itself
        request.turn.release()
        request.leave()
        state: asyncio.Future[str] = loop.create_future()
        client.tell = lambda: _set(state, "")
        try:
            async with asyncio.timeout_at(ends):
                found = await self._settled(denied.request, state)
                if found == "approved":
                    await asyncio.sleep(POLL_SECONDS)  # its entry is about to be in the log
        except TimeoutError:
            return False
        finally:
            client.tell = None
            self._held.give_back(*holders)
        # Closed: its agent may not call any more, or an approval of another call is for this one, too.
        return not client.gone and found in ("approved", "denied", "closed")

    async def _settled(self, request: str, state: asyncio.Future[str]) -> str:
        """The state of a request that does not wait any more."""
        waiting = self._waiting.setdefault(request, set())
        waiting.add(state)
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_task(self._look())
        try:
            return await state
        finally:
            waiting.discard(state)
            if not waiting:
                del self._waiting[request]

    def ends(self) -> float:
        """Return the time until which a client that asks now is held, by the event loop's clock."""
        return asyncio.get_running_loop().time() + self._hold

    async def _look(self) -> None:
        """Wake held clients whose requests are settled, while there are any."""
        try:
            while self._waiting:
                await asyncio.sleep(POLL_SECONDS)
                try:
                    settled = await asyncio.to_thread(self._askings.settled, list(self._waiting))
                except Denied as error:
                    logger.warning("requests for approval cannot be looked at: %s", error.detail)
                    continue
                for request, state in settled.items():
                    for each in self._waiting.get(request, ()):
                        _set(each, state)
        finally:
            self._looking = None


def _set(state: asyncio.Future[str], found: str) -> None:
    if not state.done():
        state.set_result(found)


def _raw(admitted: Admitted, call: Call) -> RawCall:
    principal, destination, head = admitted.principal, admitted.match.destination, admitted.head
    person = principal.person
    return RawCall(
        organization=principal.organization,
        agent_id=principal.agent_id,
        delegation=principal.document["delegation"],
        person=None if person is None else (str(person["issuer"]), str(person["subject"])),
        upstream_id=destination.id,
        base_url=destination.base_url,
        action=call.action,
        method=admitted.target.method,
        path=admitted.target.path,
        query=head.query,
        headers=head.headers,
        content_type=head.content_type,
        body=admitted.request.received,
        essence=destination.provider.essence(call),
    )


def _about(admitted: Admitted, call: Call, found: Authorization) -> dict[str, str | int | bool | None]:
    """The facts of a call that lists and entries show: no content."""
    principal = admitted.principal
    facts: dict[str, str | int | bool | None] = {
        "agent_name": principal.name,
        "agent_version": principal.version,
        "key": principal.key_id,
        "action": call.action,
        "upstream": call.upstream,
        "provider": call.provider,
        "model": call.model,
        "method": call.method,
        "path": call.path,
        "stream": call.stream,
        "request_bytes": len(admitted.request.received),
    }
    if found.waits_for:  # the log lets the call go over these limits once people have approved it
        facts["limits_json"] = exceeded_text(found.waits_for)
    return facts
