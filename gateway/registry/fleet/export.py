"""An organization's part of the registry as a fleet file: applied again, it changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from gateway.registry import queries, usage_limits
from gateway.registry.database import Registry
from gateway.registry.fleet.plan import REGISTER, lives
from gateway.registry.records import AgentRecord, RouteMember, UpstreamRecord


def document(registry: Registry, organization: str) -> dict[str, Any]:
    """All live agents, upstreams, routes, bindings and limits; members that are empty are left out.

    Keys of providers and of agents are in no export. An OpenAPI document is not kept as it came, so it is not either.
    """
    found = {
        "agents": [_agent(each) for each in queries.agents(registry, organization) if lives(each)],
        "upstreams": [_upstream(each) for each in queries.upstreams(registry, organization)],
        "routes": [
            _compact({"name": each.name, "default": each.default, "members": [_member(one) for one in each.members]})
            for each in queries.routes(registry, organization)
        ],
        "bindings": [
            {
                **_subject(each.subject_kind, each.subject),
                "bundle": each.bundle,
                "effect": each.effect,
                **_compact({"pinned": each.pinned, "shadow": bool(each.shadow)}),
            }
            for each in queries.bindings(registry, organization)
        ],
        "limits": [
            {
                **_subject(each.subject_kind, each.subject),
                "limit": each.limit,
                "value": each.value,
                **_compact({"upstream": each.upstream, "model": each.model}),
            }
            for each in usage_limits.limits(registry, organization)
        ],
    }
    return {"v": 1, "organization": organization, **_compact(found)}


def text(document: Mapping[str, Any]) -> str:
    """The file. Texts that a reader could take for something else are in quotes."""
    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    return yaml.dump(document, Dumper=dumper, sort_keys=False, allow_unicode=True, width=120)


def _agent(record: AgentRecord) -> dict[str, Any]:
    shown = _compact({name: getattr(record, name) for name in REGISTER})
    return {"name": record.name, **shown, **({"status": record.status} if record.status != "active" else {})}


def _upstream(record: UpstreamRecord) -> dict[str, Any]:
    shown = {"default": record.default, "headers": record.headers}
    return {"name": record.name, "provider": record.provider, "base_url": record.base_url, **_compact(shown)}


def _member(member: RouteMember) -> dict[str, Any]:
    return {"upstream": member.upstream, "tier": member.tier, "weight": member.weight, **_compact({"models": member.models})}


def _subject(kind: str, name: str) -> dict[str, Any]:
    return {"organization": True} if kind == "organization" else {kind: name}


def _compact(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
