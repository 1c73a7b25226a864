"""Agents of a data directory."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

from gateway.data_directory import DataDirectory
from gateway.dataplane import key_uses
from gateway.management.port.activation import InForce
from gateway.management.port.agents import NewAgent, Overview
from gateway.processes import local
from gateway.registry import agent_updates, as_of, changes, pages, queries
from gateway.registry.agent_updates import AgentUpdate
from gateway.registry.database import Registry
from gateway.registry.records import AgentRecord, AgentVersionRecord
from gateway.registry.vault import Vault

_EVERY: Final = 10**9
"""More agents than there are."""


class DirectoryAgents:
    """`Agents` of `port/agents.py`."""

    def __init__(self, registry: Registry, data: DataDirectory) -> None:
        self._registry = registry
        self._data = data

    def register(self, organization: str, new: NewAgent, reason: str) -> AgentRecord:
        members = {each.name: getattr(new, each.name) for each in dataclasses.fields(new)}
        return changes.register_agent(
            self._registry, actor=local.actor(), organization=organization, reason=reason, **members
        )

    def listed(
        self, organization: str, at_ns: int | None, limit: int | None, after: str | None
    ) -> tuple[Sequence[AgentRecord], bool]:
        paged, most = limit is not None or after is not None, limit or _EVERY
        begin = None if after is None else queries.agent(self._registry, organization, after).id
        if at_ns is None and paged:
            return pages.agents(self._registry, organization, after=begin, limit=most)
        if at_ns is None:
            return queries.agents(self._registry, organization), False
        found: list[AgentRecord] = [each.agent for each in as_of.all_at(self._registry, organization, at_ns).agents]
        if paged:
            found = sorted((each for each in found if each.id > (begin or "")), key=lambda each: each.id)
        return found[:most], len(found) > most

    def overview(self, organization: str, agent: str, at_ns: int | None) -> Overview:
        then = as_of.agent_at(self._registry, organization, agent, as_of.NOW if at_ns is None else at_ns)
        found, activation = then.agents[0], then.activation
        parent = found.agent.parent
        return Overview(
            found=found,
            versions=queries.agent_versions(self._registry, organization, found.agent.id),
            parent_name="" if parent is None else queries.agent(self._registry, organization, parent).name,
            activation=None if activation is None else InForce(id=activation.id, commit=activation.commit),
            uses=key_uses.read(self._data.runtime_db) if at_ns is None else key_uses.Uses(),
        )

    def versions(self, organization: str, agent: str) -> list[AgentVersionRecord]:
        return queries.agent_versions(self._registry, organization, agent)

    def update(self, organization: str, agent: str, update: AgentUpdate, reason: str) -> AgentRecord | None:
        return agent_updates.update_agent(
            self._registry,
            actor=local.actor(),
            organization=organization,
            agent=agent,
            update=update,
            vault=Vault.load(self._data.keys) if update.keep_content else None,
            reason=reason,
        )

    def review(self, organization: str, agent: str, reason: str) -> AgentRecord:
        return agent_updates.review_agent(
            self._registry, actor=local.actor(), organization=organization, agent=agent, reason=reason
        )

    def suspend(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return agent_updates.suspend_agent(
            self._registry, actor=local.actor(), organization=organization, agent=agent, reason=reason
        )

    def resume(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return agent_updates.resume_agent(
            self._registry, actor=local.actor(), organization=organization, agent=agent, reason=reason
        )

    def revoke(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return changes.revoke_agent(
            self._registry, actor=local.actor(), organization=organization, agent=agent, reason=reason
        )

    def retire(self, organization: str, agent: str, reason: str) -> AgentRecord | None:
        return changes.retire_agent(
            self._registry, actor=local.actor(), organization=organization, agent=agent, reason=reason
        )
