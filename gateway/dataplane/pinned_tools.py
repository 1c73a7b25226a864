"""The tools of MCP servers as a worker knows them: what was approved of each, checked against its digest.

A row that does not fit its digest was changed behind the registry's back, so its server cannot be used.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import orjson

from gateway.mcp.pins import STATES, Pin, Pins, tool_digest
from gateway.registry.port import ToolRow

_NO_PINS = Pins({})


def of(rows: Iterable[ToolRow], before: Mapping[str, Pins]) -> dict[str, Pins]:
    """The tools by the ids of their upstreams. Those that were known `before` are not read again."""
    found: dict[str, dict[str, Pin]] = defaultdict(dict)
    faults: dict[str, str] = {}
    for row in rows:
        known = before.get(row.upstream, _NO_PINS).tools.get(row.name)
        if known is None or (known.digest, known.state) != (row.digest, row.state):
            known = _pin(row)
        if known is None:
            faults[row.upstream] = "what was approved of its tools is damaged: restore the registry from a backup"
        else:
            found[row.upstream][row.name] = known
    return {each: Pins(found[each], faults.get(each, "")) for each in {*found, *faults}}


def without(known: Mapping[str, Pins], doubted: Collection[tuple[str, str]]) -> dict[str, Pins]:
    """The same, with these tools of upstreams as changed ones: a server has just said something else of them."""
    found = dict(known)
    for upstream, name in doubted:
        pins = found.get(upstream, _NO_PINS)
        if (pin := pins.tools.get(name)) is not None and pin.state == "pinned":
            found[upstream] = replace(pins, tools={**pins.tools, name: replace(pin, state="changed")})
    return found


def _pin(row: ToolRow) -> Pin | None:
    try:
        document = orjson.loads(row.definition)
        sound = tool_digest(document) == row.digest and document["name"] == row.name
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
    state = STATES.get(row.state)
    return None if not sound or state is None else Pin(row.name, row.digest, state, document)
