"""The answer of `gateway status`: what `status.py` found, as lines and as a document, and what `findings.py` judges.

It is the same at the gateway's machine and from elsewhere, by an operation of the control API. There, operators of one
organization get its part: nothing of others, of the machine, nor of the policies, which belong to all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from gateway.processes import findings, status
from gateway.processes.openness import Access
from gateway.processes.status import Facts, Logs, Policies, Process, count
from gateway.registry.database import Registry
from gateway.registry.documents import age, plain, timestamp
from gateway.registry.inventory import Inventory, Tenant
from gateway.runtime.contacts import OpenBreaker
from gateway.runtime.streaks import Scope
from gateway.settings import Settings

_OF_AN_ORGANIZATION: Final = ("agents", "stops", "outages", "suspended", "upstreams", "adoptions")
"""The members of the document that say nothing but what belongs to the organizations in it."""


def answer(settings: Settings, organization: str | None = None, registry: Registry | None = None) -> dict[str, Any]:
    """All of it, or the part of an organization, as JSON values. Blocks, for seconds if a listener does not answer."""
    facts = status.look(settings, registry)
    if organization is not None:
        return _answer_for(facts, organization, settings)
    judged = findings.judge(facts, settings)
    found: dict[str, Any] = plain(
        status.document(facts)
        | {"findings": judged, "needs_a_person": any(each.level == "problem" for each in judged)}
        | {"lines": [{"name": name, "text": text} for name, text in lines(facts)]}
    )
    return found


def _answer_for(facts: Facts, organization: str, settings: Settings) -> dict[str, Any]:
    tenants = [each for each in facts.inventory.tenants if each.name == organization]
    part = _part(facts, organization, tenants)
    judged = [each for tenant in tenants for each in findings.judge_tenant(part, tenant, settings)]
    document = status.document(part)
    told = [*_stops(part), ("gateway", "running"), _agents(part), *_logs(part), *_tenants(part)]
    found: dict[str, Any] = plain(
        {name: document[name] for name in (*_OF_AN_ORGANIZATION, *(each.name for each in part.parts))}
        | {"gateway": {"running": True}, "log": {"logs": part.logs.logs}}
        | {"findings": judged, "needs_a_person": any(each.level == "problem" for each in judged)}
        | {"lines": [{"name": name, "text": text} for name, text in told]}
    )
    return found


def _part(facts: Facts, organization: str, tenants: list[Tenant]) -> Facts:
    """The facts of one organization. About everybody it only says that they are stopped or refused."""
    whole = facts.inventory
    upstreams = [each.record.id for tenant in tenants for each in tenant.upstreams]
    return Facts(
        now_ns=facts.now_ns,
        process=Process(running=True),
        policies=Policies("", ""),
        inventory=Inventory(
            tenants,
            whole.activation,  # tells which of its bundles are in force
            owed=0,
            owed_since_ns=None,
            retiring=[each for each in whole.retiring if each.organization == organization],
            old_keys=[each for each in whole.old_keys if each.organization == organization],
            stops=[
                each if each.organization else replace(each, actor="an operator of the gateway", reason="not told")
                for each in whole.stops
                if each.organization in (None, organization)
            ],
        ),
        logs=Logs([each for each in facts.logs.logs if each.organization == organization]),
        contacts=facts.contacts,
        breakers={
            each: [replace(breaker, worker="") for breaker in facts.breakers[each]]
            for each in upstreams
            if each in facts.breakers
        },
        sealed=dict.fromkeys(facts.sealed.keys() & set(upstreams), "its secret cannot be opened"),
        keys=[],
        parts=facts.parts,
        uses=facts.uses,
        clients=[each for each in facts.clients if each.organization == organization],
        outages=[
            each
            for each in facts.outages
            if each.scope.kind == "gateway" or organization in (each.scope.organization, _named(each.scope))
        ],
        access=Access(),
    )


def _named(scope: Scope) -> str:
    return scope.id if scope.kind == "organization" else ""


def lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """The name and the text of each line."""
    process = facts.process
    yield from _stops(facts)
    if process.since_ns is not None:
        since = f"{timestamp(process.since_ns)} ({_ago(facts, process.since_ns)})"
        yield "gateway", f"running since {since}, version {process.version}, process {process.pid}"
        for name, address in (("data plane", process.data_plane), ("control plane", process.control_plane)):
            yield name, f"{address}  {process.faults.get(address, 'ready')}"
        yield "workers", f"{len(process.alive)} of {process.workers}"
    else:
        yield "gateway", "starting" if process.starting else "not running"
    active = facts.inventory.activation
    if active is None:
        yield "policies", "none in force"
    else:
        author = next((bundle.author for bundle in active.bundles.values()), "")
        by = f" by {author}" if author else ""
        yield "policies", f"commit {active.commit[:12]}{by}, in force for {_age(facts, active.created_ns)}"
        yield "bundles", ", ".join(sorted(active.bundles))
    if (refusal := facts.policies.refusal) is not None:
        by = f" by {refusal.author}" if refusal.author else ""
        yield "last refused", f"commit {refusal.commit[:12]}{by}, {_ago(facts, refusal.time_ns)}: {refusal.outcome}"
        for line in refusal.reason.splitlines()[:3]:
            yield "", line
    yield _agents(facts)
    yield from _logs(facts)
    yield _checkpoint(facts)
    yield from _tenants(facts)


def _stops(facts: Facts) -> Iterator[tuple[str, str]]:
    for stop in facts.inventory.stops:
        whose = "all agents" if stop.organization is None else f"all agents of organization {stop.organization}"
        yield "STOPPED", f"{whose}, {_ago(facts, stop.created_ns)} by {stop.actor}: {stop.reason}"


def _agents(facts: Facts) -> tuple[str, str]:
    others = [(count(facts, state), state) for state in ("suspended", "expired")]
    more = "".join(f", {many} {state}" for many, state in others if many)
    return "agents", f"{count(facts, 'active')} active{more}"


def _tenants(facts: Facts) -> Iterator[tuple[str, str]]:
    """The part of each organization. Names that several may have are told apart where there are several."""
    several = len(facts.inventory.tenants) > 1
    for tenant in facts.inventory.tenants:
        of = f" of {tenant.name}" if several else ""
        for each in tenant.upstreams:
            contact = facts.contacts.get(each.record.id)
            name = each.record.name + of + (" (default)" if each.record.default else "")
            text = f"{name}  {each.record.base_url}"
            if contact is None:
                yield "upstream", f"{text}  not used yet"
                continue
            good = _ago(facts, contact.success_ns) if contact.success_ns else "never"
            bad = f"{_ago(facts, contact.error_ns)}: {contact.error}" if contact.error_ns else "never"
            yield "upstream", f"{text}  last success {good}, last error {bad}"
            if breakers := facts.breakers.get(each.record.id):
                most = max(breaker.failures for breaker in breakers)
                workers = "1 worker" if len(breakers) == 1 else f"{len(breakers)} workers"
                yield "", f"circuit open in {workers}: {most} calls in a row failed, {_next_probe(facts, breakers)}"
        for adoption in tenant.adoptions:
            many = facts.to_move(tenant.name)
            seen = "1 client" if many == 1 else f"{many} clients"
            end = f"{adoption.state(facts.now_ns)}, until {timestamp(adoption.expires_ns)}"
            yield "adoption", f"{adoption.upstream} of {tenant.name}  {end}; {seen} to move"
        for part in facts.parts:
            yield from part.lines(tenant, of, facts.now_ns)
        for route in tenant.routes:
            names = ", ".join(member.upstream for member in route.members) or "nowhere"
            yield "route", f"{route.name}{of}{' (default)' if route.default else ''}  {names}"


def _next_probe(facts: Facts, breakers: list[OpenBreaker]) -> str:
    seconds = (min(breaker.until_ns for breaker in breakers) - facts.now_ns) / 1e9
    return f"the next one is tried in {seconds:.0f} s" if seconds > 0 else "the next one is tried"


def _logs(facts: Facts) -> Iterator[tuple[str, str]]:
    for each in facts.logs.logs:
        unsigned = each.size - each.signed
        signed = "all signed" if not unsigned else f"signed up to {each.signed}"
        if each.unsigned_since_ns is not None:
            signed += f", the first unsigned one is from {_ago(facts, each.unsigned_since_ns)}"
        yield "log", f"{each.organization}: {each.size} entries, {signed}"


def _checkpoint(facts: Facts) -> tuple[str, str]:
    logs = facts.logs
    newest = "never" if logs.signed_ns is None else _ago(facts, logs.signed_ns)
    if logs.published_ns is not None:
        newest += f", published {_ago(facts, logs.published_ns)}"
    return "checkpoint", f"{newest}; {logs.open} open decisions, {facts.inventory.owed} entries owed"


def _age(facts: Facts, since_ns: int) -> str:
    return age(facts.now_ns - since_ns)


def _ago(facts: Facts, since_ns: int) -> str:
    return f"{_age(facts, since_ns)} ago"
