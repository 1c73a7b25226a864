"""Signing one request: the headers that prove who sends it (signatures.md)."""

from __future__ import annotations

import base64
import secrets
import time
from collections.abc import Mapping
from typing import Final

from gateway.identity import message_signatures
from gateway.identity.message_signatures import PrivateKey

LIFETIME: Final = message_signatures.MAX_LIFETIME
"""For how many seconds a signature is valid: as long as the gateway takes one, so that clocks may differ."""

_SIGNED: Final = frozenset({"accept", "content-type", "idempotency-key"})
_MAKERS: Final = ("anthropic-", "openai-", "x-goog-")
"""Headers that say what the body is or go on to providers: with these names, and with these beginnings."""

REPLACED: Final = frozenset(
    {
        *("authorization", "x-api-key", "api-key", "x-goog-api-key"),
        *message_signatures.SIGNATURE_HEADERS,
    }
)
"""Headers that only the signer sets. SDKs demand a key and send it; the signature takes its place."""

_LABEL = "sig"


def _signed(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that are signed beside the rest: those that say what the body is, and those that go on."""
    return {
        name: value.strip(" \t")
        for name, value in sorted(headers.items())
        if name in _SIGNED or (name.startswith(_MAKERS) and name not in REPLACED)
    }


class Signer:
    """An agent's private key, and what is signed with it. Safe to be used from several threads."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._keyid = message_signatures.thumbprint(key.public_key())
        self._algorithm = message_signatures.algorithm_of(key.public_key())

    def headers(
        self, method: str, authority: str, target: str, digest: str, others: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The headers to send with a request.

        `authority` is the value of its Host header, `target` the path with the query as they are sent, and `digest` the
        `Content-Digest` of the body (`message_signatures.content_digest`). `others` are the headers that the request
        has already, their names in lower case: some of them are signed, too.
        """
        further = _signed(others or {})
        path, _, query = target.partition("?")
        created = int(time.time())
        parameters = message_signatures.parameters(
            created=created,
            expires=created + LIFETIME,
            nonce=secrets.token_urlsafe(18),
            keyid=self._keyid,
            algorithm=self._algorithm,
            further=further,
        )
        base = message_signatures.request_base(method, authority, path, query, digest, parameters, further.items())
        signature = base64.b64encode(message_signatures.sign(self._key, base)).decode()
        return {
            "content-digest": digest,
            "signature-input": f"{_LABEL}={parameters}",
            "signature": f"{_LABEL}=:{signature}:",
        }
