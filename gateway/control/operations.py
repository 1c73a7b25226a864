"""All operations, by the first part of their paths: who needs one imports the files of its noun, and no others."""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.control import api
from gateway.control.operation import DECLARED, Operation

PREFIX: Final = "/api/v1"

_ELSEWHERE: Final[dict[str, tuple[str, ...]]] = {
    "login": ("logins",),
    "logout": ("logins",),
    "me": ("operators",),
    "operator-tokens": ("operators",),
    "agents": ("agents", "overviews", "permissions", "keys", "cards", "access"),
    "card-keys": ("cards",),
    "peer-keys": ("peers",),
    "standing": ("agents",),
    "decide": ("dry_runs",),
    "audit": ("audit", "evidence", "framework_reports", "retrials", "verifications"),
    "policies": ("policies", "commits", "impacts"),
    "vault": ("secret_keys",),
    "peppers": ("secret_keys",),
}
"""For the first part of a path the files of `api/` with its operations, unless it is the one of the same name."""


def every() -> list[Operation]:
    """All that are served, in the order of the API's document."""
    return [each for file in _files() for each in _of(file) if not each.here]


def table(noun: str) -> Iterator[tuple[re.Pattern[bytes], Operation]]:
    """Yield operations whose paths begin with a noun, in order of trial. A file is imported if those before lack it."""
    for file in _ELSEWHERE.get(noun, (noun.replace("-", "_"),)):
        if file in _files():
            yield from matchers(_of(file))


def matchers(operations: Iterable[Operation]) -> list[tuple[re.Pattern[bytes], Operation]]:
    """Operations with the patterns of their paths, in the order of trial: a name goes before a parameter."""
    ordered = sorted(operations, key=lambda each: [part.startswith("{") for part in each.path.split("/")])
    return [(_pattern(each.path), each) for each in ordered]


def _files() -> list[str]:
    return sorted(each.name for each in pkgutil.iter_modules(api.__path__))


def _of(file: str) -> list[Operation]:
    return DECLARED[importlib.import_module(f"gateway.control.api.{file}").__name__]


def _pattern(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile((re.escape(PREFIX) + text).encode())
