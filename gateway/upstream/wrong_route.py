"""Refusals of requests for which there is no route: they say what is served, and what is probably wrong.

Nobody is authenticated yet when most of them are made, so they tell only what every gateway of this version has in
common, and what the client sent. An SDK adds a path to its base URL (some with the version, some without), so a wrong
path is nearly always a wrong base URL, or an API that is not served.
Specification: docs/architecture.md, section 7, step 2.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence

from gateway.errors import Denied
from gateway.upstream.providers.base import Provider
from gateway.upstream.routes import FAMILIES, Routes, split
from gateway.upstream.strict_json import shown

_MAX_PATH = 256
_MAX_LISTED = 20
# Many clients have these, and many people try them first. What a provider serves is not looked up here.
_KNOWN_APIS = {
    "/batches": "batches, whose calls no policy would see",
    "/assistants": "the Assistants API: use responses",
    "/threads": "the Assistants API: use responses",
    "/realtime": "the Realtime API",
    "/fine_tuning": "fine-tuning",
    "/uploads": "uploads in parts: upload the file in one request",
    "/containers": "containers by their own paths",
    "/videos": "videos",
}
# Of state that belongs to single agents; a list would show all of it.
_UNSERVED_LISTS = {"/files": "files", "/vector_stores": "vector stores"}


def unknown(method: str, path: str, families: Sequence[Routes] = FAMILIES) -> Denied:
    """The refusal of a path that none of these families has a route for, or none that takes this method."""
    if methods := _methods(path, families):
        taken = " or ".join(methods)
        listed = next((name for end, name in _UNSERVED_LISTS.items() if method == "GET" and path.endswith(end)), None)
        why = [] if listed is None else [f"the list of {listed} is not served: it would show those of other agents"]
        return Denied(
            "wrong_method",
            reasons=[f"{_asked(method, path)} is no route: this path takes {taken}", *why],
            headers=[(b"allow", ", ".join(methods).encode())],
        )
    return refusal(method, path, _cause(path, families), families)


def refusal(method: str, path: str, cause: str, families: Sequence[Routes] = FAMILIES) -> Denied:
    """The refusal of a path that leads nowhere for this cause."""
    like = [family for family in families if family.provider is speaker(path)]
    return Denied("unknown_route", reasons=[_asked(method, path), cause, _served(like or families)])


def speaker(path: str) -> Provider | None:
    """The provider in whose shape such a refusal is made: the one that the path looks like, if there is one."""
    providers = [family.provider for family in FAMILIES]
    by_route = [each for each in providers if any(route.path in path for route in each.routes)]
    # Where the version is not a prefix: what stands before a model in its paths.
    by_model = [
        each
        for each in providers
        if not each.prefix and any(route.path.partition("{")[0] in path for route in each.routes if "{" in route.path)
    ]
    by_prefix = [each for each in providers if any(f"{start}/" in f"{path}/" for start in _starts(each))]
    return next(iter([*by_model, *by_route, *by_prefix]), None)


def _asked(method: str, path: str) -> str:
    return shown(f"{method} {path}", _MAX_PATH)


def _methods(path: str, families: Sequence[Routes]) -> list[str]:
    named = split(path)
    paths = [path] if named is None else [path, named[1]]
    return sorted({method for family in families for each in paths for method in family.methods(each)})


def _served(families: Sequence[Routes]) -> str:
    """The paths that make something. The others with parameters are about what these have made."""
    listed = []
    for family in families:
        paths: dict[str, str] = {}
        for route in family.provider.routes:
            if "{" not in route.path or route.body == "json":
                # Of the paths under which one method is served, the first.
                paths.setdefault(route.path.rpartition("}")[2], family.provider.prefix + route.path)
        found = list(paths.values())
        more = ", …" if len(found) > _MAX_LISTED else ""
        listed.append(f"{family.provider.name}: {', '.join(found[:_MAX_LISTED])}{more}")
    return f"this gateway serves, of {'; of '.join(listed)}; each also under /NAME for the upstream NAME"


def _cause(path: str, families: Sequence[Routes]) -> str:
    """What is probably wrong: the base URL, if the path would be a route with another one; or what was asked for."""
    plain = re.sub(r"/{2,}", "/", path).rstrip("/")
    if _methods(plain, families):
        return "the path has a slash too many: is there one at the end of the base URL?"
    for family in families:
        for start in _starts(family.provider):
            if any(_methods(each, families) for each in _with(plain, start)):
                return f"`{start}` is missing: the base URL should end in it"
            if _methods(_once(plain, start), families):
                return twice(start)
        if any(_methods(plain.removesuffix(route.path), families) for route in family.provider.routes):
            return "the path has a route twice: take it out of the base URL, because the client adds it"
    for name, called in _KNOWN_APIS.items():
        if re.search(rf"{name}(?:/|$)", plain):
            return f"this gateway does not serve {called}"
    return "the usual causes are a base URL without `/v1` or with it twice, and an API that is not served"


@functools.lru_cache(maxsize=256)
def _starts(provider: Provider) -> tuple[str, ...]:
    """How the paths of a provider begin: with its prefix or, where clients add the version, with that."""
    if provider.prefix:
        return (provider.prefix,)
    first = dict.fromkeys(route.path.split("/")[1] for route in provider.routes)
    return tuple(f"/{segment}" for segment in first if is_version(segment))


def is_version(segment: str) -> bool:
    """Whether a first segment is a version, such as `v1beta`, rather than the name of an upstream."""
    return re.fullmatch(r"v\d[a-z0-9]*", segment) is not None


def twice(prefix: str) -> str:
    """What to do about a prefix that is in the base URL and in what the client adds."""
    return f"the path has `{prefix}` twice: take one out of the base URL"


def _once(path: str, prefix: str) -> str:
    """The path with the prefix once where it stands several times in a row."""
    return re.sub(rf"(?:{re.escape(prefix)}){{2,}}(?=/)", prefix, path)


def _with(path: str, prefix: str) -> list[str]:
    """The path with the prefix in either of its places: at the beginning, or after an upstream's name."""
    named = split(path)
    if named is None or is_version(named[0]):
        return [prefix + path]
    return [prefix + path, f"/{named[0]}{prefix}{named[1]}"]
