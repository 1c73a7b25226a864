"""The routes of each provider, ready to be looked up by method and path.

A path is compared as it came, byte by byte. A parameter of a route is one segment of plain characters, which cannot
hold a slash or an escape. The upstream that a path leads to is found in `routing.py`.
Specification: architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
import re

from gateway.errors import Denied
from gateway.upstream.providers.base import Provider, Route
from gateway.upstream.providers.presets import PROVIDERS
from gateway.upstream.strict_json import shown

# A name is one segment; the registry decides whether there is such an upstream.
_NAMED = re.compile(r"/([A-Za-z0-9._-]{1,128})(/.*)", re.ASCII)
_PARAMETER = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}", re.ASCII)
_SEGMENT = "[A-Za-z0-9._:-]{1,128}"


class Routes:
    """The routes of one provider."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self._plain: dict[tuple[str, str], Route] = {}
        self._templates: list[tuple[str, re.Pattern[str], Route]] = []
        # If a colon follows some parameter, as before a method of Google's, it separates and stands in none.
        segment = _SEGMENT.replace(":", "") if any("}:" in each.path for each in provider.routes) else _SEGMENT
        for route in provider.routes:
            path = provider.prefix + route.path
            if "{" in path:
                self._templates.append((route.method, _pattern(path, segment), route))
            else:
                self._plain[route.method, path] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]] | None:
        """The route of this path and its parameters. A route without parameters comes before one with them.

        `Denied` if several routes with parameters match: the upstream could take another one than was judged.
        """
        plain = self._plain.get((method, path))
        if plain is not None:
            return plain, {}
        found = self._matching(method, path)
        if len(found) > 1:
            names = " and ".join(f"`{route.path}`" for route, _ in found)
            raise Denied("unknown_route", reasons=[f"{shown(path, 256)} could be read as {names}"])
        return found[0] if found else None

    def _matching(self, method: str, path: str) -> list[tuple[Route, dict[str, str]]]:
        return [
            (route, found.groupdict())
            for its_method, pattern, route in self._templates
            if its_method == method and (found := pattern.fullmatch(path)) is not None
        ]

    def methods(self, path: str) -> list[str]:
        """The methods that some route takes at this path."""
        methods = {route.method for route in self.provider.routes}
        return sorted(each for each in methods if (each, path) in self._plain or self._matching(each, path))


def _pattern(path: str, segment: str) -> re.Pattern[str]:
    parts = _PARAMETER.split(path)  # text, name, text, name, …, text
    texts = [f"(?P<{part}>{segment})" if at % 2 else re.escape(part) for at, part in enumerate(parts)]
    return re.compile("".join(texts), re.ASCII)


# Providers of JSON APIs come and go with their upstreams.
routes_of = functools.lru_cache(maxsize=1024)(Routes)

_FIRST = {provider.name: provider for provider in reversed(PROVIDERS.values())}
FAMILIES = [routes_of(_FIRST[name]) for name in dict.fromkeys(each.name for each in PROVIDERS.values())]
"""One of each family, in the order of the presets: providers of one family have the same routes."""


def split(path: str) -> tuple[str, str] | None:
    """The first segment, which may be the name of an upstream, and what follows it."""
    named = _NAMED.fullmatch(path)
    return None if named is None else (named[1], named[2])
