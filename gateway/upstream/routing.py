"""Which route a path means, and which upstream it leads to.

`/<upstream>/v1/chat/completions` names an upstream; `/v1/chat/completions` means the default one of the agent's
organization or, if that has no such route, the only other one that has it. The path is compared as it came, byte by
byte: no decoding, no folding, no dot segments, so that no two parties can read it differently. The URL that is called
is built from the route, never from the request; a parameter of a route is one segment of plain characters, which cannot
hold a slash or an escape. An upstream belongs to an organization, so a path is matched in two halves: what it asks for
before authentication, where that goes after it. `wrong_route.py` explains the paths that
lead nowhere. Specification: docs/architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, field

from gateway.errors import Denied, did_you_mean
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
    # What it was added as (`openai`, `groq`, `azure`, …), by which its prices are found.
    preset: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """The first half: a path that some provider has a route for, or that may be one of a JSON API.

    A path can be read in two ways where a provider's own begin like an upstream's name (`/openai/v1/…` of Azure). The
    upstream of that name comes first.
    """

    method: str
    path: str
    # The upstream's name and what follows it, if that is or may be a route.
    named: tuple[str, str] | None
    # The whole path is a route.
    plain: bool
    # Speaks for the path until the upstream is known: errors have its shape. None if no provider has such a route.
    provider: Provider | None


@dataclass(frozen=True, slots=True)
class Match:
    """The second half: where the request of an organization goes, and what it means there."""

    destination: Destination
    endpoint: Endpoint


@functools.lru_cache(maxsize=256)
def target(method: str, raw_path: bytes) -> Target:
    """What this method and path ask for, or `Denied` with `unknown_route` or `wrong_method`. Needs no registry."""
    path = raw_path.decode("latin-1")
    plain, named = _speaker(method, path), split(path)
    if named is not None and (speaker := _speaker(method, named[1])) is not None:
        return Target(method, path, named, plain is not None, speaker)
    if plain is not None:
        return Target(method, path, None, True, plain)
    if named is not None:
        # Upstreams of JSON APIs have routes of their own, which are known when the organization is.
        return Target(method, path, named, False, wrong_route.speaker(path))
    raise wrong_route.unknown(method, path)


def _speaker(method: str, path: str) -> Provider | None:
    """The provider of the first family that has this route."""
    return next((routes.provider for routes in FAMILIES if routes.find(method, path) is not None), None)


class RouteTable:
    """All routes of all upstreams as of one reading of the registry. Immutable but for what it has found already."""

    def __init__(self, destinations: Iterable[Destination]) -> None:
        # Of each organization by name, the default first.
        self._upstreams: dict[str, dict[str, Destination]] = {}
        for each in sorted(destinations, key=lambda one: not one.default):
            self._upstreams.setdefault(each.organization, {})[each.name] = each
        # Most requests have no parameters, so what they mean is worked out once.
        self._matches: dict[tuple[str, Target], Match] = {}

    def resolve(self, organization: str, wanted: Target) -> Match:
        """Where the request goes, or `Denied` with `unknown_route`."""
        match = self._matches.get((organization, wanted))
        if match is None:
            match = self._find(organization, wanted)
            if not match.endpoint.params:
                self._matches[organization, wanted] = match
        if match.destination.fault:
            raise Denied("upstream_unavailable", match.destination.fault)
        return match

    def _find(self, organization: str, wanted: Target) -> Match:
        upstreams = self._upstreams.get(organization, {})
        if wanted.named is not None and (named := upstreams.get(wanted.named[0])) is not None:
            match = _match(named, wanted.method, wanted.named[1])
            if match is None:
                raise wrong_route.unknown(wanted.method, wanted.path, [routes_of(named.provider)])
            return match
        if not wanted.plain:
            assert wanted.named is not None
            speaker = _speaker(wanted.method, wanted.named[1])
            if speaker is None:
                raise wrong_route.unknown(wanted.method, wanted.path)
            raise _no_upstream(wanted, speaker.prefix, upstreams)
        default = next(iter(upstreams.values()), None)
        if default is None or not default.default:
            prefix = wanted.provider.prefix if wanted.provider is not None else ""
            cause = f"no upstream is the default: name one in the base URL, as in /NAME{prefix}"
            cause += ", or make one the default with `gateway upstreams add … --default`"
            raise wrong_route.refusal(wanted.method, wanted.path, cause)
        found = [
            match for each in upstreams.values() if (match := _match(each, wanted.method, wanted.path)) is not None
        ]
        if not found:
            raise wrong_route.unknown(wanted.method, wanted.path, [routes_of(default.provider)])
        if len(found) > 1 and not found[0].destination.default:
            names = ", ".join(match.destination.name for match in found)
            cause = f"several upstreams serve this: name one in the base URL, of {names}"
            raise wrong_route.refusal(wanted.method, wanted.path, cause)
        return found[0]


def _match(destination: Destination, method: str, path: str) -> Match | None:
    found = routes_of(destination.provider).find(method, path)
    return None if found is None else Match(destination, Endpoint(destination.name, found[0], path, found[1]))


def _no_upstream(wanted: Target, prefix: str, upstreams: Iterable[str]) -> Denied:
    """The refusal of an upstream that this organization does not have; other organizations' are not looked at."""
    assert wanted.named is not None
    name = wanted.named[0]
    if f"/{name}" == prefix:
        cause = wrong_route.twice(prefix)
    elif wrong_route.is_version(name):
        cause = f"the base URL must end before `/{name}`: the client adds the version itself"
    else:
        cause = f"there is no upstream {shown(name)}, which the base URL names"
        if hint := did_you_mean(name, upstreams):
            cause += f": {hint}"
    return wrong_route.refusal(wanted.method, wanted.path, cause)
