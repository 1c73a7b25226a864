"""The events of webhooks: entries of the audit log as events (pure).

An event has the id of its entry, so a receiver that gets it twice can know. An event has what the log has, never the
content of a call. Specification: webhooks.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from gateway.audit import entry as entries
from gateway.audit.intents import SYSTEM
from gateway.audit.thresholds import WHAT as THRESHOLD
from gateway.registry import approvals
from gateway.registry.webhooks import EVENTS, GENERIC, POLICY_REFUSED
from gateway.webhooks import shapes

TEST: Final = "webhook.test"

KINDS: Final = ("change", "activation")
"""The kinds of entries that can be events."""

# Members that say how an entry was recorded, or that the event has in another place.
_LEFT_OUT: Final = frozenset({"v", "id", "kind", "time", "boot", "what", "org"})
# A stop of all is told to every organization, but not who said so and why: that may concern others.
_OF_ALL: Final = frozenset({"agents.stopped", "agents.resumed"})
_UNTOLD: Final = _LEFT_OUT | {"actor", "reason"}
# The one refusal of a commit whose detail is not about policies: it names somebody who is bound, of any organization.
_OF_SOMEBODY: Final = "bundle_missing"


def event_of(entry: Mapping[str, Any]) -> str:
    """The event that an entry is; empty if it is none."""
    if entry.get("kind") == "activation":
        return "policy.activated" if entry.get("outcome") == "ok" else POLICY_REFUSED
    what = entry.get("what")
    return what if isinstance(what, str) and what in EVENTS else ""


def concerns(entry: Mapping[str, Any], organization: str, events: Collection[str]) -> bool:
    """True if a webhook of an organization is told of an entry. Policies are the same for all organizations."""
    return entry.get("org") in (organization, SYSTEM) and event_of(entry) in events


def agent_of(entry: Mapping[str, Any]) -> str:
    """The id of the agent whose name makes an event easier to read; empty if there is none."""
    scope = str(entry.get("scope")) if entry.get("what") == THRESHOLD else ""
    return scope.partition(" ")[0].removeprefix("agent:") if scope.startswith("agent:") else ""


def payload(entry: Mapping[str, Any], agent_name: str = "", dashboard: str = "", shape: str = GENERIC) -> bytes:
    """The body of a delivery. `agent_name` is the name of `agent_of`. Equal entries make equal bytes.

    `dashboard` is the address of the pages that an event of an approval leads to.
    """
    left_out = _UNTOLD if entry["org"] == SYSTEM and event_of(entry) in _OF_ALL else _LEFT_OUT
    if entry.get("outcome") == _OF_SOMEBODY:
        left_out |= {"detail"}
    data = {name: value for name, value in entries.opened(dict(entry)).items() if name not in left_out}
    data["organization"] = entry["org"]
    if entry.get("what") == THRESHOLD:
        subject, _, calls = str(entry["scope"]).partition(" ")
        kind, _, name = subject.partition(":")
        data["subject"] = f"{'org' if kind == 'organization' else kind}:{agent_name if kind == 'agent' else name}"
        if calls:
            data["calls"] = calls
    if dashboard and (approval := entry.get("approval")):
        data["url"] = approvals.page(dashboard, str(entry["org"]), str(approval))
    return shaped(shape, event_of(entry), int(entry["time"]), data)


def shaped(shape: str, event: str, time_ns: int, data: Mapping[str, Any]) -> bytes:
    """An event as a receiver of this shape takes it."""
    return body(event, time_ns, data) if shape == GENERIC else shapes.message(shape, event, data)


def body(event: str, time_ns: int, data: Mapping[str, Any]) -> bytes:
    when = datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": event, "timestamp": when, "data": data}, option=orjson.OPT_SORT_KEYS)
