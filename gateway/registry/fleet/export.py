"""An organization's part of the registry as a fleet file: applied again, it changes nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gateway.identity.call_tokens import KEY
from gateway.registry import queries
from gateway.registry.database import Registry
from gateway.registry.fleet import agent_item, key_items, settings_item
from gateway.registry.limits import usage_limits
from gateway.registry.organizations import queries as tenants
from gateway.registry.organizations import teams
from gateway.registry.records import RouteMember, UpstreamRecord
from gateway.usage.limits import Part, default_mode


def document(registry: Registry, organization: str, *, of_gateway: bool = True) -> dict[str, Any]:
    """The settings that are not the usual ones, all teams, live agents with what they are known by, upstreams, routes,
    bindings and limits; nothing empty. `of_gateway` says for whom, as for a plan.

    Secret keys, of providers and of agents, are in no export, and neither are published agents. An OpenAPI document is
    not kept as it came, so it is not either.
    """
    agents = queries.living_agents(registry, organization)
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
        "upstreams": [_upstream(each) for each in queries.upstreams(registry, organization, published=False)],
        "routes": [
            _compact({"name": each.name, "default": each.default, "members": [_member(one) for one in each.members]})
            for each in queries.routes(registry, organization)
            if each.members  # no file may have a route whose upstreams were all removed
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
                **_compact(Part.of(each)._asdict()),
                **({} if each.mode == default_mode(each.limit) else {"mode": each.mode}),
                **({} if each.by_gateway == of_gateway else {"by_gateway": each.by_gateway}),
            }
            for each in usage_limits.limits(registry, organization)
        ],
    }
    return {"v": 1, "organization": organization, **_compact(found)}


def text(document: Mapping[str, Any]) -> str:
    """The file, as YAML. Texts that a reader could take for something else are in quotes.

    Written here, because a general YAML writer takes ten times as long.
    """
    return "\n".join(_mapping(document, "")) + "\n"


def _mapping(members: Mapping[str, Any], indent: str) -> Iterator[str]:
    """The lines of a block mapping."""
    for name, value in members.items():
        if value and isinstance(value, dict):
            yield f"{indent}{_scalar(name)}:"
            yield from _mapping(value, indent + "  ")
        elif value and isinstance(value, list):
            yield f"{indent}{_scalar(name)}:"
            yield from _sequence(value, indent)
        else:
            yield f"{indent}{_scalar(name)}: {_scalar(value)}"


def _sequence(items: Sequence[Any], indent: str) -> Iterator[str]:
    """The lines of a block sequence of scalars or mappings."""
    for item in items:
        if item and isinstance(item, dict):
            lines = _mapping(item, indent + "  ")
            yield f"{indent}- {next(lines).lstrip(' ')}"
            yield from lines
        else:
            yield f"{indent}- {_scalar(item)}"


def _scalar(value: Any) -> str:
    """A text, a number, a boolean or something empty. Other texts are written as JSON, which is YAML as well."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


# Of words that begin with a letter, so that no version of YAML reads a number or a time; but some words are constants.
_PLAIN = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.@/+-]|[: ](?=[A-Za-z0-9_.@/+-])(?<! :)(?<!: ))*", re.ASCII)
_WORDS = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null"))
# The characters that readers of YAML refuse or take for the end of a line, where JSON does not escape them.
_UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def _agent(item: dict[str, Any], living: Collection[str]) -> dict[str, Any]:
    # A parent that has ended cannot be named any more: another agent may have its name now.
    parent = item["parent"] if item["parent"] in living else ""
    shown = {**item, "parent": parent, "status": "" if item["status"] == "active" else item["status"]}
    # An empty environment is not what a new agent has if its file says nothing.
    return {name: value for name, value in shown.items() if value or name == "environment"}


def _upstream(record: UpstreamRecord) -> dict[str, Any]:
    auth = "" if record.auth == KEY else record.auth
    shown = {"default": record.default, "headers": record.headers, "auth": auth, "trust": record.trust}
    return {"name": record.name, "provider": record.provider, "base_url": record.base_url, **_compact(shown)}


def _member(member: RouteMember) -> dict[str, Any]:
    models = _compact({"models": member.models})
    return {"upstream": member.upstream, "tier": member.tier, "weight": member.weight, **models}


def _subject(kind: str, name: str) -> dict[str, Any]:
    return {"organization": True} if kind == "organization" else {kind: name}


def _compact(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value}
