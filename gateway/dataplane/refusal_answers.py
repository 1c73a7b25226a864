"""Tells a client that its request has failed: by a refusal of the gateway, or by the provider's own answer.

Requests that are signed for AWS (SigV4), as boto3 and Anthropic's client for Bedrock send them, are refused in AWS's
own shape, the only one in which these clients read an error, with what to use instead: the gateway serves none of their
paths, and their signature is no credential of an agent.
Specification: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import orjson
from starlette.types import Send

from gateway.dataplane.attempts import Failure
from gateway.dataplane.patience import Patience
from gateway.dataplane.phases import Observed
from gateway.dataplane.refusals import EXPLAINED, Refusals
from gateway.errors import Denied, PrincipalHint
from gateway.http import refusal
from gateway.http.departure import Departure
from gateway.identity.peers import RECEIPT_HEADER
from gateway.identity.principals import Principal
from gateway.upstream import routing
from gateway.upstream.answer_headers import Headers

_SIGNED = b"aws4-"  # SigV4 and SigV4a
_IN_QUERY = b"x-amz-algorithm=aws4-"
_INSTEAD = (
    "this gateway takes no requests that are signed for AWS: for Claude use Anthropic's own client with the base URL "
    "/NAME, and for models of Bedrock a client of OpenAI's with the base URL /NAME/v1 of an upstream of the provider "
    "`bedrock-compatible`, each with the agent's key as its API key"
)


RESOURCE_PREFIX: Final = "/.well-known/oauth-protected-resource"
"""Where a resource of the data plane is described, before its path (RFC 9728, section 3.1)."""


class SignedForAwsError(Denied):
    """The refusal of such a request, whatever it was refused for."""

    def __init__(self, denied: Denied) -> None:
        headers = [(b"x-amzn-errortype", b"AccessDeniedException"), *denied.headers]
        super().__init__(
            denied.code, denied.detail, reasons=[*denied.reasons, _INSTEAD], headers=headers,
            principal_hint=denied.principal_hint,
        )  # fmt: skip

    def body(self) -> bytes:
        return orjson.dumps({"__type": "AccessDeniedException", "message": self.text, "code": self.code})


def for_aws(denied: Denied, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> Denied:
    """The refusal as the client can read it; others stay as they are."""
    if isinstance(denied, SignedForAwsError):
        return denied
    signed = any(name == b"authorization" and value[:5].lower() == _SIGNED for name, value in headers)
    return SignedForAwsError(denied) if signed or _IN_QUERY in query.lower() else denied


class Teller:
    """Tells the clients of one worker. Refusals of which there is no record are counted."""

    def __init__(self, refusals: Refusals, where: str) -> None:
        """`where` is the URL of the data plane as others know it."""
        self._refusals = refusals
        self._where = where.rstrip("/")
        self._patience = Patience()

    async def tell(self, failure: Failure, client: Departure, send: Send) -> None:
        """Tell the client how its request has failed: by the provider's own answer, if it was kept."""
        observed = failure.admitted.observed
        if client.gone:
            return
        if failure.answer is None:
            await self.refuse(observed, failure.denied, client, send)
            return
        observed.status = observed.upstream_status
        for message in failure.answer.messages:
            await send(message)

    async def refuse(self, observed: Observed, denied: Denied, client: Departure, send: Send) -> None:
        """Answer with this refusal, in the shape of the provider that the request is for."""
        # A credential that is none is a fault of the connection.
        as_answer = (denied.as_answer or observed.as_answer) and denied.code != "bad_credentials"
        status = observed.status = 200 if as_answer else denied.reason.status
        observed.owner = denied.principal_hint or owner(observed.principal)
        if observed.recorded:
            denied.decision = observed.decision_id
        elif observed.counted:
            denied.counted = observed.counted
        else:
            entry = self._refusals.add(denied, observed.owner, observed.asked)
            if denied.code in EXPLAINED:
                denied.refusal = entry
        if not observed.recorded:
            await self._patience.wait(client, observed.owner, observed.request.peer)
        if denied.message_id is None:
            denied.message_id = observed.message_id
        if isinstance(denied, SignedForAwsError):
            body = denied.body()
        else:
            body = refusal.body(denied) if observed.speaker is None else observed.speaker.error(denied)
        headers: Headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-should-retry", b"true" if denied.retry else b"false"),
            *denied.headers,
        ]
        if denied.code == "bad_credentials":
            found = resource_metadata(self._where, observed.request.raw_path)
            headers.append((b"www-authenticate", challenge(denied) + found))
        if denied.refusal:
            headers.append((b"x-refusal-id", denied.refusal.encode()))
        if denied.reason.status == 503:
            headers.append((b"retry-after", b"1"))
        if observed.recorded:
            headers.append((b"x-decision-id", observed.decision_id.encode()))
        if observed.receipt:
            headers.append((RECEIPT_HEADER.encode(), observed.receipt.encode()))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": False})


def challenge(denied: Denied) -> bytes:
    """The value of `WWW-Authenticate` (RFC 6750, section 3): with an error only if there was a credential."""
    sent = denied.detail not in ("missing", "in_query")
    return b'Bearer realm="agent-identity-gateway"' + (b', error="invalid_token"' if sent else b"")


def resource_metadata(where: str, raw_path: bytes) -> bytes:
    """The place of a resource's description, for a challenge (RFC 9728, section 5.1); empty for other paths."""
    path = raw_path.decode("latin-1")
    if routing.resource(path) is None:
        return b""
    return f', resource_metadata="{where}{RESOURCE_PREFIX}{path}"'.encode()


def owner(principal: Principal | None) -> PrincipalHint | None:
    """The owner of the request, as far as that is known."""
    return PrincipalHint.of(principal) if principal else None
