"""A client's headers: those that go upstream, and those that the log keeps.

Only the headers that a route lists go upstream, and those of a trace. A malformed trace is dropped, as its standard
demands (W3C Trace Context, https://www.w3.org/TR/trace-context/). An idempotency key is bound to its agent: two agents
that share a provider's key must not get each other's answers.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Mapping

from gateway.errors import Denied

_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-[!-~]{0,256})?")
_STATE = re.compile(rb"[ -~]{1,512}")
_IDEMPOTENCY_KEY = b"idempotency-key"
_MAX_USER_AGENT = 256

_OPERATOR = "whose account pays is said by the upstream's settings"
_TIER = "how a call is served is said in its body, where policies see it"
REFUSED = {
    b"x-hf-bill-to": _OPERATOR,
    b"x-ms-oai-image-generation-deployment": "it names a model that no policy would see",
    b"groq-model-version": "it names a model that no policy would see",
    b"x-vertex-ai-llm-request-type": _TIER,
    b"x-vertex-ai-llm-shared-request-type": _TIER,
}
"""Headers that providers document and that would change what a call does, and why they are refused."""
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def forwarded(headers: Mapping[bytes, bytes], allowed: frozenset[bytes], agent_id: str) -> dict[str, str]:
    """The headers that go upstream in any case: the gateway's own, and the client's that the route lists."""
    for name in REFUSED.keys() & headers.keys():
        if name not in allowed:
            raise Denied("bad_request", reasons=[f"the header `{name.decode()}` is not served: {REFUSED[name]}"])
    found = {"Accept-Encoding": "identity", "User-Agent": "agent-identity-gateway"}
    if begins := _beginnings(allowed):
        allowed |= {each for each in headers if each.startswith(begins)}
    for name in allowed:
        if name in headers and headers[name].isascii():
            # The space around a value is not part of it (RFC 9110, section 5.5), and the HTTP parser leaves some.
            found[name.decode()] = headers[name].decode("ascii").strip(" \t")
    if _IDEMPOTENCY_KEY.decode() in found:
        found[_IDEMPOTENCY_KEY.decode()] = bound_key(agent_id, headers[_IDEMPOTENCY_KEY])
    if trace_id(headers):
        found["traceparent"] = headers[b"traceparent"].decode()
        if _STATE.fullmatch(headers.get(b"tracestate", b"")):
            found["tracestate"] = headers[b"tracestate"].decode()
    return found


@functools.cache
def _beginnings(allowed: frozenset[bytes]) -> tuple[bytes, ...]:
    """The beginnings of names that may go upstream: a name of a route that ends in `*` stands for all that begin so."""
    return tuple(each[:-1] for each in allowed if each.endswith(b"*"))


def bound_key(agent_id: str, key: bytes) -> str:
    """An idempotency key that is the same for every retry of this agent, and no other agent's."""
    return hashlib.sha256(agent_id.encode() + b"\x00" + key).hexdigest()[:32]


def trace_id(headers: Mapping[bytes, bytes]) -> str:
    """The id of the trace that the request belongs to; empty without a valid one."""
    parent = headers.get(b"traceparent")
    if parent is None:
        return ""
    found = _PARENT.fullmatch(parent)
    # The first version has no further fields; later ones may.
    return "" if found is None or (found[1] == b"00" and found[3] is not None) else found[2].decode()


def user_agent(headers: Mapping[bytes, bytes]) -> str:
    """The client's name for itself, for the log: short, and nothing but printable ASCII."""
    return _NOT_PRINTABLE.sub("?", headers.get(b"user-agent", b"")[:_MAX_USER_AGENT].decode("latin-1"))
