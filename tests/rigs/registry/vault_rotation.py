"""Shared parts of the tests in `tests/gateway/registry/test_vault_rotation.py`."""

from __future__ import annotations

from typing import Any

from gateway.registry import webhooks
from gateway.registry.agents import content_keys
from gateway.registry.agents.changes import AgentUpdate, update_agent
from gateway.registry.operators import login_providers
from gateway.registry.queries import find_agent, find_organization
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import SealedPlace, Vault
from tests.gateway.conftest import ACTOR, ORG, Home, at_once

UPSTREAMS = 5
HOOK = "whsec_of-a-webhook"
LOGIN = "the secret of a client"


def fill(home: Home) -> bytes:
    """Seal some secrets and a content key; returns that key."""
    for number in range(UPSTREAMS):
        add(home, f"up-{number}", home.vault)
    home.agent("kept")
    changed = AgentUpdate(keep_content=True, retention_days=3)
    update_agent(home.registry, actor=ACTOR, organization=ORG, agent="kept", update=changed, vault=home.vault)
    webhooks.add_webhook(
        home.registry,
        home.vault,
        actor=ACTOR,
        organization=ORG,
        url="https://example.com/hook",
        events=["key.revoked"],
        secret=HOOK,
        since=0,
    )
    login_providers.add_provider(
        home.registry,
        home.vault,
        actor=ACTOR,
        name="acme",
        issuer="https://login.acme.example",
        client_id="gateway",
        secret=LOGIN,
    )
    return content_key(home, home.vault)


def add(home: Home, name: str, vault: Vault, **more: Any) -> None:
    add_upstream(
        home.registry,
        vault,
        actor=ACTOR,
        organization=ORG,
        name=name,
        provider="openai",
        base_url="https://api.example.com/v1",
        secret=f"sk-of-{name}",
        **more,
    )


def content_key(home: Home, vault: Vault) -> bytes:
    with home.registry.read() as session:
        agent = find_agent(session, find_organization(session, ORG), "kept")
        assert agent.content_key is not None
        return content_keys.opened(vault, agent.content_key, ORG, agent.id)


def secrets(home: Home, vault: Vault) -> set[str]:
    """The secrets that a process with this vault opens, those of a webhook and of a login provider among them."""
    assert login_providers.client_secret(home.registry, vault, "acme") == LOGIN
    [webhook] = webhooks.followed(home.registry)
    assert vault.open(webhook.sealed, webhook.place) == HOOK
    reader = RegistryReader(home.data.registry_db)
    try:
        rows = at_once(reader.upstreams())
    finally:
        reader.close()
    return {
        vault.open(row.secret, SealedPlace(row.organization, row.provider, row.id, row.version))
        for row in rows
        if row.secret is not None
    }


ALL = {f"sk-of-up-{number}" for number in range(UPSTREAMS)}
