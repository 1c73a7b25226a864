"""An organization's part of the registry as a fleet file: applied again, it changes nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import yaml

from gateway.registry import queries, teams, tenants, usage_limits
from gateway.registry.database import Registry
from gateway.registry.fleet import agent_item, key_items, settings_item
from gateway.registry.fleet.plan import lives
from gateway.registry.records import RouteMember, UpstreamRecord


def document(registry: Registry, organization: str) -> dict[str, Any]:
    """The settings that are not the usual ones, all teams, live agents with what they are known by, upstreams, routes,
    bindings and limits; nothing empty.

    Secret keys, of providers and of agents, are in no export. An OpenAPI document is not kept as it came, so it is not
    either.
    """
    agents = [each for each in queries.agents(registry, organization) if lives(each)]
    named = {each.id: each.name for each in agents}
    living = set(named.values())
    found = {
        "settings": settings_item.exported(tenants.organization(registry, organization)),
        "teams": [
            _compact({"name": each.name, "owner": each.owner, "description": each.description})
            for each in teams.teams(registry, organization)
        ],
        "agents": [_agent(agent_item.of(each, named), living) for each in agents],
        **{section: key_items.exported(registry, organization, section) for section in key_items.NOUNS},
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


def _agent(item: dict[str, Any], living: Collection[str]) -> dict[str, Any]:
    # A parent that has ended cannot be named any more: another agent may have its name now.
    parent = item["parent"] if item["parent"] in living else ""
    shown = {**item, "parent": parent, "status": "" if item["status"] == "active" else item["status"]}
    # An empty environment is not what a new agent has if its file says nothing.
    return {name: value for name, value in shown.items() if value or name == "environment"}


def _upstream(record: UpstreamRecord) -> dict[str, Any]:
    shown = {"default": record.default, "headers": record.headers}
    return {"name": record.name, "provider": record.provider, "base_url": record.base_url, **_compact(shown)}


def _member(member: RouteMember) -> dict[str, Any]:
    models = _compact({"models": member.models})
    return {"upstream": member.upstream, "tier": member.tier, "weight": member.weight, **models}


def _subject(kind: str, name: str) -> dict[str, Any]:
    return {"organization": True} if kind == "organization" else {kind: name}


def _compact(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
