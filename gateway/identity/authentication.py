"""From a request's head to the credential in it (architecture.md, section 7, step 3).

A request has exactly one credential, of whatever kind. A key may stand in any of the four headers that provider SDKs
use, but only in one of them and only once. Otherwise two parties could read two identities from one request. So a
client that has presented a certificate has no other credential.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.errors import Denied
from gateway.identity import credentials, legacy_keys, peers, signatures, token_credentials, tokens
from gateway.identity.certificates import Certificate
from gateway.identity.credentials import Credential
from gateway.identity.principals import Presented

CREDENTIAL_HEADERS = frozenset({b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"})
"""These never travel on to an upstream."""

_IN_QUERY = "the key must be in a header, such as `x-goog-api-key`: what is in a URL ends up in logs"
_MAX_LENGTH = 512  # a key has 69 characters
MAX_TOKEN = 6144
"""Characters of a token. One with the longest scope and chain has fewer; a head may be larger."""


def presented(
    headers: Sequence[tuple[bytes, bytes]],
    query: bytes = b"",
    method: str = "",
    path: bytes = b"",
    certificate: Certificate | None = None,
    *,
    legacy: bool = False,
) -> Presented:
    """The credential that a head carries, well-formed but neither looked up nor checked yet; raises `Denied`.

    Header names are in lower case, as in ASGI. A key in the `query` is none, and the refusal says so. The client's
    `certificate`, if its connection has one, is a credential of each of its requests, whoever it names. With `legacy`,
    a text in no form of the gateway's own may be a provider's key (`legacy_keys.py`).
    """
    found, signed = [], False
    for header in headers:
        if header[0] in CREDENTIAL_HEADERS:
            found.append(header)
        elif header[0] in signatures.HEADERS:
            signed = True
    if len(found) + signed + (certificate is not None) > 1:
        names = sorted(name.decode() for name, _ in found) + ["signature"] * signed
        names += ["client certificate"] * (certificate is not None)
        what = f"several credentials: {', '.join(names)}"
        raise Denied("bad_request", what, reasons=[f"there must be one credential, and there are {', '.join(names)}"])
    if certificate is not None:
        return certificate.presented()
    if signed:
        return peers.presented(signatures.parse(headers, method, path, query), headers, path)
    if not found:
        if query.startswith(b"key=") or b"&key=" in query:
            raise Denied("bad_credentials", "in_query", reasons=[_IN_QUERY])
        raise Denied("bad_credentials", "missing")
    name, value = found[0]
    if name == b"authorization":
        scheme, _, value = value.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Denied("bad_credentials", "not_bearer")
    text = value.strip(b" \t").decode("latin-1")
    if legacy and (key := legacy_keys.presented(text)) is not None:
        return key
    return of_text(text)


def of_text(text: str) -> Presented:
    """The credential that a text is, a key or a token, well-formed but not looked up yet; raises `Denied`."""
    if tokens.is_token(text):
        if len(text) > MAX_TOKEN:
            raise Denied("bad_credentials", "malformed")
        return token_credentials.presented(text)
    return _api_key(text)


def _api_key(text: str) -> Credential:
    if len(text) > _MAX_LENGTH:
        raise Denied("bad_credentials", "malformed")
    credential = credentials.parse(text)
    if credential is None:
        raise Denied("bad_credentials", "malformed")
    if credential.kind != "agent":
        raise Denied("bad_credentials", "operator_key")
    return credential
