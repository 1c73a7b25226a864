"""Which route a path means, and which upstream it leads to.

`/<upstream>/v1/chat/completions` names an upstream; `/v1/chat/completions` means the default one of the agent's
organization or, if that has no such route, the only other one that has it. The path is compared as it came, byte by
byte: no decoding, no folding, no dot segments, so that no two parties can read it differently. The URL that is called
is built from the route, never from the request; a parameter of a route is one segment of plain characters, which cannot
hold a slash or an escape. An upstream belongs to an organization, so a path is matched in two halves: what it asks for
before authentication, where that goes after it. Specification: docs/architecture.md, section 7, step 2.
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
    """The first half: a path that some provider has a route for.

    A path can be read in two ways where a provider's own begin like an upstream's name (`/openai/v1/…` of Azure). The
    upstream of that name comes first.
    """

    method: str
    path: str
    # The upstream's name and what follows it, if that is a route.
    named: tuple[str, str] | None
    # The whole path is a route.
    plain: bool
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


def _pattern(path: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)  # text, name, text, name, …, text
    texts = [f"(?P<{part}>{_SEGMENT})" if at % 2 else re.escape(part) for at, part in enumerate(parts)]
    return re.compile("".join(texts), re.ASCII)


_routes = functools.cache(_Routes)
# One of each family: providers of one family have the same routes.
_FAMILIES = [_routes(provider) for provider in {each.name: each for each in reversed(PROVIDERS.values())}.values()]


@functools.lru_cache(maxsize=1024)
def target(method: str, raw_path: bytes) -> Target:
    """What this method and path ask for, or `Denied` with `unknown_route`. Needs no registry."""
    path = raw_path.decode("latin-1")
    plain = _speaker(method, path)
    named, speaker = _NAMED.fullmatch(path), None
    if named is not None:
        speaker = _speaker(method, named[2])
    if speaker is not None and named is not None:
        return Target(method, path, (named[1], named[2]), plain is not None, speaker)
    if plain is not None:
        return Target(method, path, None, True, plain)
    raise Denied("unknown_route")


def _speaker(method: str, path: str) -> Provider | None:
    """The provider of the first family that has this route."""
    return next((routes.provider for routes in _FAMILIES if routes.find(method, path) is not None), None)


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        self._named: dict[tuple[str, str], Destination] = {}
        # Of each organization, the default first.
        self._all: dict[str, list[Destination]] = {}
        # Most requests have no parameters, so what they mean is worked out once.
        self._matches: dict[tuple[str, str, str], Match] = {}
        for each in destinations:
            self._named[each.organization, each.name] = each
            self._all.setdefault(each.organization, []).insert(0 if each.default else len(self._named), each)

    def resolve(self, organization: str, wanted: Target) -> Match:
        """Where the request goes, or `Denied` with `unknown_route`."""
        match = self._matches.get((organization, wanted.method, wanted.path))
        if match is None:
            match = self._find(organization, wanted)
            if not match.endpoint.params:
                self._matches[organization, wanted.method, wanted.path] = match
        if match.destination.fault:
            raise Denied("upstream_error", match.destination.fault)
        return match

    def _find(self, organization: str, wanted: Target) -> Match:
        if wanted.named is not None and (named := self._named.get((organization, wanted.named[0]))) is not None:
            match = _match(named, wanted.method, wanted.named[1])
            if match is None:
                raise Denied("unknown_route")
            return match
        if not wanted.plain:
            raise Denied("unknown_route")
        upstreams = self._all.get(organization, [])
        if not upstreams or not upstreams[0].default:
            raise Denied("unknown_route", reasons=["no default upstream is configured: type `gateway upstreams add`"])
        found = [match for each in upstreams if (match := _match(each, wanted.method, wanted.path)) is not None]
        if found and (len(found) == 1 or found[0].destination.default):
            return found[0]
        if found:
            names = ", ".join(match.destination.name for match in found)
            raise Denied("unknown_route", reasons=[f"the base URL must name the upstream, one of {names}"])
        raise Denied("unknown_route")


def _match(destination: Destination, method: str, path: str) -> Match | None:
    found = _routes(destination.provider).find(method, path)
    return None if found is None else Match(destination, Endpoint(destination.name, found[0], path, found[1]))
