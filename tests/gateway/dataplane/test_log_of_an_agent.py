"""Entries that `gateway audit list --agent` finds: also what is bound to the agent, its team and its organization."""

from __future__ import annotations

from contextlib import closing
from typing import Any

from gateway.audit import search, storage
from gateway.audit.search import Filters
from gateway.cli import audit_list
from gateway.management import gateways
from gateway.registry import publication, queries
from gateway.registry.agents.changes import AgentUpdate, update_agent
from gateway.registry.agents.registration import register_agent
from gateway.registry.limits import usage_limits
from gateway.registry.organizations import teams
from gateway.registry.policies.bindings import bind
from tests.gateway.dataplane.conftest import ACTOR, ORG, Gateway


async def test_bindings_and_limits_that_apply_to_an_agent_are_among_its_entries(gateway: Gateway) -> None:
    registry = gateway.registry
    for team in ("red", "blue"):
        teams.create_team(registry, actor=ACTOR, organization=ORG, name=team)
    other = register_agent(registry, actor=ACTOR, organization=ORG, name="other", team="blue")
    bot = queries.agent(registry, ORG, "bot")
    update_agent(registry, actor=ACTOR, organization=ORG, agent="bot", update=AgentUpdate(team="red"))
    for kind, subject in (("agent", bot.id), ("team", "red"), ("organization", ORG)):
        common: dict[str, Any] = {"actor": ACTOR, "organization": ORG, "kind": kind, "subject": subject}
        bind(registry, **common, bundle="bot", shadow=True)
        usage_limits.set_limit(registry, **common, name="requests_per_day", value=100)
    bind(registry, actor=ACTOR, organization=ORG, kind="agent", subject=other.id, bundle="bot")
    bind(registry, actor=ACTOR, organization=ORG, kind="team", subject="blue", bundle="bot")
    publication.publish(registry, gateway.data)
    warned: list[object] = []
    with (
        closing(storage.connect_read_only(gateway.data.audit_db)) as db,
        gateways.client(gateway.data.path, lambda *said: warned.append(said)) as opened,
    ):
        listed = audit_list.listed(opened, {"agent": "bot", "kind": "change"}, 100)
        found = [each["entry"] for each in listed.entries]
        mine = [(each["what"], each["subject_kind"], each["subject"]) for each in found if "subject" in each]
        with registry.read() as session:
            organization = queries.find_organization(session, ORG).id
        wanted = [("agent", bot.id), ("team", "red"), ("organization", organization)]
        assert mine[-6:] == [(what, *each) for each in wanted for what in ("binding.created", "limit.set")]
        assert other.id not in str(found)
        bind(registry, actor=ACTOR, organization=ORG, kind="team", subject="red", bundle="bot")
        publication.publish(registry, gateway.data)
        assert [each["entry"]["subject"] for each in listed.more()] == ["red"]
        assert search.matching(db, 10, Filters(agent=other.id, kind="change")).found
