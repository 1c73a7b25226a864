"""An agent as a fleet file says it, and as the registry has it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from gateway.registry.agents import fields as agent_fields
from gateway.registry.agents.changes import AgentUpdate
from gateway.registry.documents import parse_time
from gateway.registry.records import AgentRecord

DEFAULT_ENVIRONMENT = "dev"
"""The environment of a new agent, if the file says nothing; as on the command line."""

TEXTS = ("owner", "team", "environment", *agent_fields.NAMES)
"""The members that are texts and called like those of a record."""


def of(record: AgentRecord, named: Mapping[str, str]) -> dict[str, Any]:
    """An agent as a file says it, with every member. `named` has the names of agents by their ids."""
    return {
        "name": record.name,
        **{name: getattr(record, name) for name in TEXTS},
        "capabilities": record.capabilities,
        "labels": record.labels,
        "parent": named.get(record.parent or "", record.parent) or "",
        "expires": "" if record.expires_ns is None else time_text(record.expires_ns),
        "review_days": record.review_days or 0,
        "status": record.status,
    }


def normal(item: Mapping[str, Any]) -> dict[str, Any]:
    """A file's item of an agent, as `of` would say it."""
    wanted = {name: value for name, value in item.items() if name != "replaces"}
    if "capabilities" in wanted:
        wanted["capabilities"] = sorted(set(wanted["capabilities"]))
    if wanted.get("expires"):
        wanted["expires"] = time_text(parse_time(wanted["expires"]))
    return wanted


def members(item: Mapping[str, Any]) -> dict[str, Any]:
    """A file's item of a new agent, as `registration.checked` takes it."""
    found: dict[str, Any] = {"environment": DEFAULT_ENVIRONMENT}
    found |= {name: value for name, value in item.items() if name not in ("status", "expires")}
    for name in ("parent", "review_days"):
        found[name] = item.get(name) or None
    found["expires_ns"] = parse_time(item["expires"]) if item.get("expires") else None
    return found


def update(before: Mapping[str, Any], item: Mapping[str, Any]) -> AgentUpdate:
    """The update that makes an agent what the file says; a list or a mapping of the file is the whole of it."""
    capabilities = item.get("capabilities", before["capabilities"])
    labels = item.get("labels", before["labels"])
    expires = item.get("expires")
    return AgentUpdate(
        **{name: item[name] for name in ("owner", "team", "environment", "parent", "review_days") if name in item},
        texts={name: item[name] for name in agent_fields.NAMES if name in item},
        expires_ns=parse_time(expires) if expires else None if expires is None else 0,
        add_capabilities=[each for each in capabilities if each not in before["capabilities"]],
        remove_capabilities=[each for each in before["capabilities"] if each not in capabilities],
        set_labels=labels,
        remove_labels=[each for each in before["labels"] if each not in labels],
    )


def time_text(time_ns: int) -> str:
    when = datetime.fromtimestamp(time_ns / 1e9, UTC)
    return when.isoformat(timespec="milliseconds" if when.microsecond else "seconds").replace("+00:00", "Z")
