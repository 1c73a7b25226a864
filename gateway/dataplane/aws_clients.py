"""Refusals of requests that are signed for AWS (SigV4), as boto3 and Anthropic's client for Bedrock send them.

The gateway serves none of their paths, and their signature is no credential of an agent. They read an error only in
AWS's own shape, so they get it in that, with what to use instead.
Specification: https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html.
"""

from __future__ import annotations

from collections.abc import Iterable

import orjson

from gateway.errors import Denied

_SIGNED = b"aws4-"  # SigV4 and SigV4a
_IN_QUERY = b"x-amz-algorithm=aws4-"
_INSTEAD = (
    "this gateway takes no requests that are signed for AWS: for Claude use Anthropic's own client with the base URL "
    "/NAME, and for models of Bedrock a client of OpenAI's with the base URL /NAME/v1 of an upstream of the provider "
    "`bedrock-compatible`, each with the agent's key as its API key"
)


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


def refusal(denied: Denied, headers: Iterable[tuple[bytes, bytes]], query: bytes) -> Denied:
    """The refusal as the client can read it; others stay as they are."""
    if isinstance(denied, SignedForAwsError):
        return denied
    signed = any(name == b"authorization" and value[:5].lower() == _SIGNED for name, value in headers)
    return SignedForAwsError(denied) if signed or _IN_QUERY in query.lower() else denied
