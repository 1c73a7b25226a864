"""`gateway status`: the state of everything in one command, whether the gateway is running or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json
from gateway.cli.webhooks import fares

if TYPE_CHECKING:
    from gateway.dataplane.contacts import OpenBreaker
    from gateway.processes.findings import Finding
    from gateway.processes.status import Facts

_COLOURS = {"problem": "red", "remark": "yellow"}


def status(data: Data = DATA, as_json: Json = False) -> None:
    """Show whether the gateway is running, the policies in force, the log, the upstreams, and what needs a person.

    Exit codes: 0 nothing needs a person, 1 something does; each such line says what to do.
    """
    from gateway.processes import findings
    from gateway.processes import status as found
    from gateway.settings import load_settings

    settings = load_settings({"data": data})
    facts = found.look(settings)
    judged = findings.judge(facts, settings)
    needs_a_person = any(each.level == "problem" for each in judged)
    if as_json:
        output.print_json(found.document(facts) | {"findings": judged, "needs_a_person": needs_a_person})
    else:
        output.print_fields([(name, output.printable(text)) for name, text in _rows(facts)])
        _print(judged)
    if needs_a_person:
        raise typer.Exit(1)


def _rows(facts: Facts) -> Iterator[tuple[str, str]]:
    from gateway.processes.status import count

    process = facts.process
    for stop in facts.inventory.stops:
        whose = "all agents" if stop.organization is None else f"all agents of organization {stop.organization}"
        yield "STOPPED", f"{whose}, {_ago(facts, stop.created_ns)} by {stop.actor}: {stop.reason}"
    if process.since_ns is not None:
        since = f"{output.timestamp(process.since_ns)} ({_ago(facts, process.since_ns)})"
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
            end = f"{adoption.state(facts.now_ns)}, until {output.timestamp(adoption.expires_ns)}"
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


def _print(judged: list[Finding]) -> None:
    if not judged:
        typer.echo("\nnothing needs a person")
        return
    typer.echo("")
    for each in judged:
        level = typer.style(each.level, fg=_COLOURS[each.level], bold=True)
        typer.echo(f"{level}: {output.printable(each.message)}: {output.printable(each.todo)}")


def _age(facts: Facts, since_ns: int) -> str:
    return output.age(facts.now_ns - since_ns)


def _ago(facts: Facts, since_ns: int) -> str:
    return f"{_age(facts, since_ns)} ago"
