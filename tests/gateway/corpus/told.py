"""The answer that each bad credential must get: an opinion of its own, made from the header lines that carry it.

Only whoever sends a whole key that was good once learns that it was revoked or has expired. A client that guesses
learns nothing that the text itself does not say: an unknown id and a wrong secret of a known one are one thing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from .credentials import Known, sealed

_HOLDERS = (b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key")
_KEY = re.compile(rb"aig_(sk|op)_[0-9A-Za-z]{12}_[0-9A-Za-z]{49}")
_NO_KEY = "what was sent is no key of this gateway, or not all of one; keys begin with `aig_sk_`"

TEXTS = {
    "missing": "no key was sent; send it as `authorization: Bearer KEY`, or in the header of the provider's own client",
    "in query": "the key must be in a header, such as `x-goog-api-key`: what is in a URL ends up in logs",
    "not bearer": "the header `authorization` must be `Bearer KEY`",
    "no key": _NO_KEY,
    "token": "what was sent is no token that this gateway has given out: get one at `/oauth/token`",
    "operator": "this is an operator's token; an agent needs a key of its own",
    "unknown": "no agent of this gateway has what was sent",
    "expired": "what was sent has expired: ask for another key, or get another token",
    "revoked": "what was sent was revoked: ask for another key",
}
"""The text of the answer after the words that all of them have."""


def message(kind: str) -> str:
    """The whole message of such an answer, with `ID` for the id by which its refusal is looked up."""
    return f"the credentials are missing or not valid: {TEXTS[kind]} (refusal ID)"


def kind_of(lines: Iterable[bytes], known: Known) -> str:
    """The answer that a request with these lines must get, if it has no other fault. Signatures of AWS have one too."""
    found = [(name.lower(), value) for name, _, value in (line.partition(b":") for line in lines)]
    held = [(name, value.strip(b" \t")) for name, value in found if name in _HOLDERS]
    if not held:
        return "missing"
    if len(held) > 1:
        return "several"  # none of which is looked at: the request is malformed
    name, value = held[0]
    if name == b"authorization":
        scheme, _, value = value.partition(b" ")
        if scheme.lower() != b"bearer":
            return "aws" if scheme.startswith(b"AWS4-") else "not bearer"
    return _of_text(value.strip(b" \t"), known)


def _of_text(text: bytes, known: Known) -> str:
    if text.startswith(b"eyJ") and text.count(b".") == 2:
        return "token"
    form = _KEY.fullmatch(text)
    if form is None or sealed(text[:-6].decode()) != text.decode():
        return "no key"
    if form[1] == b"op":
        return "operator"
    # The keys of a revoked agent were revoked with it.
    proved = {known.revoked: "revoked", known.revoked_agent: "revoked", known.expired: "expired"}
    return proved.get(text.decode(), "unknown")


def has_known_id(lines: Iterable[bytes], known: Known) -> bool:
    """True if the id of a key is one of the registry's, so that only its secret is wrong."""
    ids = {
        each[:19].encode()
        for each in (known.good, known.second, known.tenant, known.revoked, known.expired, known.pepper)
    }
    return any(each in line for line in lines for each in ids)
