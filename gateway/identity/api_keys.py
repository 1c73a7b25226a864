"""API keys as a kind of credentials: how an agent's key is looked up and checked."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple, Protocol

from gateway.errors import Denied
from gateway.identity.credentials import Credential, Peppers, Rehash, matches
from gateway.identity.principals import CredentialSource, Found, Principal, Uses


class _Hash(NamedTuple):
    digest: bytes
    pepper: bytes | None  # None if its file is missing
    version: int


class Notes(Uses, Protocol):
    """The same, and the keys that move to a newer pepper."""

    def wants(self, credential: str, pepper: int) -> bool: ...

    def move(self, rehash: Rehash) -> None: ...


class ApiKeys:
    """A `CredentialKind`."""

    method: ClassVar[Literal["api_key"]] = "api_key"

    def __init__(self, source: CredentialSource, peppers: Peppers, notes: Notes | None = None) -> None:
        self._source = source
        self._peppers = peppers
        self._notes = notes

    async def find(self, lookup: str) -> Found | None:
        row = await self._source.credential(lookup)
        if row is None or not row.digest:
            return None  # of another kind: it has no secret
        return Found(row, _Hash(row.digest, self._peppers.get(row.pepper), row.pepper))

    def check(self, presented: Credential, proof: _Hash | None) -> None:
        if proof is None or proof.pepper is None:
            # The same work as for a known key, so that the time does not tell which ids exist.
            matches(presented, bytes(32), self._peppers.current)
            raise Denied("bad_credentials", "unknown" if proof is None else "pepper_missing")
        if not matches(presented, proof.digest, proof.pepper):
            raise Denied("bad_credentials", "wrong_secret")
        newest = self._peppers.newest
        if proof.version < newest and self._notes is not None and self._notes.wants(presented.id, newest):
            self._notes.move(Rehash.make(presented, proof.digest, self._peppers))

    async def admit(self, presented: Credential, principal: Principal) -> None:
        """A key may be used any number of times; when it was used last is noted."""
        if self._notes is not None:
            self._notes.note(principal.key_id, principal.expires_ns)
