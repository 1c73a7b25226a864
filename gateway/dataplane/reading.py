"""Step 4 of a request, its second half: what was received becomes a call, as the chosen upstream reads it.

`receiving.py` is the first half. Large bodies are read beside the event loop, one at a time; one that is on disk stays
in memory until it is judged and recorded, and only one such body is there.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.body import Body
from gateway.call import Call, Reference
from gateway.dataplane import receiving
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.obliged import renamed
from gateway.dataplane.phases import Admitted, Reading
from gateway.errors import Denied, PrincipalHint
from gateway.identity.principals import Principal
from gateway.identity.signatures import Signed
from gateway.runtime.references import References
from gateway.shares import Shares
from gateway.upstream.providers.base import Edits
from gateway.upstream.routing import Choices, Match
from gateway.usage import bounds
from gateway.usage.bounds import KeptState

LARGE_BODY = 64 * 1024
"""Work on a larger body is done beside the event loop. Smaller ones cost less than handing them over."""

REPORT_USAGE = Edits(report_usage=True)

# A body on disk may take so many times its size of memory while it is read and judged: its values, the longest string
# again while it is put together, and the edited body. With letters beyond the Basic Multilingual Plane it may be more.
_READING = 4


class Reader:
    """Reads the calls of one worker's requests. `turns` are for large bodies: one at a time."""

    def __init__(self, references: References, turns: Shares) -> None:
        self._references = references
        self._turns = turns

    async def check_body(self, signed: Signed, body: Body, principal: Principal) -> None:
        """Compare the body with the digest of it that was signed."""
        if len(body) <= LARGE_BODY:
            signed.check_body(body, principal)
        else:
            await beside(self._turns, holders_of(principal), signed.check_body, body, principal)

    async def read(self, admitted: Admitted) -> tuple[Admitted, Reading]:
        """Make the call of what was received. A call about state at a provider may have to go to another upstream."""
        request, observed = admitted.request, admitted.observed
        if len(request.received) <= LARGE_BODY:
            reading = _read(admitted)
        else:
            if not isinstance(request.received, bytes):
                await request.turn.take(_READING * len(request.received))
            reading = await beside(self._turns, holders_of(admitted.principal), _read, admitted)
            request.count_spooled(reading.call)
        call, models = reading.call, reading.models
        observed.message_id, observed.as_answer = call.message_id, call.as_answer
        observed.action, observed.model, observed.requested = call.action, call.model, models[0] if models else ""
        if isinstance(admitted.found, Choices) and admitted.attempt == 1 and (call.references or call.stores):
            before, admitted = admitted.match, await self._keep_to_state(admitted, admitted.found, call)
            if admitted.match != before:
                observed.match = admitted.match
                return await self.read(admitted)  # the upstream that has the state may read it differently
        return admitted, reading

    async def foreign(self, principal: Principal, match: Match, call: Call) -> tuple[Reference, ...]:
        """The references of the call to state at the provider that its agent did not create here at this upstream."""
        if not call.references:
            return ()
        upstream = match.destination.id
        return await self._references.foreign(principal.organization, upstream, principal.agent_id, call.references)

    async def kept(self, principal: Principal, match: Match, call: Call) -> KeptState | None:
        """The usage of the response that the call continues, if its agent has made it here at this upstream."""
        if not call.references or (response := bounds.previous_response(call)) is None:
            return None
        return await self._references.usage_of(
            principal.organization, match.destination.id, principal.agent_id, response
        )

    async def _keep_to_state(self, admitted: Admitted, found: Choices, call: Call) -> Admitted:
        """The same at no other upstream than the one that has what the call names or creates."""
        principal, match = admitted.principal, admitted.match
        if call.references:
            owners = [each for _, each in found.members if not await self.foreign(principal, each, call)]
            match = owners[0] if owners and match not in owners else match
        return replace(admitted, match=match, others=())


def check_upstream(principal: Principal, found: Match | Choices) -> None:
    """Refuse a provider's key that opens nothing here: it is only for what leads to that provider."""
    if principal.upstream is not None:
        members = [found] if isinstance(found, Match) else [match for _, match in found.members]
        if all(each.destination.name != principal.upstream for each in members):
            raise Denied("bad_credentials", "legacy_other_upstream", principal_hint=PrincipalHint.of(principal))


def _read(admitted: Admitted) -> Reading:
    """Read the call in this request. It is changed so that its answer will report usage, and the model has the name
    that the upstream knows it by: what is judged is what is sent.
    """
    match, received = admitted.match, admitted.request.received
    provider = match.destination.provider
    read = provider.read(match.endpoint, admitted.head, received)
    call, edits = provider.edit(read, REPORT_USAGE)
    if match.renames:
        call, more = renamed(match, call)
        edits += more
    return Reading(receiving.spooled(call, received), edits, read.models, read.path)
