"""Several MCP servers as one: the names of their tools and prompts, and one list made of all of theirs.

A tool is called `SERVER__TOOL`. Names of servers and of tools may hold the separator themselves, so a name belongs to
the longest name of a server that it begins with. A tool whose name would belong to another server has none here, and
neither has one whose name would be too long: both are called at their own server's path.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NamedTuple

from gateway.frozen import frozen
from gateway.mcp import eras
from gateway.mcp.exchange import CURRENT, ONLY_CURRENT, SERVER_KEY
from gateway.mcp.pins import MAX_NAME

PATH: Final = "/mcp"
"""The path at which agents find all servers of their organization as one."""
SEPARATOR: Final = "__"
SERVERS_KEY: Final = "agent-identity-gateway/servers"
"""The member of a list's `_meta` that says which servers it is made of, and what is missing of which."""

_MOST_NAMED: Final = 20


class Listed(NamedTuple):
    """The members of a list's answer: the list itself, and in each of its items the one by which it is used."""

    member: str
    key: str
    # The key is a name, which has the server's before it here. A URI stays as it is.
    named: bool


LISTS: Final[Mapping[str, Listed]] = {
    "tools/list": Listed("tools", "name", True),
    "prompts/list": Listed("prompts", "name", True),
    "resources/list": Listed("resources", "uri", False),
    "resources/templates/list": Listed("resourceTemplates", "uriTemplate", False),
}


@frozen()
class Part:
    """One server's part of a list, from all of its pages. `error` says why it is not whole; empty if it is."""

    server: str
    items: tuple[dict[str, Any], ...] = ()
    decisions: tuple[str, ...] = ()
    reason: str = ""
    error: str = ""
    # The gateway has refused the request itself, as policies or limits want it.
    refused: Mapping[str, Any] | None = None


def exposed(server: str, name: str) -> str:
    """The name of a server's tool or prompt among those of all servers."""
    return f"{server}{SEPARATOR}{name}"


def owner(name: str, servers: Collection[str]) -> tuple[str, str] | None:
    """The server that such a name belongs to, and the server's own name for the thing; None if it is nobody's."""
    at = name.rfind(SEPARATOR)
    while at > 0:
        if name[:at] in servers and len(name) > at + len(SEPARATOR):
            return name[:at], name[at + len(SEPARATOR) :]
        at = name.rfind(SEPARATOR, 0, at + len(SEPARATOR) - 1)
    return None


def has_name(server: str, name: str, servers: Collection[str]) -> bool:
    """True if a tool or prompt of this server can be called among those of all servers."""
    whole = exposed(server, name)
    return len(whole) <= MAX_NAME and owner(whole, servers) == (server, name)


def result(method: str, parts: Iterable[Part], servers: Collection[str]) -> dict[str, Any]:
    """One list of those of several servers, as revision 2026-07-28 has it."""
    listed = LISTS[method]
    items: list[dict[str, Any]] = []
    told: list[dict[str, Any]] = []
    for part in parts:
        about: dict[str, Any] = {"server": part.server, "decisions": [*part.decisions]}
        without: list[str] = []
        for item in part.items:
            key = item.get(listed.key)
            if not isinstance(key, str):
                continue
            if not listed.named:
                items.append(item)
            elif has_name(part.server, key, servers):
                items.append({**item, listed.key: exposed(part.server, key)})
            else:
                without.append(key)
        if part.reason:
            about |= {"reason": part.reason, "message": part.error}
        if without:
            about["without_name"] = without[:_MOST_NAMED]
            about["why"] = f"call them at /{part.server}{PATH}: their names here would be too long, or another server's"
        told.append(about)
    return complete({listed.member: items, "_meta": {SERVERS_KEY: told}}, is_list=True)


def complete(found: Mapping[str, Any], *, is_list: bool = False) -> dict[str, Any]:
    """A result of the gateway itself, as revision 2026-07-28 has it."""
    meta = {SERVER_KEY: eras.CLIENT, **found.get("_meta", {})}
    about: dict[str, Any] = {"resultType": "complete"}
    if is_list:
        about |= {"ttlMs": 0, "cacheScope": "private"}  # another agent may be shown other tools
    return {**found, **about, "_meta": meta}


def for_era(found: Mapping[str, Any], *, older: bool) -> dict[str, Any]:
    """Such a result for a client of this era."""
    if not older:
        return dict(found)
    kept = {name: value for name, value in found.items() if name not in ONLY_CURRENT}
    kept["_meta"] = {name: value for name, value in kept["_meta"].items() if name != SERVER_KEY}
    if not kept["_meta"]:
        del kept["_meta"]
    return kept


def about(version: str, *, older: bool) -> dict[str, Any]:
    """What the servers are together, for a client that begins."""
    found: dict[str, Any] = {
        "capabilities": {"tools": {}, "prompts": {}, "resources": {}, "completions": {}},
        "instructions": (
            f"Several servers as one: a tool or prompt is called SERVER{SEPARATOR}NAME. "
            f"`_meta` of a list says under `{SERVERS_KEY}` which servers it is made of, and which are missing."
        ),
    }
    if older:
        return found | {
            "protocolVersion": version if version in eras.OLD else eras.OLD[0],
            "serverInfo": dict(eras.CLIENT),
        }
    return complete(found | {"supportedVersions": [*CURRENT, *eras.OLD]}, is_list=True)
