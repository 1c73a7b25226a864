"""A data worker's questions to the registry, whichever database holds it (architecture.md, section 9).

The port is asynchronous because a database across a network answers later, and may answer many requests with one read.
SQLite answers at once (`reader.py`). Every failure is `Denied` with `registry_unavailable`: a worker that cannot
read who may do what lets nobody do anything. Nothing is cached behind the port; callers cache by epoch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

from gateway.errors import GatewayError, Hint
from gateway.identity.peers import PeerRow
from gateway.identity.persons import Right
from gateway.identity.principals import CredentialRow
from gateway.identity.workload import Rule, WorkloadIssuer

REVISION = max(each.name[1:5] for each in Path(__file__).parent.glob("migrations/versions/r[0-9]*.py"))
"""The migration whose tables the implementations read, the last one; a worker refuses any other."""
FIRST_REVISION = "0028"
"""The earliest registry that can be migrated: none of before was released."""


class Epochs(NamedTuple):
    """The number of the registry's state, and for each part of it the number at which that part changed last.

    `value` grows with every change. A part that was read is still true while its number stays the same.
    """

    value: int
    authority: int
    """Organizations, agents, keys, bindings and limits: all that principals are made of."""
    upstreams: int
    policy: int
    """The activation in force, and the revisions that bindings pin."""


class BundleRef(NamedTuple):
    """One revision of a bundle: what to load, and what the log says was loaded."""

    name: str
    digest: str
    commit: str
    entrypoint: str


class AgentRow(NamedTuple):
    """An agent, as it is now."""

    id: str
    name: str
    status: str


class UpstreamRow(NamedTuple):
    """A configured destination. `secret` is sealed (`vault.py`); None if the upstream needs none."""

    id: str
    organization: str
    name: str
    provider: str
    base_url: str
    default: bool
    secret: bytes | None
    version: int
    # The operations of a JSON API, or the agent that is published (`a2a/cards.py`); None for all others.
    specification: str | None
    # The JSON text of `models.Upstream.headers`.
    headers: str
    reach: str
    # Of an MCP server: the tools that may be called (`mcp/pins.py`), and the revisions that it speaks, once found.
    trust: str | None = None
    protocol: str | None = None
    # The kind of its credentials (`identity/call_tokens.py`).
    auth: str = "key"


class ToolRow(NamedTuple):
    """A tool of an MCP server. `definition` is the JSON text that `digest` is over (`mcp/pins.py`)."""

    upstream: str
    name: str
    state: str
    digest: str
    definition: str


class MandateRow(NamedTuple):
    """A mandate, dead or alive: its grantor's organization and agent, and whom it was given to."""

    id: str
    organization: str
    agent: str
    to_agent: str
    # The text of a `KeyScope`.
    scope: str
    amount_microusd: int
    requests: int | None
    purpose: str
    expires_ns: int
    revoked_ns: int | None


class RouteRow(NamedTuple):
    """Several upstreams under one name. `members` is the JSON text of `models.UpstreamRoute.members`."""

    organization: str
    name: str
    default: bool
    members: str


@dataclass(frozen=True, slots=True)
class ActiveSet:
    """The bundle revisions in force as of one epoch of policy; none before the first activation: nothing is granted."""

    activation_id: str
    commit: str
    epoch: int
    bundles: Mapping[str, BundleRef]
    pinned: Mapping[tuple[str, str], BundleRef] = field(default_factory=dict)

    def find(self, bundle: str, pinned: str | None) -> BundleRef | None:
        """The revision that a binding means: the pinned commit's, or the one in force."""
        return self.bundles.get(bundle) if pinned is None else self.pinned.get((bundle, pinned))


class RegistryPort(Protocol):
    """One worker's view of the registry, for its event loop."""

    async def epochs(self) -> Epochs:
        """The number of the state that is in force now, and of each part of it.

        It may have been read in the same turn of the event loop before this call, but not before the request arrived.
        """
        ...

    async def credential(self, credential_id: str) -> CredentialRow | None:
        """The key with this public id, dead or alive."""
        ...

    async def workload(self, spiffe_id: str) -> CredentialRow | None:
        """The row of this SPIFFE ID that is in force, or else the newest one that was."""
        ...

    async def holder(self, credential: str) -> CredentialRow | None:
        """The credential with this id, dead or alive: a key, or a rule of an issuer, which is one of its agent."""
        ...

    async def named(self, credential: str) -> CredentialRow | None:
        """The row of a key, an adopted key or an agent without any, by its id: to ask about it, not to present it."""
        ...

    async def legacy(self, digests: Sequence[bytes]) -> CredentialRow | None:
        """The provider's key with one of these hashes, dead or alive: the one in force, else the newest."""
        ...

    async def agent(self, organization: str, reference: str) -> AgentRow | None:
        """The agent of an organization that has this id, or the one that has not ended and has this name."""
        ...

    async def mandate(self, identifier: str) -> MandateRow | None:
        """The mandate with this id, of whichever organization."""
        ...

    async def issuers(self, issuer: str) -> list[WorkloadIssuer]:
        """The issuers that are registered for tokens with this `iss`, of all organizations."""
        ...

    async def issuer_rules(self, issuer_id: str) -> list[Rule]:
        """The rules of an issuer that are in force."""
        ...

    async def peers(self) -> list[PeerRow]:
        """The other gateways that are trusted, as their operators declared them."""
        ...

    async def has_organization(self, name: str) -> bool:
        """True if an organization of this name is, or was, one of this gateway."""
        ...

    async def right(self, rule: str) -> Right | None:
        """The rule with this id by which an agent may act for persons; None if it is not in force, or no such rule."""
        ...

    async def active_bundles(self) -> ActiveSet:
        """The activation in force, and the revisions that bindings pin. Carries the epoch to cache it under."""
        ...

    async def upstreams(self) -> list[UpstreamRow]:
        """Every configured destination of every organization, oldest first."""
        ...

    async def upstream_tools(self) -> list[ToolRow]:
        """The tools of all MCP servers, also those that nobody has approved."""
        ...

    async def upstream_routes(self) -> list[RouteRow]:
        """Every route of every organization."""
        ...

    async def deployment(self) -> str:
        """The name that `gateway init` gave, the origin of the logs."""
        ...


def wrong_revision(path: Path, found: str | None) -> GatewayError:
    """The error for a registry of another version."""
    if found is None:
        return GatewayError("registry_revision", f"`{path}` is not a gateway's registry", subject=str(path))
    hint: str
    if found < FIRST_REVISION:
        hint = Hint(
            "no version migrates it: `gateway export` it with its own, and `gateway apply` that to a new directory"
        )
    elif found < REVISION:
        hint = Hint("start `gateway up` once, which migrates it")
    else:
        hint = "use that version, which is newer; or go on from a copy of the data directory from before the upgrade"
    return GatewayError(
        "registry_revision",
        f"`{path}` was made by another version of the gateway (revision {found}, this one needs {REVISION})",
        subject=str(path),
        hint=hint,
    )


TRIGGERS: Final = "SELECT name, tbl_name, sql FROM sqlite_master WHERE type IN ('trigger', 'view') ORDER BY name"

FINGERPRINT: Final = "6ef509f0edfd7565"
"""The digest as of the newest migration; a test says what it must be."""


def fingerprint(rows: Iterable[Any]) -> str:
    """One number for the rows of `TRIGGERS`."""
    text = "\n".join(f"{name}\0{table}\0{sql}" for name, table, sql in rows)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def check_triggers(path: Path, rows: Iterable[Any]) -> None:
    """Raise `registry_damaged` unless these are the triggers of this version.

    They bump epochs and protect history. Without one of them a revocation would not be seen. With a foreign one a
    change could be undone while its command reports success. Every program that opens a registry compares them, and
    accepts no view. Tables are not compared: their texts depend on the version of SQLAlchemy that created them.
    """
    if fingerprint(rows) != FINGERPRINT:
        raise GatewayError(
            "registry_damaged",
            f"`{path}` lacks triggers of its own, or has some that the gateway did not make",
            subject=str(path),
            hint="restore it from a backup: changes may have been undone, and revocations not seen",
        )
