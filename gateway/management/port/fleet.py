"""What `gateway apply` and `gateway export` ask of a gateway."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gateway.registry.fleet.apply import KeyFile
    from gateway.registry.fleet.document import Document
    from gateway.registry.fleet.plan import Step


class LocalSources(Protocol):
    """What the upstreams of a file refer to, as it is where the command runs."""

    def secret(self, upstream: str, key: Mapping[str, Any]) -> str | None: ...

    def specification(self, upstream: str, path: str) -> str: ...

    def openapi(self, path: str) -> dict[str, Any]:
        """An OpenAPI document itself, which can be used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedFleet:
    """A fleet file, read, and how it is meant. Without `organization` it is the one that is meant anyway.

    With `prune` what is not in the file is removed, with `keys` each agent of the file without a live key gets one, and
    with `suspend_now` the settings may suspend agents at once; with `replace_revoked` what was revoked may come back.
    """

    document: Document
    sources: LocalSources
    organization: str | None
    prune: bool
    keys: bool
    suspend_now: bool
    replace_revoked: bool = False
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What is done, or would be. Steps from elsewhere have no items."""

    organization: str
    steps: Sequence[Step]


class Fleet(Protocol):
    """An organization's part of the registry, as a whole."""

    def export(self, organization: str) -> dict[str, Any]: ...

    def rehearse(self, asked: AskedFleet) -> Plan:
        """What would be done. Raises what `apply` would raise."""

    def apply(
        self, asked: AskedFleet, confirm: Callable[[Sequence[Step]], None] | None, key_file: KeyFile | None
    ) -> Plan:
        """Do it, all or nothing. `confirm` raises unless a plan that removes something may be carried out."""
