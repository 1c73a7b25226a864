"""API keys as a kind of credentials: how an agent's key is looked up and checked."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol

from gateway.errors import Denied
from gateway.identity.credentials import Credential, Peppers, matches
from gateway.identity.principals import CredentialRow, Found, Principal


class KeySource(Protocol):
    """The part of the registry that `ApiKeys` needs; `gateway.registry.port.RegistryPort` has it."""

    async def credential(self, credential_id: str) -> CredentialRow | None: ...


class _Hash(NamedTuple):
    digest: bytes
    pepper: bytes | None  # None if its file is missing


class ApiKeys:
    """A `CredentialKind`."""

    method: ClassVar[Literal["api_key"]] = "api_key"

    def __init__(self, source: KeySource, peppers: Peppers) -> None:
        self._source = source
        self._peppers = peppers

    async def find(self, lookup: str) -> Found | None:
        row = await self._source.credential(lookup)
        if row is None or row.public_key is not None:
            return None
        return Found(row, _Hash(row.digest, self._peppers.get(row.pepper)))

    def check(self, presented: Credential, proof: _Hash | None) -> None:
        if proof is None or proof.pepper is None:
            # The same work as for a known key, so that the time does not tell which ids exist.
            matches(presented, bytes(32), self._peppers.current)
            raise Denied("bad_credentials", "unknown" if proof is None else "pepper_missing")
        if not matches(presented, proof.digest, proof.pepper):
            raise Denied("bad_credentials", "wrong_secret")

    async def admit(self, presented: Credential, principal: Principal) -> None:
        """A key may be used any number of times."""
