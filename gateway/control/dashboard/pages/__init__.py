"""The pages, by their paths: a file for each section, with a list `PAGES`."""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

from gateway.control.dashboard.pages import (
    account,
    agent,
    agents,
    approvals,
    bindings,
    commits,
    decisions,
    home,
    limits,
    log,
    operators,
    organization,
    permissions,
    policies,
    routes,
    stops,
    teams,
    tools,
    upstreams,
    usage,
    webhooks,
    whole,
)
from gateway.control.dashboard.shown import ShownPage
from gateway.control.problems import Problem

_FILES: Final = (
    account,
    home,
    agents,
    agent,
    permissions,
    decisions,
    approvals,
    policies,
    commits,
    usage,
    limits,
    bindings,
    upstreams,
    tools,
    routes,
    log,
    organization,
    operators,
    teams,
    stops,
    webhooks,
    whole,
)
PAGES: Final[tuple[ShownPage, ...]] = tuple(page for file in _FILES for page in file.PAGES)
_TABLE: Final = [
    (page.pattern, page)
    for page in sorted(PAGES, key=lambda each: [part.startswith("{") for part in each.path.split("/")])
]
"""In the order of trial: a name goes before a parameter."""


def find(target: str, changes: bool) -> tuple[ShownPage, dict[str, str]]:
    """The page at a path as it was sent, and the names in the path. Each part is decoded by itself."""
    for pattern, page in _TABLE:
        if page.changes == changes and (found := pattern.fullmatch(target)) is not None:
            try:
                return page, {name: unquote(text, errors="strict") for name, text in found.groupdict().items()}
            except UnicodeDecodeError:
                break
    raise Problem(404, "unknown_page", "there is no such page", hint="go on from the first page")
