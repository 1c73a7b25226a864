"""Which route a path means, and which upstream it leads to.

`/<upstream>/v1/chat/completions` names an upstream, `/v1/chat/completions` means the default one of the agent's
organization. The path is compared as it came, byte by byte: no decoding, no folding, no dot segments, so that no two
parties can read it differently. The URL that is called is built from the route, never from the request; a parameter of
a route is one segment of plain characters, which cannot hold a slash or an escape. An upstream belongs to an
organization, so a path is matched in two halves: what it asks for before authentication, where that goes after it.
Specification: docs/architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import Denied
from gateway.upstream.providers.base import Endpoint, Provider, Route
from gateway.upstream.providers.presets import PROVIDERS

# A name is one segment; the registry decides whether there is such an upstream.
_NAMED = re.compile(r"/([A-Za-z0-9._-]{1,128})(/.*)", re.ASCII)
_PARAMETER = re.compile(r"\{([a-z_]+)\}")
_SEGMENT = "[A-Za-z0-9._:-]{1,128}"


@dataclass(frozen=True, slots=True)
class Destination:
    """A configured upstream with its credential in the clear: made for a worker's memory, never shown or stored."""

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
    """The first half: a path that some provider has a route for, and the upstream's name or None for the default."""

    upstream: str | None
    method: str
    # What follows the upstream's name.
    path: str
    # Speaks for the path until the upstream is known: errors have its shape.
    provider: Provider


@dataclass(frozen=True, slots=True)
class Match:
    """The second half: where the request of an organization goes, and what it means there."""

    destination: Destination
    endpoint: Endpoint


class _Routes:
    """The routes of one provider, ready to be looked up."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._plain: dict[tuple[str, str], Route] = {}
        self._templates: list[tuple[str, re.Pattern[str], Route]] = []
        for route in provider.routes:
            path = provider.prefix + route.path
            if "{" in path:
                self._templates.append((route.method, _pattern(path), route))
            else:
                self._plain[route.method, path] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of this path and its parameters. A route without parameters comes before one with them."""
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain, {}
        for its_method, pattern, route in self._templates:
            if its_method == method and (found := pattern.fullmatch(path)) is not None:
                return route, found.groupdict()
        return None

    def plain(self) -> Iterable[tuple[str, str, Route]]:
        return [(method, path, route) for (method, path), route in self._plain.items()]


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)  # text, name, text, name, …, text
    texts = [f"(?P<{part}>{_SEGMENT})" if at % 2 else re.escape(part) for at, part in enumerate(parts)]
    return re.compile("".join(texts), re.ASCII)


_routes = functools.cache(_Routes)
# One of each family: providers of one family have the same routes.
_FAMILIES = [_routes(provider) for provider in {each.name: each for each in reversed(PROVIDERS.values())}.values()]


def target(method: str, raw_path: bytes) -> Target:
    """What this method and path ask for, or `Denied` with `unknown_route`. Needs no registry."""
    path = raw_path.decode("latin-1")
    for routes in _FAMILIES:
        if routes.find(method, path) is not None:
            return Target(None, method, path, routes.provider)
    if (named := _NAMED.fullmatch(path)) is not None:
        name, path = named.groups()
        for routes in _FAMILIES:
            if routes.find(method, path) is not None:
                return Target(name, method, path, routes.provider)
    raise Denied("unknown_route")


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._destinations: dict[tuple[str, str | None], Destination] = {}
        # Most requests have no parameters, so what they mean is worked out once.
        self._matches: dict[tuple[str, str | None, str, str], Match] = {}
        for each in destinations:
            for name in [each.name, None] if each.default else [each.name]:
                self._destinations[each.organization, name] = each
                for method, path, route in _routes(each.provider).plain():
                    match = Match(each, Endpoint(each.name, route, path))
                    self._matches[each.organization, name, method, path] = match

    def resolve(self, organization: str, wanted: Target) -> Match:
        """Where the request goes, or `Denied` with `unknown_route`."""
        match = self._matches.get((organization, wanted.upstream, wanted.method, wanted.path))
        if match is None:
            match = self._with_parameters(organization, wanted)
        if match.destination.fault:
            raise Denied("upstream_error", match.destination.fault)
        return match

    def _with_parameters(self, organization: str, wanted: Target) -> Match:
        destination = self._destinations.get((organization, wanted.upstream))
        if destination is None and wanted.upstream is None:
            raise Denied("unknown_route", reasons=["no default upstream is configured: type `gateway upstreams add`"])
        found = destination and _routes(destination.provider).find(wanted.method, wanted.path)
        if destination is None or not found:
            raise Denied("unknown_route")
        route, params = found
        return Match(destination, Endpoint(destination.name, route, wanted.path, params))
