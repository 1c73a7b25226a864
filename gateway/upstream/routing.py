"""Which upstream and which of its routes a path means: exact matches in a table, and nothing else.

`/<upstream>/v1/chat/completions` names the upstream, `/v1/chat/completions` means the default one. The path is compared
as it came, byte by byte: no decoding, no folding, no dot segments, so that no two parties can read it differently. The
URL that is called upstream is built from the table, never from the request. Specification: section 7, step 2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from yarl import URL

from gateway.errors import Denied
from gateway.upstream.providers.base import Provider, Route
from gateway.upstream.providers.openai import OpenAI

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (OpenAI(),)}


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured destination with its credential in the clear: made for a worker's memory, never shown or stored."""

    id: str
    name: str
    provider: Provider
    base_url: str
    default: bool
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Match:
    """Where one request is to go."""

    upstream: Upstream
    route: Route
    url: URL


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._matches: dict[tuple[str, bytes], Match] = {}
        self._has_default = False
        for upstream in upstreams:
            prefixes = [f"/{upstream.name}"] + ([""] if upstream.default else [])
            self._has_default |= upstream.default
            for route in upstream.provider.routes:
                url = URL(upstream.base_url.rstrip("/") + route.path, encoded=True)
                for prefix in prefixes:
                    path = (prefix + upstream.provider.prefix + route.path).encode("ascii")
                    self._matches[route.method, path] = Match(upstream, route, url)

    def match(self, method: str, raw_path: bytes) -> Match:
        """The one route of this method and path, or `Denied` with `unknown_route`."""
        found = self._matches.get((method, raw_path))
        if found is not None:
            return found
        if not self._has_default and any(raw_path == _default_path(p, r) for p in PROVIDERS.values() for r in p.routes):
            raise Denied("unknown_route", reasons=["no default upstream is configured: type `gateway upstreams add`"])
        raise Denied("unknown_route")


def _default_path(provider: Provider, route: Route) -> bytes:
    return (provider.prefix + route.path).encode("ascii")
