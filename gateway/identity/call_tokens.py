"""A token of the gateway for one call to an upstream: the server can tell who calls, by which decision, and for what.

An upstream has one of these kinds of credentials. `KEY` is a key of its own, or none. With `TOKEN` each request that
goes there has a new token (`typ: call+jwt`) by one of the keys that sign the gateway's access tokens, for that server
alone (`aud`, RFC 8707) and for seconds, so the server can refuse whatever has come round the gateway. With
`ON_BEHALF_OF` the token's subject is the person for whom the agent acts, and `act` the agent (RFC 8693, section 4.1).
Such a token opens nothing at the gateway: neither its type nor its audience is one of an access token's. A new key
signs them once servers that keep the public keys for a while have it.
Specification: docs/how-to/identity/call-tokens.md.
"""

from __future__ import annotations

import hashlib
import time
from collections import deque
from collections.abc import Mapping
from typing import Any, Final

from gateway.body import Body
from gateway.call import Call
from gateway.errors import Denied, GatewayError
from gateway.identifiers import new_id
from gateway.identity import jose
from gateway.identity.peers import PEER
from gateway.identity.principals import Principal
from gateway.identity.token_keys import TokenKeys

KEY: Final = "key"
TOKEN: Final = "token"  # noqa: S105
ON_BEHALF_OF: Final = "on_behalf_of"
KINDS: Final = (KEY, TOKEN, ON_BEHALF_OF, PEER)

TYPE: Final = "call+jwt"
SECONDS: Final = 30
"""The life of a token: it is made when its request is sent."""

_MOST_MADE: Final = 8


class Bearer:
    """Makes the tokens of one call, one for each of its requests to the upstream."""

    __slots__ = ("_claims", "_keys", "made")

    def __init__(self, keys: TokenKeys, claims: Mapping[str, Any]) -> None:
        self._keys = keys
        self._claims = claims
        # The signatures of the last tokens: an answer that quotes one must not reach the agent. Nobody can guess them,
        # and without its signature a token is worth nothing.
        self.made: deque[bytes] = deque(maxlen=_MOST_MADE)

    def token(self, body: Body) -> str:
        """A token for a request with this body. Raises `Denied` if there is no key to sign with.

        A body on disk is not read for it, so then the token says nothing of it.
        """
        now = int(time.time())
        claims = {**self._claims, "iat": now, "exp": now + SECONDS, "jti": new_id("tok_")}
        if isinstance(body, bytes):
            claims["body_sha256"] = hashlib.sha256(body).hexdigest()
        try:
            if (key := self._keys.known) is None:
                raise GatewayError("no_token_key", "there is no key that signs tokens")
            text = jose.sign({"typ": TYPE}, claims, key)
        except GatewayError as error:
            raise Denied("upstream_unavailable", f"no token can be made for the call: {error.message}") from error
        self.made.append(text.rpartition(".")[2].encode())
        return text


class CallTokens:
    """Those of one process."""

    def __init__(self, keys: TokenKeys, deployment: str) -> None:
        self._keys = keys
        self._deployment = deployment

    def of_call(
        self, principal: Principal, call: Call, decision: str, audience: str, kind: str, callee_decision: str = ""
    ) -> Bearer:
        """The tokens of a call that was decided. `audience` is the URL of the server that it is for.

        `callee_decision` is the decision of the other side of a call to an agent.
        """
        claims: dict[str, Any] = {
            "iss": self._deployment,
            "aud": audience,
            "sub": principal.agent_id,
            "client_id": principal.agent_id,
            "organization": principal.organization,
            "agent_name": principal.name,
            "decision": decision,
            "action": call.action,
        }
        if call.tool is not None:
            claims["tool"] = call.tool.name
        if callee_decision:
            claims["callee_decision"] = callee_decision
        delegators = [each["id"] for each in principal.document["delegation"]]
        if kind == ON_BEHALF_OF:
            if principal.person is None:  # policies have not been asked about such a call
                raise Denied("person_required")
            claims |= {"sub": principal.person["subject"], "sub_issuer": principal.person["issuer"]}
            claims["act"] = _actors([*delegators, principal.agent_id])
        elif delegators:
            claims["act"] = _actors([*delegators[1:], principal.agent_id])
            claims["sub"] = delegators[0]
        return Bearer(self._keys, claims)

    def of_gateway(self, organization: str, action: str, audience: str, kind: str) -> Bearer | None:
        """Those of a request that no agent makes, and no person: the gateway asks for itself. None if it has a key."""
        if kind == KEY:
            return None
        claims = {"iss": self._deployment, "aud": audience, "sub": self._deployment, "client_id": self._deployment}
        return Bearer(self._keys, {**claims, "organization": organization, "action": action})


def _actors(agents: list[str]) -> dict[str, Any]:
    """Those who act, the last one outermost."""
    act: dict[str, Any] = {}
    for each in agents:
        act = {"sub": each} | ({"act": act} if act else {})
    return act
