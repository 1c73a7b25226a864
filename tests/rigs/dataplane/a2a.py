"""Two organizations behind a data plane, and a published agent of the second that agents of the first call."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from gateway.a2a.cards import Skill
from gateway.identity import organization_keys
from gateway.policy import bundle as policy_bundle
from gateway.registry.agents import registration
from gateway.registry.organizations import changes as organizations
from gateway.registry.policies import activations, bindings
from gateway.registry.records import AgentRecord, BundleRecord
from gateway.registry.upstreams.published import publish
from gateway.secrets.vault import Vault
from tests.gateway.dataplane.conftest import ACTOR, Gateway, Reply

OTHER: Final = "globex"
SECRET: Final = "sales-secret-1234567890"
PATH: Final = f"/a2a/{OTHER}/sales"

SENDING: Final = """package bot.authz

default allow := false

allow if {
	startswith(input.action, "a2a.")
	input.resource.agent.organization == "globex"
	input.resource.agent.name == "sales"
}

deny contains "no secrets, please" if contains(input.request.body.params.message.parts[0].text, "secret")
"""
RECEIVING: Final = """package desk.authz

default allow := false

allow if {
	input.direction == "receive"
	input.agent.organization == "default"
	input.action in {"a2a.message.send", "a2a.message.stream", "a2a.tasks.get"}
}

deny contains "closed today" if input.action == "a2a.tasks.cancel"
"""


def serve(gateway: Gateway, sending: str = SENDING, receiving: str = RECEIVING, price_microusd: int = 0) -> AgentRecord:
    """Register the organization and its agent, publish it at the test's upstream, and put these policies into force."""
    where: dict[str, Any] = {"actor": ACTOR, "organization": OTHER}
    organization_keys.create(gateway.data.keys)
    organizations.create_organization(gateway.registry, actor=ACTOR, name=OTHER)
    agent = registration.register_agent(gateway.registry, **where, name="sales", owner="olga@globex")
    publish(
        gateway.registry,
        Vault.load(gateway.data.keys),
        **where,
        agent="sales",
        endpoint=f"http://127.0.0.1:{gateway.upstream.port}/rpc",
        secret=SECRET,
        description="Sells things.",
        skills=[Skill("order", "Order", "Takes orders.")],
        price_microusd=price_microusd,
    )
    into_force(gateway, sending, receiving)
    bindings.bind(gateway.registry, **where, kind="agent", subject="sales", bundle="desk", effect="receive")
    return agent


def into_force(gateway: Gateway, sending: str = SENDING, receiving: str = RECEIVING) -> None:
    records: list[BundleRecord] = []
    commit = hashlib.sha256((sending + receiving).encode()).hexdigest()[:40]
    for name, source in (("bot", sending), ("desk", receiving)):
        manifest = {"roots": [name], "metadata": {"gateway": {"entrypoint": f"data.{name}.authz", "models": True}}}
        files = {".manifest": orjson.dumps(manifest), "authz.rego": source.encode()}
        digest = policy_bundle.publish(gateway.data.bundles, files)
        gateway.plane._policies.load(digest)
        entrypoint = f"data.{name}.authz"
        records.append(BundleRecord(name=name, commit=commit, digest=digest, author="", entrypoint=entrypoint))
    activations.activate(gateway.registry, actor=ACTOR, commit=commit, author="dana", bundles=records)


def send(text: str = "ten chairs, please", **message: Any) -> dict[str, Any]:
    """The parameters of a message."""
    return {"message": {"messageId": "m-1", "role": "ROLE_USER", "parts": [{"text": text}], **message}}


def message(method: str, params: Mapping[str, Any] | None = None, of: Any = 1) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": of, "method": method, "params": send() if params is None else dict(params)}


async def ask(gateway: Gateway, method: str = "SendMessage", params: Mapping[str, Any] | None = None) -> Reply:
    return await gateway.send(gateway.request(message(method, params), "A2A-Version: 1.0", path=PATH))


def task(state: str = "TASK_STATE_COMPLETED", of: Any = 1) -> dict[str, Any]:
    """The answer with a task."""
    found = {"id": "task-1", "contextId": "ctx-1", "status": {"state": state}}
    return {"jsonrpc": "2.0", "id": of, "result": {"task": found}}
