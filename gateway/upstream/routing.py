"""Which route a path means, and which upstream it leads to.

`/<upstream>/v1/chat/completions` names an upstream, `/v1/chat/completions` means the default one of the agent's
organization. The path is compared as it came, byte by byte: no decoding, no folding, no dot segments, so that no two
parties can read it differently. The URL that is called is built from the route, never from the request. An upstream
belongs to an organization, so a path is matched in two halves: what it asks for before authentication, where that goes
after it.
`wrong_route.py` explains the paths that lead nowhere.
Specification: docs/architecture.md, section 7, step 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import Denied
from gateway.upstream import wrong_route
from gateway.upstream.providers.base import Endpoint, Provider
from gateway.upstream.routes import FAMILIES, routes_of, split
from gateway.upstream.strict_json import shown


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


def target(method: str, raw_path: bytes) -> Target:
    """What this method and path ask for, or `Denied` with `unknown_route` or `wrong_method`. Needs no registry."""
    path = raw_path.decode("latin-1")
    for routes in FAMILIES:
        if routes.find(method, path) is not None:
            return Target(None, method, path, routes.provider)
    if (named := split(path)) is not None:
        name, rest = named
        for routes in FAMILIES:
            if routes.find(method, rest) is not None:
                return Target(name, method, rest, routes.provider)
    raise wrong_route.unknown(method, path)


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._destinations: dict[tuple[str, str | None], Destination] = {}
        # Most requests have no parameters, so what they mean is worked out once.
        self._matches: dict[tuple[str, str | None, str, str], Match] = {}
        for each in destinations:
            for name in [each.name, None] if each.default else [each.name]:
                self._destinations[each.organization, name] = each
                for method, path, route in routes_of(each.provider).plain():
                    match = Match(each, Endpoint(each.name, route, path))
                    self._matches[each.organization, name, method, path] = match

    def resolve(self, organization: str, wanted: Target) -> Match:
        """Where the request goes, or `Denied` with `unknown_route`."""
        match = self._matches.get((organization, wanted.upstream, wanted.method, wanted.path))
        if match is None:
            match = self._with_parameters(organization, wanted)
        if match.destination.fault:
            raise Denied("upstream_unavailable", match.destination.fault)
        return match

    def _with_parameters(self, organization: str, wanted: Target) -> Match:
        destination = self._destinations.get((organization, wanted.upstream))
        if destination is None:
            raise self._no_upstream(organization, wanted)
        routes = routes_of(destination.provider)
        found = routes.find(wanted.method, wanted.path)
        if found is None:
            raise wrong_route.unknown(wanted.method, wanted.path, [routes])
        route, params = found
        return Match(destination, Endpoint(destination.name, route, wanted.path, params))

    def _no_upstream(self, organization: str, wanted: Target) -> Denied:
        """The refusal of an upstream that this organization does not have; other organizations' are not looked at."""
        prefix = wanted.provider.prefix
        if wanted.upstream is None:
            reason = (
                f"no upstream is the default: name one in the base URL, as in /NAME{prefix}, or make one the default"
            )
            return Denied("unknown_route", reasons=[f"{reason} with `gateway upstreams add … --default`"])
        if f"/{wanted.upstream}" == prefix:
            return Denied(
                "unknown_route", reasons=[f"the base URL has `{prefix}` twice: it must end in `{prefix}` once"]
            )
        reason = f"there is no upstream {shown(wanted.upstream)}, which the base URL names"
        names = [name for owner, name in self._destinations if owner == organization and name is not None]
        if similar := difflib.get_close_matches(wanted.upstream, names, 1):
            reason += f": did you mean `{similar[0]}`?"
        return Denied("unknown_route", reasons=[reason])
