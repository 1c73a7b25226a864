"""Dry runs: decisions on calls that nobody makes, as the control API and `gateway decide` tell them.

The principal is found, judged and refused by what does that for requests (`gateway/dataplane/dry_run.py`). Here a key
is chosen for it, the answer is put together and, if that is wanted, recorded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from typing import Any

from gateway.audit.intents import Decided
from gateway.audit.writer import AuditWriter
from gateway.control.permissions import Bundles
from gateway.dataplane.dry_run import DryRun, Trial
from gateway.errors import Denied, GatewayError, Hint
from gateway.identifiers import new_id
from gateway.identity.credentials import public_part
from gateway.identity.key_scope import address
from gateway.identity.principals import Principal
from gateway.policy import reexecution
from gateway.policy.judged_again import bundle_document, explained_document
from gateway.registry import adoptions, queries
from gateway.registry.database import Registry
from gateway.registry.records import AgentRecord, KeyRecord
from gateway.secrets.vault import Vault
from gateway.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A call of an agent: an input document or parts of one, or what a client would send to a route.

    `key` is one of the agent's keys, by default the newest one that works. `sender` is the address that the call would
    come from.
    """

    agent: str
    call: Mapping[str, Any] | None = None
    route: str | None = None
    body: bytes = b""
    key: str | None = None
    sender: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """The actor of a decision that is recorded, and the writer of this process, if it has one."""

    actor: str
    writer: AuditWriter | None


def answer(
    settings: Settings,
    registry: Registry,
    vault: Vault,
    bundles: Bundles,
    organization: str,
    question: Question,
    *,
    explain: bool = False,
    record: Record | None = None,
) -> dict[str, Any]:
    """The decision as a document. Raises `GatewayError` if none can be made. Blocks."""
    if question.sender is not None:
        address(question.sender)
    agent = queries.agent(registry, organization, question.agent)
    key, notes = _key(registry, organization, agent, question)
    with closing(DryRun(settings, vault, bundles.load)) as gateway:
        try:
            principal, trial = asyncio.run(_tried(gateway, agent, key, question, notes))
        except Denied as denied:
            if record is not None:
                notes.append("not recorded: a refusal before any policy is only counted")
            return _refused(denied, notes)
    recorded = None
    if record is not None:
        intent = _intent(principal, trial, question.sender, record.actor)
        recorded = intent.event_id
        with ExitStack() as opened:
            if (writer := record.writer) is None:
                writer = AuditWriter(settings.data, boot=new_id("boot"), deployment=queries.deployment(registry))
                opened.enter_context(closing(writer))
            writer.write_sync(intent)
    return _decided(settings, trial, explain, recorded, notes)


def _key(
    registry: Registry, organization: str, agent: AgentRecord, question: Question
) -> tuple[KeyRecord | None, list[str]]:
    """The key that the agent would call with, if it has one, and what people should know of that."""
    wanted, now_ns = question.key, time.time_ns()
    adopted = [each.as_key() for each in adoptions.adoptions(registry, organization) if each.agent_id == agent.id]
    keys = [
        each
        for each in [*adopted, *queries.keys(registry, organization, agent.id)]
        if (each.works(now_ns) if wanted is None else public_part(wanted) in (each.id, each.key_id))
    ]
    if keys:
        return keys[-1], []
    if wanted is not None:
        hint = Hint(f"type `gateway keys list {agent.name}` to see its keys")
        raise GatewayError("unknown_key", f"agent `{agent.name}` has no key `{public_part(wanted)}`", hint=hint)
    if agent.status != "active":
        return None, []
    return None, [f"agent {agent.name} has no key that works: type `gateway keys create {agent.name}`"]


async def _tried(
    gateway: DryRun, agent: AgentRecord, key: KeyRecord | None, question: Question, notes: list[str]
) -> tuple[Principal, Trial]:
    """The agent as the data plane knows it, and the decision. Raises `Denied` if it is refused before any policy."""
    principal = await gateway.principal(*((agent.id, "api_key") if key is None else (key.id, key.method)))
    sender, scope = question.sender, principal.scope
    if key is not None and scope is not None and scope.networks and sender is None:
        notes.append(
            f"key {key.key_id} is for certain networks only, which is not checked without --from ADDRESS"
        )  # fmt: skip
        principal = replace(principal, scope=replace(scope, networks=()))
    if question.route is None:
        return principal, await gateway.judge_document(principal, question.call or {}, sender)
    method, _, path = question.route.strip().rpartition(" ")
    return principal, await gateway.judge_request(principal, method.upper() or "POST", path, question.body, sender)


def _refused(denied: Denied, notes: list[str]) -> dict[str, Any]:
    """A refusal before any policy is asked."""
    told = denied.text.removeprefix(denied.message).removeprefix(": ") or denied.message
    return {
        "allow": False,
        "reason": denied.code,
        "reasons": list(denied.reasons) or [told],
        "detail": denied.detail or None,
        "notes": notes,
    }


def _decided(settings: Settings, trial: Trial, explain: bool, recorded: str | None, notes: list[str]) -> dict[str, Any]:
    found = trial.authorization
    members = reexecution.judges({"bundles_json": found.panel.summary})
    answers = reexecution.ask(
        settings.data.bundles,
        members,
        found.input,
        found.nondeterministic,
        seed=found.seed,
        compiled={each.ref.digest: each.bundle for each in found.panel.members},
    )
    return {
        "allow": found.allow,
        "reason": found.code,
        "reasons": list(found.reasons),
        "detail": found.detail or None,
        "model": trial.model,
        "obligations": found.obligations.document(),
        "edits": list(trial.edits),
        "limits": trial.forecast and dataclasses.asdict(trial.forecast),
        "content": list(found.panel.content),
        "bundles": [explained_document(each) if explain else bundle_document(each) for each in answers],
        "input": found.input,
        "recorded": recorded,
        "notes": notes,
    }


def _intent(principal: Principal, trial: Trial, sender: str | None, actor: str) -> Decided:
    """The decision for the log; it is not open, because nothing follows."""
    found = trial.authorization
    resource, request = found.input["resource"], found.input["request"]
    return Decided(
        organization=principal.organization,
        event_id=new_id("dec_"),
        agent=principal.agent_id,
        key=None,
        allow=found.allow,
        reason=found.code,
        reasons=found.reasons,
        epoch=trial.epoch,
        fields={
            "dry_run": True,
            "by": actor,
            "agent_name": principal.name,
            "agent_version": principal.version,
            "team": principal.team,
            "environment": principal.environment,
            "action": found.input["action"],
            **{name: resource[name] for name in ("upstream", "provider")},
            "model": trial.model,
            **{name: request[name] for name in ("method", "path", "stream")},
            **found.fields(),
            **_changes(trial),
            **_refused_limits(trial),
            **_scope(principal, sender),
        },
        private=found.kept_input,
    )


def _scope(principal: Principal, sender: str | None) -> dict[str, str]:
    """The members of an entry that say what the key is for."""
    if principal.scope is None:
        return {}
    fields = {"key_scope_json": principal.scope.text}
    return fields | ({"peer_address": sender} if principal.scope.networks and sender else {})


def _changes(trial: Trial) -> dict[str, str]:
    """The members of an entry that say what the gateway would change."""
    if not trial.edits:
        return {}
    fields = {"edits_json": json.dumps(trial.edits, separators=(",", ":"))}
    model = trial.authorization.input["resource"]["model"]
    return fields | ({"forwarded_model": model} if model != trial.model else {})


def _refused_limits(trial: Trial) -> dict[str, str]:
    """The member of an entry that says which limits have no room."""
    full = [each for each in trial.forecast.limits if not each["has_room"]] if trial.forecast else []
    if trial.authorization.code != "limit_exceeded" or not full:
        return {}
    told = [{name: each[name] for name in each if name not in ("left", "has_room")} for each in full]
    return {"limits_json": json.dumps(told, sort_keys=True, separators=(",", ":"))}
