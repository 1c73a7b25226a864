"""Signing one request: the headers that prove who sends it (docs/signatures.md)."""

from __future__ import annotations

import base64
import secrets
import time
from typing import Final

from gateway.identity import message_signatures
from gateway.identity.message_signatures import PrivateKey

LIFETIME: Final = message_signatures.MAX_LIFETIME
"""For how many seconds a signature is valid: as long as the gateway takes one, so that clocks may differ."""

REPLACED: Final = frozenset(
    {
        *("authorization", "x-api-key", "api-key", "x-goog-api-key"),
        *message_signatures.SIGNATURE_HEADERS,
    }
)
"""Headers that only the signer sets. SDKs demand a key and send it; the signature takes its place."""

_LABEL = "sig"


class Signer:
    """An agent's private key, and what is signed with it. Safe to be used from several threads."""

    def __init__(self, key: PrivateKey) -> None:
        self._key = key
        self._keyid = message_signatures.thumbprint(key.public_key())
        self._algorithm = message_signatures.algorithm_of(key.public_key())

    def headers(self, method: str, authority: str, target: str, digest: str) -> dict[str, str]:
        """The headers to send with a request.

        `authority` is the value of its Host header, `target` the path with the query as they are sent, and `digest` the
        `Content-Digest` of the body (`message_signatures.content_digest`).
        """
        path, _, query = target.partition("?")
        created = int(time.time())
        parameters = message_signatures.parameters(
            created=created,
            expires=created + LIFETIME,
            nonce=secrets.token_urlsafe(18),
            keyid=self._keyid,
            algorithm=self._algorithm,
        )
        base = message_signatures.request_base(method, authority, path, query, digest, parameters)
        signature = base64.b64encode(message_signatures.sign(self._key, base)).decode()
        return {
            "content-digest": digest,
            "signature-input": f"{_LABEL}={parameters}",
            "signature": f"{_LABEL}=:{signature}:",
        }
