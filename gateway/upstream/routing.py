"""Finds the route that a path means, and the upstream that it leads to.

`/<upstream>/v1/chat/completions` names an upstream; `/v1/chat/completions` means the default one of the agent's
organization or, if that has no such route, the only other one that has it. The name of a pool may stand in the place of
a name: several upstreams of one API that take each other's place. `/mcp` means all MCP servers as one. The path is
compared as it came, byte by byte: no decoding, no folding, no dot segments, so that no two parties can read it
differently. The URL that is called is built from the route, never from the request; a parameter of a route is one
segment of plain characters, which cannot hold a slash or an escape. An upstream belongs to an organization, so a path
is matched in two halves: what it asks for before authentication, where that goes after it. `wrong_route.py` explains
the paths that lead nowhere. Specification: architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gateway.a2a.cards import PROVIDER, Published
from gateway.errors import Denied, did_you_mean
from gateway.frozen import frozen
from gateway.identity.call_tokens import KEY
from gateway.identity.key_scope import KeyScope
from gateway.mcp import joined
from gateway.outbound.addresses import PUBLIC
from gateway.upstream import wrong_route
from gateway.upstream.providers.base import Endpoint, Provider
from gateway.upstream.providers.mcp.joined import Joined
from gateway.upstream.providers.mcp.provider import Mcp
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.routes import FAMILIES, Routes, routes_of, split
from gateway.upstream.strict_json import shown

# The segment that clients of one maker put before the version, by the preset of the upstream. Groq's end their base URL
# before `/openai/v1`, so with the upstream's name as its end they ask for `/groq/openai/v1/…`.
_PUBLISHED = re.compile(r"/a2a/([A-Za-z0-9][A-Za-z0-9._-]{0,62})/([A-Za-z0-9][A-Za-z0-9._-]{0,62})", re.ASCII)

_MCP = re.compile(r"/([A-Za-z0-9][A-Za-z0-9._-]{0,62})/mcp", re.ASCII)
_OWN_STARTS = {"groq": "/openai"}


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
    # The reason why it cannot be used, although it is configured; empty otherwise.
    fault: str = ""
    # The preset that it was added as (`openai`, `groq`, `azure`, …), by which its prices are found.
    preset: str = ""
    # The addresses that its host may have.
    reach: str = PUBLIC
    # Sent with every call.
    headers: Mapping[str, str] = field(default_factory=dict, hash=False)
    # The kind of its credentials (`identity/call_tokens.py`).
    auth: str = KEY
    # The agent behind it, which others may call if its side lets them; None for any other upstream.
    published: Published | None = field(default=None, hash=False)
    # The organization and the name of the agent behind another gateway that it is; None for any other upstream.
    remote: tuple[str, str] | None = None
    # Results that others have worked out from the rest, by a name of theirs, so that it is done once for all requests.
    derived: dict[str, Any] = field(default_factory=dict, init=False, compare=False, repr=False)


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


@frozen()
class Match:
    """The second half: where the request of an organization goes, and what it means there."""

    destination: Destination
    endpoint: Endpoint
    # The upstream's names of models that clients call otherwise, as pairs.
    renames: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PoolMember:
    """An upstream (its id) of a pool. A tier is tried when all before it failed; within one, weights draw the order."""

    upstream: str
    weight: int
    tier: int
    renames: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Pool:
    """A route of `gateway routes`: several upstreams of an organization under one name."""

    organization: str
    name: str
    default: bool
    members: tuple[PoolMember, ...]


@dataclass(frozen=True, slots=True)
class Choices:
    """The second half of a request to a pool: its members that serve the request, and what it means at each."""

    pool: str
    members: tuple[tuple[PoolMember, Match], ...]


def resource(path: str) -> KeyScope | None:
    """The scope of a key for what is a resource of its own at this path; None for any other path.

    That is an MCP server, the published agent of an organization, or all MCP servers together. It need not exist.
    """
    if path == joined.PATH:
        return KeyScope(actions=("mcp.*",))
    if (server := _MCP.fullmatch(path)) is not None:
        return KeyScope(upstreams=(server[1],))
    agent = _PUBLISHED.fullmatch(path)
    return None if agent is None else KeyScope(upstreams=(f"{agent[1]}/{agent[2]}",))


@functools.lru_cache(maxsize=256)
def target(method: str, raw_path: bytes) -> Target:
    """The target of this method and path, or `Denied` with `unknown_route` or `wrong_method`. Needs no registry."""
    path = raw_path.decode("latin-1")
    plain, named = _speaker(method, path), split(path)
    if _PUBLISHED.fullmatch(path):
        return Target(method, path, named, False, PROVIDERS[PROVIDER])
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

    def __init__(self, destinations: Iterable[Destination], pools: Iterable[Pool] = ()) -> None:
        # The destinations of each organization by name, the default first.
        self._upstreams: dict[str, dict[str, Destination]] = {}
        for each in sorted(destinations, key=lambda one: not one.default):
            self._upstreams.setdefault(each.organization, {})[each.name] = each
        self._pools: dict[str, dict[str, Pool]] = {}
        for pool in pools:
            self._pools.setdefault(pool.organization, {})[pool.name] = pool
        # Most requests have no parameters, so what they mean is worked out once.
        self._matches: dict[tuple[str, Target], Match | Choices] = {}

    def named(self, organization: str, name: str) -> Destination | None:
        """The upstream of this name."""
        return self._upstreams.get(organization, {}).get(name)

    def resolve(self, organization: str, wanted: Target) -> Match | Choices:
        """The match where the request goes, or may go; `Denied` with `unknown_route` or `upstream_unavailable`."""
        found = self._matches.get((organization, wanted))
        if found is None:
            found = (
                self._find_joined(organization, wanted)
                or self._find_pool(organization, wanted)
                or self._find(organization, wanted)
            )
            match = found if isinstance(found, Match) else found.members[0][1]
            if not match.endpoint.params:
                self._matches[organization, wanted] = found
        if isinstance(found, Match) and found.destination.fault:
            raise Denied("upstream_unavailable", found.destination.fault)
        return found

    def _find_joined(self, organization: str, wanted: Target) -> Match | None:
        """All MCP servers of the organization as one, if the path means that."""
        if wanted.path != joined.PATH:
            return None
        upstreams = self._upstreams.get(organization, {})
        servers = {name: each.provider for name, each in sorted(upstreams.items()) if isinstance(each.provider, Mcp)}
        if not servers:
            cause = "there is no MCP server: add one with `gateway upstreams add NAME --provider mcp --base-url URL`"
            raise wrong_route.refusal(wanted.method, wanted.path, cause)
        provider = Joined(servers)
        # No upstream has such a name.
        destination = Destination("", organization, joined.PATH, provider, "", default=False, secret=None)
        if (match := _match(destination, wanted.method, wanted.path)) is None:
            raise wrong_route.unknown(wanted.method, wanted.path, [Routes(provider)])
        return match

    def _find_pool(self, organization: str, wanted: Target) -> Choices | None:
        """The members of the pool that the path names, or of the default one; None if no pool is meant."""
        pools = self._pools.get(organization)
        if pools is None:
            return None
        upstreams = self._upstreams.get(organization, {})
        by_name = wanted.named is not None and wanted.named[0] in pools
        if wanted.named is not None and by_name:
            pool, path = pools[wanted.named[0]], wanted.named[1]
        else:
            default = next((each for each in pools.values() if each.default), None)
            named = wanted.named is not None and wanted.named[0] in upstreams
            if default is None or named or not wanted.plain:
                return None
            pool, path = default, wanted.path
        by_id = {each.id: each for each in upstreams.values()}
        members = [(each, by_id[each.upstream]) for each in pool.members if each.upstream in by_id]
        if not members:
            cause = f"the route `{pool.name}` has no upstream left: its operator must set it again"
            raise wrong_route.refusal(wanted.method, wanted.path, cause)
        usable = [(each, destination) for each, destination in members if not destination.fault]
        if not usable:
            raise Denied("upstream_unavailable", members[0][1].fault)
        found = _choices(pool, usable, wanted.method, path)
        if found is None and by_name:
            raise wrong_route.unknown(wanted.method, wanted.path, [routes_of(usable[0][1].provider)])
        return found  # if it is None, another upstream may serve this, as with a default one

    def published(self, path: str) -> Destination | None:
        """The published agent that a path names (`cards.path`), of whichever organization."""
        if (parts := _PUBLISHED.fullmatch(path)) is None:
            return None
        found = self.named(parts[1], parts[2])
        return None if found is None or found.published is None else found

    def publishes(self, organization: str) -> bool:
        """True if the organization has published an agent."""
        return any(each.published is not None for each in self._upstreams.get(organization, {}).values())

    def _find(self, organization: str, wanted: Target) -> Match:
        upstreams = self._upstreams.get(organization, {})
        if _PUBLISHED.fullmatch(wanted.path) and "a2a" not in upstreams:
            callee = self.published(wanted.path)
            if callee is None:
                raise wrong_route.refusal(wanted.method, wanted.path, "no agent is published at this path")
            [route] = callee.provider.routes
            if wanted.method != route.method:
                raise wrong_route.unknown(wanted.method, wanted.path, [routes_of(callee.provider)])
            return Match(callee, Endpoint(callee.name, route, wanted.path))
        if wanted.named is not None and (named := upstreams.get(wanted.named[0])) is not None:
            ways = (way(named, wanted.method, wanted.named[1]) for way in _WAYS)
            match = next(filter(None, ways), None)
            if match is None:
                raise wrong_route.unknown(wanted.method, wanted.path, [routes_of(named.provider)])
            return match
        if not wanted.plain:
            assert wanted.named is not None
            speaker = _speaker(wanted.method, wanted.named[1])
            if speaker is None:
                raise wrong_route.unknown(wanted.method, wanted.path)
            raise _no_upstream(wanted, speaker.prefix, [*upstreams, *self._pools.get(organization, ())])
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


def _own(destination: Destination, method: str, path: str) -> Match | None:
    """The same route as the clients of this upstream's maker write it."""
    start = _OWN_STARTS.get(destination.preset)
    if start is None or not path.startswith(f"{start}{destination.provider.prefix}/"):
        return None
    return _match(destination, method, path.removeprefix(start))


def _without_version(destination: Destination, method: str, path: str) -> Match | None:
    """Anthropic's messages without the version, so that one base URL does for its clients and for OpenAI's: those add
    no version, and these add one.
    """
    match = _match(destination, method, destination.provider.prefix + path)
    return match if match is not None and match.endpoint.route.action.startswith("messages") else None


_WAYS = (_match, _own, _without_version)


def _choices(pool: Pool, members: Iterable[tuple[PoolMember, Destination]], method: str, path: str) -> Choices | None:
    """The match of a request to a pool at each of these members that serves it; None if none does.

    A request must be the same one at all of them: what one member's route lets through, all others let through too.
    """
    members = tuple(members)
    found = _matches(members, lambda each: _match(each, method, path) or _below(each, method, path))
    found = found or _matches(members, lambda each: _own(each, method, path) or _without_version(each, method, path))
    if not found:
        return None
    query = frozenset.intersection(*(match.endpoint.route.query for _, match in found))
    return Choices(pool.name, tuple((member, _with_query(match, query)) for member, match in found))


def _matches(
    members: Iterable[tuple[PoolMember, Destination]], match_at: Callable[[Destination], Match | None]
) -> list[tuple[PoolMember, Match]]:
    found: list[tuple[PoolMember, Match]] = []
    for member, destination in members:
        match = match_at(destination)
        if match is not None and (not found or _alike(found[0][1], match)):
            found.append((member, replace(match, renames=member.renames)))
    return found


def _below(destination: Destination, method: str, path: str) -> Match | None:
    """The same route of a family that serves it under a longer path, as Azure serves `/v1/…` under `/openai/v1/…`."""
    for route in destination.provider.routes:
        start, version, _ = route.path.partition("/v1/")
        if start and version and "{" not in start:
            return _match(destination, method, start + path)
    return None


def _alike(first: Match, other: Match) -> bool:
    one, two = first.endpoint.route, other.endpoint.route
    return (one.action, one.body, one.request_headers) == (two.action, two.body, two.request_headers)


def _with_query(match: Match, query: frozenset[str]) -> Match:
    return replace(match, endpoint=replace(match.endpoint, route=replace(match.endpoint.route, query=query)))


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
