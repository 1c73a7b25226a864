"""Provider keys that programs still share, as a kind of credentials (moving.md).

While an organization moves to keys of its own, calls with its old provider key are those of one agent, `legacy`. Such
a key is whatever text the provider made up. It has no id that could be looked up, so it is found by its hash: the
HMAC-SHA-256 of its SHA-256 under a pepper. The text is not kept, not even in memory. Credentials in the gateway's own
forms are never looked for here.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import ClassVar, Final, Literal

from gateway.errors import Denied, GatewayError
from gateway.identity.credentials import Peppers
from gateway.identity.principals import CredentialSource, Found, Principal
from gateway.identity.tokens import is_token

AGENT: Final = "legacy"
"""The name of the agent that such calls are attributed to."""

MIN_LENGTH: Final = 20
"""Shorter texts could be guessed."""

_OWN: Final = "aig_"
_FORM: Final = re.compile(f"[!-~]{{{MIN_LENGTH},512}}")


@dataclass(frozen=True, slots=True)
class PresentedLegacyKey:
    """A text that may be a provider's key, not looked up yet. It is its own lookup."""

    method: ClassVar[Literal["legacy"]] = "legacy"

    material: bytes = field(repr=False)  # the SHA-256 of the text

    @property
    def lookup(self) -> PresentedLegacyKey:
        return self


def presented(text: str) -> PresentedLegacyKey | None:
    """The key that a text may be; None if it has a form of the gateway's own, or cannot be anybody's key."""
    if text.startswith(_OWN) or is_token(text) or not _FORM.fullmatch(text):
        return None
    return PresentedLegacyKey(hashlib.sha256(text.encode()).digest())


def check(text: str) -> PresentedLegacyKey:
    """The key that an operator gives. Raises `GatewayError`, which does not show it."""
    found = presented(text)
    if found is not None:
        return found
    if text.startswith(_OWN) or is_token(text):
        what = "what was given is a key or token in this gateway's form, not a provider's key"
    else:
        what = f"what was given is not a provider's key: it must be {MIN_LENGTH} to 512 visible ASCII characters"
    raise GatewayError("invalid_key", what, hint="give the key that programs send to the provider today")


def digest(key: PresentedLegacyKey, pepper: bytes) -> bytes:
    """The hash of a key, as the registry stores it. It cannot be that of a key of the gateway's own."""
    return hmac.digest(pepper, b"legacy\x00" + key.material, "sha256")


class LegacyKeys:
    """A `CredentialKind`."""

    method: ClassVar[Literal["legacy"]] = "legacy"

    def __init__(self, source: CredentialSource, peppers: Peppers) -> None:
        self._source = source
        self._peppers = peppers

    async def find(self, lookup: PresentedLegacyKey) -> Found | None:
        row = await self._source.legacy([digest(lookup, pepper) for pepper in self._peppers.all])
        # It may be hashed under a pepper that was added meanwhile. A look-up happens once a second at most.
        if row is None and self._peppers.get(self._peppers.newest + 1) is not None:
            row = await self._source.legacy([digest(lookup, pepper) for pepper in self._peppers.all])
        return None if row is None else Found(row, True)

    def check(self, presented: PresentedLegacyKey, proof: bool | None) -> None:
        """A key that is found by the hash of its whole text needs no further proof."""
        if proof is None:
            raise Denied("bad_credentials", "malformed")  # as where no organization is moving

    async def admit(self, presented: PresentedLegacyKey, principal: Principal) -> None:
        """It may be used any number of times until its end."""
