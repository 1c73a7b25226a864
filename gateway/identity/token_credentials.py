"""Tokens of the gateway as a kind of credentials: how one is verified, and what hangs on it (tokens.md).

The signature of a token is verified once in each worker. Afterwards the worker knows the token by the SHA-256 of its
whole text. Everything that can change is looked up again whenever the epoch of authority has changed: every agent of
its chain, every credential that it came from, the right to act for a person, and whether the key that signed it is
still trusted.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from gateway.errors import Denied, GatewayError
from gateway.identity import tokens
from gateway.identity.jose import InvalidTokenError
from gateway.identity.principals import CredentialSource, Found, Principal
from gateway.identity.token_keys import TokenKeys
from gateway.identity.tokens import Token


@dataclass(frozen=True, slots=True)
class PresentedToken:
    """A token that a request carries. It is its own lookup: two of them are equal if their whole texts are."""

    method: ClassVar[Literal["token"]] = "token"

    digest: bytes
    text: str = field(repr=False, compare=False)

    @property
    def lookup(self) -> PresentedToken:
        return self


def presented(text: str) -> PresentedToken:
    return PresentedToken(hashlib.sha256(text.encode()).digest(), text)


class Tokens:
    """A `CredentialKind`: the access tokens of one deployment."""

    method: ClassVar[Literal["token"]] = "token"

    def __init__(self, source: CredentialSource, keys: TokenKeys, deployment: str, capacity: int = 4096) -> None:
        self._source = source
        self._keys = keys
        self._deployment = deployment
        self._capacity = capacity
        self._verified: OrderedDict[bytes, Token] = OrderedDict()  # by the text's digest, oldest use first

    async def find(self, lookup: PresentedToken) -> Found | None:
        token = self.verified(lookup)
        if token.actor is not None:
            raise Denied("bad_credentials", "token_type")  # a grant for another agent to exchange
        return await self.living(token)

    def verified(self, lookup: PresentedToken) -> Token:
        """The content of a token of either sort; raises `Denied` if this deployment did not sign it."""
        token = self._verified.get(lookup.digest)
        try:
            if token is None:
                token = tokens.read(lookup.text, self._deployment, self._keys)
            elif not self._keys.named(token.kid):
                del self._verified[lookup.digest]
                raise InvalidTokenError("unknown_key")
        except InvalidTokenError as error:
            raise Denied("bad_credentials", f"token_{error.message}") from None
        except GatewayError as error:
            raise Denied("registry_unavailable", f"token keys: {error.message}") from error
        self._verified[lookup.digest] = token
        self._verified.move_to_end(lookup.digest)
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)
        return token

    async def living(self, token: Token) -> Found | None:
        """The agents of a token's chain with the credentials that they came by; None if one of them is gone."""
        rows = [await self._source.holder(link.credential) for link in token.chain]
        found = [row for row, link in zip(rows, token.chain, strict=True) if row and row.agent_id == link.agent]
        if len(found) < len(rows) or len({each.organization for each in found}) != 1:
            return None
        *before, row = found
        ends = [end for each in found for end in (each.expires_ns, each.agent_expires_ns) if end is not None]
        # A delegator that nobody confirms ends the chain. One that is suspended already is refused as such.
        now_ns = time.time_ns()
        ends += [each.suspends_ns for each in before if each.suspends_ns is not None and each.suspends_ns > now_ns]
        row = row._replace(expires_ns=min([token.expires * 10**9, *ends]))
        right = None if token.person is None else await self._source.right(token.person.right)
        if right is not None and (right.agent, right.organization) != (token.chain[0].agent, row.organization):
            right = None
        return Found(row, token.id, token, tuple(before), right)

    def check(self, presented: PresentedToken, proof: str | None) -> None:
        """A token that is found by its whole text needs no further proof: `find` has verified it."""

    async def admit(self, presented: PresentedToken, principal: Principal) -> None:
        """A token may be used any number of times until it ends."""
