"""The answer of `gateway status`: what `status.py` found, as lines and as a document, and what `findings.py` judges.

It is the same at the gateway's machine and from elsewhere, by an operation of the control API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gateway.dataplane.contacts import OpenBreaker
from gateway.processes import findings, status
from gateway.processes.status import Facts, count
from gateway.registry.documents import age, plain, timestamp
from gateway.settings import Settings
from gateway.webhooks.deliveries import fares


def answer(settings: Settings) -> dict[str, Any]:
    """All of it, as JSON values. Blocks, for seconds if a listener does not answer."""
    facts = status.look(settings)
    judged = findings.judge(facts, settings)
    found: dict[str, Any] = plain(
        status.document(facts)
        | {"findings": judged, "needs_a_person": any(each.level == "problem" for each in judged)}
        | {"lines": [{"name": name, "text": text} for name, text in lines(facts)]}
    )
    return found


def lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """The name and the text of each line."""
    process = facts.process
    for stop in facts.inventory.stops:
        whose = "all agents" if stop.organization is None else f"all agents of organization {stop.organization}"
        yield "STOPPED", f"{whose}, {_ago(facts, stop.created_ns)} by {stop.actor}: {stop.reason}"
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
    others = [(count(facts, state), state) for state in ("suspended", "expired")]
    yield "agents", f"{count(facts, 'active')} active" + "".join(f", {many} {state}" for many, state in others if many)
    yield from _log(facts)
    for tenant in facts.inventory.tenants:
        for each in tenant.upstreams:
            contact = facts.contacts.get(each.record.id)
            name = each.record.name + (" (default)" if each.record.default else "")
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
        for hook in tenant.webhooks:
            state = facts.webhooks.get(hook.id)
            yield "webhook", f"{hook.url}  {'not used yet' if state is None else fares(state, facts.now_ns)}"
        for route in tenant.routes:
            names = ", ".join(member.upstream for member in route.members) or "nowhere"
            yield "route", f"{route.name}{' (default)' if route.default else ''}  {names}"


def _next_probe(facts: Facts, breakers: list[OpenBreaker]) -> str:
    seconds = (min(breaker.until_ns for breaker in breakers) - facts.now_ns) / 1e9
    return f"the next one is tried in {seconds:.0f} s" if seconds > 0 else "the next one is tried"


def _log(facts: Facts) -> Iterator[tuple[str, str]]:
    logs = facts.logs
    for each in logs.logs:
        unsigned = each.size - each.signed
        signed = "all signed" if not unsigned else f"signed up to {each.signed}"
        if each.unsigned_since_ns is not None:
            signed += f", the first unsigned one is from {_ago(facts, each.unsigned_since_ns)}"
        yield "log", f"{each.organization}: {each.size} entries, {signed}"
    newest = "never" if logs.signed_ns is None else _ago(facts, logs.signed_ns)
    yield "checkpoint", f"{newest}; {logs.open} open decisions, {facts.inventory.owed} entries owed"


def _age(facts: Facts, since_ns: int) -> str:
    return age(facts.now_ns - since_ns)


def _ago(facts: Facts, since_ns: int) -> str:
    return f"{_age(facts, since_ns)} ago"
