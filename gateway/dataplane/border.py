"""Calls between agents of two gateways, as the data plane makes and takes them (identity/peers.py has what is said).

The side that calls judges as for any call, and sends its assertion once its decision is durable. The side that is
called has nothing but that assertion of the caller, and asks the callee's own policies. Each records its own half.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import Any, Final

from gateway.audit.errors import AuditError
from gateway.audit.log_files import opened_log
from gateway.data_directory import DataDirectory
from gateway.dataplane.phases import Admitted, Carried, Proof, Received
from gateway.dataplane.reading import LARGE_BODY
from gateway.errors import Denied, GatewayError
from gateway.identity import peers, statements
from gateway.identity.jose import InvalidTokenError
from gateway.identity.peers import PEER, RECEIPT_HEADER, Asserted, PeerRow, PeerSource, Vouching
from gateway.identity.statements import Receipt
from gateway.outbound.client import Outgoing
from gateway.outbound.connection import Answer
from gateway.policy import authorization
from gateway.policy.authorization import Authorization
from gateway.policy.decision import Verdict

logger = logging.getLogger("gateway.dataplane.border")

_FRESH_SECONDS: Final = 10.0


def concerns(admitted: Admitted) -> bool:
    """True if another gateway is told of the decision on this request."""
    return admitted.match.destination.auth == PEER or admitted.request.assertion is not None


def document_of(remote: tuple[str, str], *, known: bool) -> dict[str, Any]:
    """An agent of another gateway as policies see it: this one knows where it is, and whether a peer speaks for it."""
    organization, name = remote
    return {
        "id": None,
        "organization": organization,
        "name": name,
        "owner": "",
        "state": "active" if known else "unavailable",
        "capabilities": [],
        "card": None,
        "price_microusd": 0,
    }


def refusal(received: Received) -> Denied:
    """The answer to another gateway: the id of the decision that denies its call, and nothing of the reasons."""
    found = received.authorization
    code = found.code if found.code in ("callee_unavailable", "foreign_reference") else "callee_refused"
    return Denied(code, reasons=[f"the decision {received.decision_id} is about it"])


def unavailable(found: Authorization, organization: str) -> Authorization:
    """The refusal of a call to an agent of an organization for which no gateway may speak."""
    reasons = (f"no peer of this gateway speaks for `{organization}`",)
    return authorization.refused(found, Verdict("callee_unavailable", reasons=reasons))


class Border:
    """One worker's calls to agents of other gateways; used from its event loop."""

    def __init__(self, source: PeerSource, data: DataDirectory) -> None:
        self._peers = source
        self._data = data
        self._vouching = Vouching(data.keys)
        # The newest checkpoint of each organization's log, and when it was looked for.
        self._checkpoints: dict[str, tuple[float, str]] = {}

    async def speaker(self, organization: str) -> PeerRow | None:
        """The peer that speaks for an organization; None also if that is one of this gateway."""
        if await self._peers.has_organization(organization):
            return None
        return next((each for each in await self._peers.peers() if organization in each.speaks_for), None)

    async def checkpoint(self, organization: str) -> str:
        """A recent signed checkpoint of an organization's log; empty if there is none.

        Whoever keeps it can tell later if the log was written anew since.
        """
        at, found = self._checkpoints.get(organization, (-_FRESH_SECONDS, ""))
        if time.monotonic() - at < _FRESH_SECONDS:
            return found
        self._checkpoints[organization] = time.monotonic(), found  # before the wait: others need not look as well
        try:
            found = await asyncio.to_thread(self._newest, organization)
        except AuditError as error:
            logger.warning("no checkpoint goes to another gateway: %s", error)
        self._checkpoints[organization] = time.monotonic(), found
        return found

    def _newest(self, organization: str) -> str:
        with opened_log(self._data) as log:
            head = log.head(organization)
            return ("" if head is None else log.newest_checkpoint(head.id)) or ""

    def check(self) -> None:
        """Raise `Denied` if there is no key to sign receipts with: without one, no call from elsewhere is decided."""
        try:
            self._vouching.key()
        except (GatewayError, OSError) as error:
            raise Denied("upstream_unavailable", f"nothing can be signed for another gateway: {error}") from error

    def receipt(self, asserted: Asserted, received: Received, leaf: str, checkpoint: str, *, allow: bool) -> str:
        """What this gateway says of its decision, which is in the log; empty if the key went since `check`."""
        said = Receipt(
            organization=received.callee.organization,
            agent=received.callee.agent_id,
            decision=received.decision_id,
            allow=allow,
            leaf=leaf,
            assertion=statements.digest(asserted.text),
            created=int(time.time()),
            checkpoint=checkpoint,
        )
        try:
            return statements.signed(said, self._vouching.key())
        except (GatewayError, OSError) as error:
            logger.error("%s has no receipt: %s", received.decision_id, error)
            return ""

    async def prove(self, carried: Carried, assertion: str, answer: Answer) -> None:
        """Keep the receipt of an answer. `Denied` unless a peer that speaks for the agent that is called has signed it
        for this very call, and it says that the call was allowed.
        """
        remote = carried.admitted.match.destination.remote
        assert remote is not None
        text = answer.header(RECEIPT_HEADER.encode()).decode("latin-1")
        peer = await self.speaker(remote[0])
        fault = "no peer speaks for its organization any more" if peer is None else "it has sent no receipt"
        if text and peer is not None:
            try:
                statements.verify(text, peers.keys(peer.jwks))
                said = statements.read_receipt(text)
                fault = "" if said.assertion == statements.digest(assertion) else "its receipt is for another call"
                fault = "its receipt is of another organization" if said.organization != remote[0] else fault
            except InvalidTokenError as error:
                fault = f"its receipt is not valid: {error.message}"
        if fault:
            raise Denied("counterparty_unproven", f"{fault} (status {answer.status})")
        carried.proof = Proof(assertion, text, said.decision, said.leaf)
        if not said.allow:
            name = "/".join(remote)
            raise Denied("callee_refused", reasons=[f"`{name}` has the decision {said.decision} about it"])

    async def vouched(self, carried: Carried, action: str, outgoing: Outgoing) -> Outgoing:
        """The request with this gateway's assertion, signed as a whole. `Denied` if there is no key to sign with."""
        observed, destination = carried.admitted.observed, carried.admitted.match.destination
        said = self._vouching.assertion(
            carried.admitted.principal,
            decision=observed.decision_id,
            leaf=observed.leaf,
            action=action,
            audience=destination.base_url,
            checkpoint=await self.checkpoint(carried.admitted.principal.organization),
        )
        given = said, outgoing.method, outgoing.url, outgoing.headers, outgoing.body
        try:
            if len(outgoing.body) <= LARGE_BODY:
                headers = self._vouching.headers(*given)
            else:
                headers = await asyncio.to_thread(self._vouching.headers, *given)
        except (GatewayError, OSError) as error:
            raise Denied("upstream_unavailable", f"nothing can be signed for another gateway: {error}") from error
        return replace(outgoing, headers={**outgoing.headers, **headers})
