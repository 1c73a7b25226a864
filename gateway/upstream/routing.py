"""Which route a path means, and which upstream it leads to: exact matches in tables, and nothing else.

`/<upstream>/v1/chat/completions` names an upstream, `/v1/chat/completions` means the default one of the agent's
organization. The path is compared as it came, byte by byte: no decoding, no folding, no dot segments, so that no two
parties can read it differently. The URL that is called is built from the table, never from the request. An upstream
belongs to an organization, so a path is matched in two halves: what it asks for before authentication, where that goes
after it. Specification: docs/architecture.md, section 7, step 2.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from yarl import URL

from gateway.errors import Denied
from gateway.upstream.providers.base import Provider, Route
from gateway.upstream.providers.openai import OpenAI

PROVIDERS: dict[str, Provider] = {provider.name: provider for provider in (OpenAI(),)}

# A name is one segment; the tables decide whether there is such an upstream.
_NAMED = re.compile(rb"/([A-Za-z0-9._-]{1,128})(/.*)")


@dataclass(frozen=True, slots=True)
class Upstream:
    """A configured destination with its credential in the clear: made for a worker's memory, never shown or stored."""

    id: str
    organization: str
    name: str
    provider: Provider
    base_url: str
    default: bool
    secret: str | None = field(repr=False)
    # Why it cannot be used, although it is configured; empty otherwise.
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The first half: a route that some provider has, and the upstream's name or None for the default one."""

    upstream: str | None
    # As in the request; what follows the upstream's name.
    path: str
    method: str
    # Speaks for the path until the upstream is known: errors have its shape.
    provider: Provider
    action: str
    has_body: bool


@dataclass(frozen=True, slots=True)
class Match:
    """The second half: where the request of an organization goes."""

    upstream: Upstream
    route: Route
    url: URL


_TARGETS: dict[tuple[str, bytes], tuple[Provider, Route]] = {
    (route.method, (provider.prefix + route.path).encode()): (provider, route)
    for provider in PROVIDERS.values()
    for route in provider.routes
}


def target(method: str, raw_path: bytes) -> Target:
    """What this method and path ask for, or `Denied` with `unknown_route`. Needs no registry."""
    name, rest = None, raw_path
    found = _TARGETS.get((method, rest))
    if found is None and (named := _NAMED.fullmatch(raw_path)) is not None:
        name, rest = named[1].decode("ascii"), named[2]
        found = _TARGETS.get((method, rest))
    if found is None:
        raise Denied("unknown_route")
    provider, route = found
    return Target(name, rest.decode("ascii"), method, provider, route.action, route.has_body)


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable."""

    def __init__(self, upstreams: Iterable[Upstream]) -> None:
        self._matches: dict[tuple[str, str | None, str, str], Match] = {}
        for upstream in upstreams:
            provider = upstream.provider
            for route in provider.routes:
                match = Match(upstream, route, URL(upstream.base_url.rstrip("/") + route.path, encoded=True))
                for name in [upstream.name, None] if upstream.default else [upstream.name]:
                    self._matches[upstream.organization, name, route.method, provider.prefix + route.path] = match

    def resolve(self, organization: str, wanted: Target) -> Match:
        """Where the request goes, or `Denied` with `unknown_route`."""
        found = self._matches.get((organization, wanted.upstream, wanted.method, wanted.path))
        if found is None and wanted.upstream is None:
            raise Denied("unknown_route", reasons=["no default upstream is configured: type `gateway upstreams add`"])
        if found is None:
            raise Denied("unknown_route")
        if found.upstream.fault:
            raise Denied("upstream_error", found.upstream.fault)
        return found
