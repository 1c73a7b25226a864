"""All operations, by the first part of their paths: who needs one imports the files of its noun, and no others."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator
from typing import Final

from gateway.control.operation import DECLARED, Operation

PREFIX: Final = "/api/v1"

_FILES: Final[dict[str, tuple[str, ...]]] = {
    "login": ("logins",),
    "logout": ("logins",),
    "me": ("operators",),
    "operators": ("operators",),
    "operator-tokens": ("operators",),
    "login-providers": ("login_providers",),
    "organizations": ("organizations",),
    "teams": ("teams",),
    "agents": ("agents", "overviews", "permissions", "keys"),
    "standing": ("agents",),
    "permissions": ("permissions",),
    "decide": ("dry_runs",),
    "keys": ("keys",),
    "bindings": ("bindings",),
    "limits": ("limits",),
    "upstreams": ("upstreams",),
    "routes": ("routes",),
    "issuers": ("issuers",),
    "adoptions": ("adoptions",),
    "fleet": ("fleet",),
    "webhooks": ("webhooks",),
    "approvals": ("approvals",),
    "stops": ("stops",),
    "token-keys": ("token_keys",),
    "vault": ("secret_keys",),
    "peppers": ("secret_keys",),
    "audit": ("audit",),
    "usage": ("usage",),
    "policies": ("policies",),
    "status": ("status",),
    "prices": ("prices",),
    "events": ("events",),
}
"""For the first part of a path the files of `api/` that have its operations, the most used first."""


def every() -> list[Operation]:
    """All that are served, in the order of the API's document."""
    files = dict.fromkeys(file for files in _FILES.values() for file in files)
    return [each for file in files for each in _of(file) if not each.here]


def table(noun: str) -> Iterator[tuple[re.Pattern[bytes], Operation]]:
    """Those whose paths begin with a noun, in the order of trial. A file is imported if those before have it not."""
    for file in _FILES.get(noun, ()):
        yield from matchers(_of(file))


def matchers(operations: Iterable[Operation]) -> list[tuple[re.Pattern[bytes], Operation]]:
    """Operations with the patterns of their paths, in the order of trial: a name goes before a parameter."""
    ordered = sorted(operations, key=lambda each: [part.startswith("{") for part in each.path.split("/")])
    return [(_pattern(each.path), each) for each in ordered]


def _of(file: str) -> list[Operation]:
    return DECLARED[importlib.import_module(f"gateway.control.api.{file}").__name__]


def _pattern(path: str) -> re.Pattern[bytes]:
    parts = re.split(r"\{(\w+)\}", path)
    text = "".join(f"(?P<{part}>[^/]+)" if number % 2 else re.escape(part) for number, part in enumerate(parts))
    return re.compile((re.escape(PREFIX) + text).encode())
