"""What commands ask about upstreams and routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from gateway.registry.records import RouteRecord, UpstreamRecord
    from gateway.registry.upstream_routes import NewMember
    from gateway.upstream.check import UpstreamCheck
    from gateway.upstream.operations import UpstreamOperation


@dataclass(frozen=True, slots=True, kw_only=True)
class NewUpstream:
    """An upstream with its secret. `openapi` is the document of a JSON API, as it was read."""

    name: str
    provider: str
    base_url: str
    secret: str | None = field(repr=False)
    default: bool = False
    insecure: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    openapi: dict[str, Any] | None = None


class Upstreams(Protocol):
    """Upstreams of an organization, each named by its name."""

    def add(self, organization: str, new: NewUpstream, *, replace: bool, reason: str) -> UpstreamRecord: ...

    def listed(self, organization: str) -> list[UpstreamRecord]:
        """By name, without the operations of JSON APIs."""

    def operations(self, organization: str, upstream: str) -> list[UpstreamOperation]: ...

    def check(self, organization: str, upstreams: Sequence[str], reason: str) -> list[UpstreamCheck]:
        """Try them with their stored keys, from where the gateway is."""

    def remove(self, organization: str, upstream: str, reason: str) -> UpstreamRecord: ...


class Routes(Protocol):
    """Several upstreams under one name."""

    def set(
        self, organization: str, route: str, members: Sequence[NewMember], default: bool | None, reason: str
    ) -> RouteRecord: ...

    def listed(self, organization: str) -> list[RouteRecord]:
        """By name."""

    def remove(self, organization: str, route: str, reason: str) -> RouteRecord: ...
