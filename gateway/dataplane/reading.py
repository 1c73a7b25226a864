"""Step 4 of a request, its second half: what was received becomes a call, as the chosen upstream reads it.

`receiving.py` is the first half. Large bodies are read beside the event loop, one at a time; one that is on disk stays
in memory until it is judged and recorded, and only one such body is there.
"""

from __future__ import annotations

from gateway.body import Body
from gateway.call import Reference
from gateway.dataplane import receiving
from gateway.dataplane.admission import holders_of
from gateway.dataplane.beside import beside
from gateway.dataplane.exchange import Exchange
from gateway.dataplane.obliged import renamed
from gateway.errors import Denied, PrincipalHint
from gateway.identity.principals import Principal
from gateway.identity.signatures import Signed
from gateway.runtime.references import References
from gateway.shares import Shares
from gateway.upstream.providers.base import Edits
from gateway.upstream.routing import Choices, Match
from gateway.usage import bounds
from gateway.usage.bounds import Kept

LARGE_BODY = 64 * 1024
"""Work on a larger body is done beside the event loop. Smaller ones cost less than handing them over."""

REPORT_USAGE = Edits(report_usage=True)

# What a body on disk may take of memory while it is read and judged, times its size: its values, the longest string
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

    async def read(self, exchange: Exchange) -> None:
        """Make the call of what was received."""
        if len(exchange.received) <= LARGE_BODY:
            _read(exchange)
        else:
            if not isinstance(exchange.received, bytes):
                await exchange.turn.take(_READING * len(exchange.received))
            assert exchange.principal is not None
            await beside(self._turns, holders_of(exchange.principal), _read, exchange)
            exchange.count_spooled()
        if isinstance(exchange.found, Choices) and exchange.attempt == 1 and await self._keep_to_state(exchange):
            await self.read(exchange)  # as the upstream reads it that has what the call names

    async def foreign(self, exchange: Exchange, match: Match) -> tuple[Reference, ...]:
        """The references of the call to state at the provider that its agent did not create here at this upstream."""
        call, principal = exchange.call, exchange.principal
        assert call is not None
        assert principal is not None
        if not call.references:
            return ()
        upstream = match.destination.id
        return await self._references.foreign(principal.organization, upstream, principal.agent_id, call.references)

    async def kept(self, exchange: Exchange, match: Match) -> Kept | None:
        """The usage of the response that the call continues, if its agent has made it here at this upstream."""
        call, principal = exchange.call, exchange.principal
        assert call is not None
        assert principal is not None
        if not call.references or (response := bounds.previous_response(call)) is None:
            return None
        return await self._references.usage_of(
            principal.organization, match.destination.id, principal.agent_id, response
        )

    async def _keep_to_state(self, exchange: Exchange) -> bool:
        """Let a call that names or creates state at a provider go to no other upstream. Whether it changed course."""
        call, before = exchange.call, exchange.match
        assert call is not None
        assert isinstance(exchange.found, Choices)
        if not call.references and not call.stores:
            return False
        owners = [
            each for _, each in exchange.found.members if call.references and not await self.foreign(exchange, each)
        ]
        exchange.others = ()
        if before not in owners and owners:
            exchange.match = owners[0]
            exchange.speaker = owners[0].destination.provider
        return exchange.match != before


def check_upstream(principal: Principal, found: Match | Choices) -> None:
    """Refuse a provider's key that opens nothing here: it is only for what leads to that provider."""
    if principal.upstream is not None:
        members = [found] if isinstance(found, Match) else [match for _, match in found.members]
        if all(each.destination.name != principal.upstream for each in members):
            raise Denied("bad_credentials", "legacy_other_upstream", principal_hint=PrincipalHint.of(principal))


def _read(exchange: Exchange) -> None:
    """Read the call in this request. It is changed so that its answer will report usage, and the model has the name
    that the upstream knows it by: what is judged is what is sent.
    """
    match = exchange.match
    assert match is not None
    provider = match.destination.provider
    call = provider.read(match.endpoint, exchange.head, exchange.received)
    exchange.requested_models, exchange.requested_path = (), ""
    exchange.call, exchange.edits = provider.edit(call, REPORT_USAGE)
    if match.renames:
        exchange.change(*renamed(match, exchange.call))
    exchange.call = receiving.spooled(exchange.call, exchange.received)
