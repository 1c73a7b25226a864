"""Finds what in a gateway needs a person, out of what `status.py` found, each with what to do (pure).

A *problem* is something that does not work, or protects nobody, and stays so until somebody acts: it makes `gateway
status` exit with 1. A *remark* may be as somebody wants it.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from gateway.audit.balance import shown_time
from gateway.audit.clock import BACKWARD_NS
from gateway.data_directory import DEFAULT_DATA
from gateway.dataplane import outages
from gateway.identity.legacy_keys import AGENT as LEGACY
from gateway.processes.openness import too_open
from gateway.processes.status import Facts, Policies
from gateway.processes.version import version
from gateway.registry import adoptions
from gateway.registry.agents.needs import Agents, Some
from gateway.registry.inventory import MOST_KEYS, Tenant
from gateway.registry.keys.retiring import UNUSED_DAYS
from gateway.registry.records import BindingRecord
from gateway.runtime.contacts import Contact
from gateway.settings import Settings
from gateway.telemetry.findings import Finding

ORGANIZATION = "default"
# A log is signed at every interval; later than this beyond one, something keeps it from being signed.
_UNSIGNED_GRACE_SECONDS = 10.0
_OWED_SECONDS = 10.0
_NAMES = 3  # named in one line
_CONTESTED_NS = 30 * 86_400 * 10**9
_OLD_DAYS = 365
"""A key that signs tokens should not be older."""


LITTLE_BYTES: Final = 512 << 20
"""From here on the disk counts as nearly full."""


def judge(facts: Facts, settings: Settings) -> list[Finding]:
    """Everything that needs a person, the most urgent first, then the remarks."""
    where = "" if settings.data.path == DEFAULT_DATA else f" --data {shlex.quote(str(settings.data.path))}"
    found = [
        *_stops(facts, where),
        *_processes(facts, where),
        *too_open(facts.access, settings.data.path),
        *_disk(facts, settings),
        *_edited(facts, where),
        *_outages(facts, where),
        *_keys(facts),
        *_certificates(facts),
        *_token_keys(facts, where),
        *_log(facts, settings, where),
        *_policies(facts, settings, where),
        *(each for tenant in facts.inventory.tenants for each in _tenant(facts, tenant, where)),
        *_contests(facts),
        *_key_uses(facts, where),
        *_agents_at_all(facts, where),
        *_unused_bundles(facts, where),
    ]
    return sorted(found, key=lambda each: each.level == "remark")


_OF_THE_GATEWAY: Final = "an operator of the whole gateway has to see to that"


def judge_tenant(facts: Facts, tenant: Tenant, settings: Settings) -> list[Finding]:
    """The same for operators of one organization, elsewhere. `facts` are its own and say nothing of the machine."""
    found = [
        *(
            each if stop.organization else replace(each, todo=_OF_THE_GATEWAY)
            for each, stop in zip(_stops(facts, ""), facts.inventory.stops, strict=True)
        ),
        *_outages(facts, ""),
        *(replace(each, todo=_OF_THE_GATEWAY) for each in _log(facts, settings, "")),
        *_tenant(facts, tenant, ""),
        *_key_uses(facts, ""),
    ]
    return sorted(found, key=lambda each: each.level == "remark")


def _problem(message: str, todo: str) -> Finding:
    return Finding("problem", message, todo)


def _stops(facts: Facts, where: str) -> Iterator[Finding]:
    for each in facts.inventory.stops:
        whose, flag = "all agents", "--all"
        if each.organization is not None:
            whose, flag = f"all agents of organization `{each.organization}`", f"--organization {each.organization}"
        yield _problem(
            f"{whose} were stopped by {each.actor} and are refused: {each.reason}",
            f"`gateway resume {flag}{where}` lets them go on",
        )


def _processes(facts: Facts, where: str) -> Iterator[Finding]:
    process = facts.process
    if not process.running:
        yield _problem("the gateway is not running", f"type `gateway up{where}`")
    elif process.starting:
        yield Finding("remark", "the gateway is starting", "look again in a moment")
    else:
        if (alive := len(process.alive)) < process.workers:
            message = f"{alive} of {process.workers} workers are running"
            if process.silent:
                give = "gives" if len(process.silent) == 1 else "give"
                message += f", and {len(process.silent)} more {give} no sign of life"
            yield _problem(message, "see the output of `gateway up`")
        for address, fault in process.faults.items():
            yield _problem(f"{address} {fault}", "see the output of `gateway up`")
        if process.version != version():
            message = f"the running gateway is of version {process.version}, this command of {version()}"
            yield _problem(message, "restart the gateway")


def _edited(facts: Facts, where: str) -> Iterator[Finding]:
    for number, each in enumerate(facts.edited):
        if number == _NAMES:
            yield _problem(f"so are {len(facts.edited) - _NAMES} more rows of the registry", "see the lines above")
            return
        todo = f"somebody has edited the registry by hand: see `gateway audit verify{where}`, or restore a backup"
        yield _problem(f"{each}: the log does not know of that", todo)


def _outages(facts: Facts, where: str) -> Iterator[Finding]:
    """Everything of somebody is refused. A wider outage's effects are left out, and agents are summed up."""
    found = facts.outages
    wide = {each.scope.organization or each.scope.id for each in found if each.scope.kind == "organization"}
    if found and found[0].scope.kind == "gateway":
        found = found[:1]
    alike: dict[tuple[str, tuple[str, ...]], int] = {}
    for each in found:
        scope = each.scope
        if scope.kind != "organization" and scope.organization in wide:
            continue
        alike[scope.kind, each.codes] = shown = alike.get((scope.kind, each.codes), 0) + 1
        if shown <= _NAMES:
            todo = f"`gateway audit list --denied{where}` and `--kind refused` name the requests"
            yield Finding("remark" if each.is_wanted else "problem", outages.sentence(each), todo)
    for (kind, codes), many in alike.items():
        if many > _NAMES:
            message = f"so are those of {many - _NAMES} more, by {kind}: {', '.join(codes)}"
            yield Finding("remark", message, "the reasons are the same as above")


def _keys(facts: Facts) -> Iterator[Finding]:
    for error in facts.keys:
        yield _problem(error.message, error.hint or "restore it from a backup")


def _certificates(facts: Facts) -> Iterator[Finding]:
    for error in facts.certificates:
        yield _problem(error.message, error.hint)


def _token_keys(facts: Facts, where: str) -> Iterator[Finding]:
    rotate = f"type `gateway tokens rotate-key{where}`"
    for each in facts.token_keys:
        if each.fault and each.kept_until_ns is None:
            yield _problem(each.fault, f"correct that, or {rotate}")
        days = (facts.now_ns - each.made_ns) // (86_400 * 10**9)
        if each.signs and days > _OLD_DAYS:
            yield Finding("remark", f"the key that signs tokens is {days} days old", f"{rotate}: agents need not know")


def _contests(facts: Facts) -> Iterator[Finding]:
    """Credentials that two organizations claim. After a month nobody asks any more."""
    recent = [each for each in facts.inventory.contests if facts.now_ns - each.last_ns < _CONTESTED_NS]
    for each in recent[:_NAMES]:
        yield _problem(
            f"organization `{each.claimant}` claims what organization `{each.holder}` has: {each.what}",
            f"ask both whose it is, and revoke `{each.credential}` if it belongs to the other",
        )
    if len(recent) > _NAMES:
        yield _problem(f"{len(recent) - _NAMES} more credentials are claimed by two organizations", "see the audit log")


def _key_uses(facts: Facts, where: str) -> Iterator[Finding]:
    """Keys that will end although somebody uses them, and keys that nobody has used for long."""
    still_used = [each for each in facts.inventory.retiring if facts.uses.get(each.id, 0) >= each.since_ns]
    for each in still_used[:_NAMES]:
        at = where if each.organization == ORGANIZATION else f" --org {each.organization}{where}"
        minutes = max(1, (each.expires_ns - facts.now_ns) // 60_000_000_000)
        yield _problem(
            f"key {each.key_id} of agent `{each.agent}` ends in {minutes} min and is still used",
            f"give the agent its new key, {each.replaced_by}: `gateway keys list {each.agent}{at}`",
        )
    if len(still_used) > _NAMES:
        message = f"so do {len(still_used) - _NAMES} more keys, and are still used"
        yield _problem(message, f"`gateway keys list{where}` says which of them are retiring")
    long_ago = facts.now_ns - UNUSED_DAYS * 86_400_000_000_000
    if facts.uses.since_ns is None or facts.uses.since_ns > long_ago:
        return  # not known for so long yet
    for tenant in facts.inventory.tenants:
        at = where if tenant.name == ORGANIZATION else f" --org {tenant.name}{where}"
        mine = [each for each in facts.inventory.old_keys if each.organization == tenant.name]
        unused = [each for each in mine if facts.uses.get(each.id, 0) < long_ago]
        if unused:
            whose = _listed(Some.of(*dict.fromkeys(each.agent for each in unused)))
            least = "at least " if len(facts.inventory.old_keys) == MOST_KEYS else ""
            many = "a key was" if len(unused) == 1 else f"{least}{len(unused)} keys were"
            message = f"{many} not used for {UNUSED_DAYS} days, of {whose}"
            yield Finding("remark", message, f"if nobody needs it, type `gateway keys revoke {unused[0].id}{at}`")


def _log(facts: Facts, settings: Settings, where: str) -> Iterator[Finding]:
    logs, owed_since = facts.logs, facts.inventory.owed_since_ns
    if logs.problem:
        yield _problem(f"the audit log cannot be read: {logs.problem}", f"type `gateway audit verify{where}`")
    yield from _clock(facts, where)
    if owed_since is not None and facts.now_ns - owed_since > _OWED_SECONDS * 1e9:
        yield _problem(
            f"{facts.inventory.owed} changes are in force, but not in the audit log yet",
            f"type `gateway audit verify{where}` to see what is wrong with the log",
        )
    late = 2 * settings.checkpoint_seconds + _UNSIGNED_GRACE_SECONDS
    for each in logs.logs if facts.process.running else []:
        if each.unsigned_since_ns is not None and facts.now_ns - each.unsigned_since_ns > late * 1e9:
            yield _problem(
                f"the newest {each.size - each.signed} entries of the log `{each.organization}` are not signed",
                "see the output of `gateway up`, which says why",
            )

    unpublished = logs.unpublished if facts.process.running else []
    if unpublished and facts.now_ns - (logs.published_ns or 0) > late * 1e9:
        since = "never was" if logs.published_ns is None else f"was last at {shown_time(logs.published_ns // 10**9)}"
        logs_of = _listed(Some.of(*unpublished))
        yield _problem(
            f"publishing to `{settings.publish_to}` {since}: the log of {logs_of} is signed further",
            "see the output of `gateway up`, which says why",
        )


def _disk(facts: Facts, settings: Settings) -> Iterator[Finding]:
    """A full disk stops everybody: what cannot be recorded is not forwarded."""
    if facts.free_bytes is not None and facts.free_bytes < LITTLE_BYTES:
        yield _problem(
            f"the disk of `{settings.data.path}` has {facts.free_bytes >> 20} MiB left: when it is full, every request "
            "is refused `audit_unavailable`",
            "make room; `cache/` in it may be deleted",
        )


def _clock(facts: Facts, where: str) -> Iterator[Finding]:
    for each in facts.logs.logs:
        behind = each.time_ns - facts.now_ns
        if behind <= BACKWARD_NS:
            continue
        until = shown_time(each.time_ns // 1_000_000_000)
        message = f"the clock is {behind // 1_000_000_000} s behind the log `{each.organization}`"
        if each.clock_accepted:
            yield Finding("remark", f"{message}, which was accepted", f"entries get the time {until} until then")
        else:
            yield _problem(
                f"{message}: nothing is recorded there, and its requests are refused, until {until}",
                f"correct the clock, or type `gateway audit accept-clock{where}`",
            )


def _policies(facts: Facts, settings: Settings, where: str) -> Iterator[Finding]:
    policies, active = facts.policies, facts.inventory.activation
    if policies.problem:
        yield _problem("the policies repository cannot be read", policies.problem)
    elif active is not None and active.commit == policies.head:
        pass
    elif policies.refusal is not None and policies.refusal.commit == policies.head:
        yield _refused(policies)
    elif not facts.process.running:
        yield Finding("remark", f"commit {policies.head[:12]} is not in force yet", f"`gateway up{where}` tests it")
    else:
        yield Finding("remark", f"commit {policies.head[:12]} is being tested", "look again in a moment")
    if active is None:
        yield _problem(
            "no policy is in force, so every request is denied `no_policy`",
            f"commit a bundle to `{policies.ref}` of {policies.repository}",
        )


def _refused(policies: Policies) -> Finding:
    refusal = policies.refusal
    assert refusal is not None
    first, *more = refusal.reason.splitlines() or [""]
    also = f" (and {len(more)} more)" if more else ""
    todo = "correct that and commit again" if refusal.outcome != "bundle_missing" else "do one or the other"
    return _problem(
        f"commit {refusal.commit[:12]} was not put into force: {refusal.outcome}: {first}{also}",
        f"{todo}; until then the policies before it stay in force",
    )


def _tenant(facts: Facts, tenant: Tenant, where: str) -> Iterator[Finding]:
    at = where if tenant.name == ORGANIZATION else f" --org {tenant.name}{where}"
    if tenant.status == "revoked":
        return  # what it lacks is of no interest any more
    if tenant.status != "active":
        resume = f"`gateway orgs resume {tenant.name}{where}` lets its agents go on"
        yield Finding("remark", f"organization `{tenant.name}` is {tenant.status}", resume)
    for team, state in tenant.inactive_teams.items():
        if state != "revoked":
            resume = f"`gateway teams resume {team}{at}` lets its agents go on"
            yield Finding("remark", f"team `{team}` of `{tenant.name}` is {state}", resume)
    if tenant.agents.states.get("active") and not tenant.upstreams:
        add = f"type `gateway upstreams add openai --key-env OPENAI_API_KEY{at}`"
        yield _problem(f"organization `{tenant.name}` has no upstream", add)
    by_default = [each.record.default for each in tenant.upstreams] + [each.default for each in tenant.routes]
    if tenant.upstreams and not any(by_default):
        yield Finding(
            "remark",
            f"no upstream of `{tenant.name}` is the default, so `/v1/…` leads nowhere",
            f"type `gateway upstreams add … --replace --default{at}`",
        )
    for route in tenant.routes:
        if not route.members:
            message = f"route `{route.name}` leads nowhere, because its upstreams were removed"
            yield _problem(message, f"type `gateway routes set {route.name} UPSTREAM …{at}` or `gateway routes remove`")
    for each in tenant.upstreams:
        name, contact = each.record.name, facts.contacts.get(each.record.id, Contact())
        if (fault := facts.sealed.get(each.record.id)) and not facts.keys:  # said once
            replace = f"give it its key again: `gateway upstreams add {name} --key-env VARIABLE --replace{at}`"
            yield _problem(f"upstream `{name}` cannot be used: {fault}", replace)
        # A failure from before the upstream was changed says nothing about it now.
        elif contact.error_ns > max(contact.success_ns, each.updated_ns):
            seconds = (facts.now_ns - contact.error_ns) // 1_000_000_000
            yield _problem(
                f"the last call to upstream `{name}`, {seconds} s ago, failed: {contact.error}",
                f"check its address, its key and its account: `gateway upstreams check {name}{at}`",
            )
    yield from _adoptions(facts, tenant, at)
    for part in facts.parts:
        yield from part.findings(tenant, at)
    if (without := tenant.agents.keyless).many:
        yield _problem(f"{_agents(without)} no key that works", f"type `gateway keys create {_one(without)}{at}`")
    if (without := tenant.agents.ungranted).many:
        yield _problem(
            f"{_agents(without)} no grant, so every request is denied `no_policy`",
            f"type `gateway bind {_one(without)} BUNDLE{at}`",
        )
    yield from _unconfirmed(tenant.agents, at)
    for binding in tenant.bound.idle:
        yield _applies_to_nobody(binding, at)
    for bundle, subjects in tenant.bound.missing.items():
        yield _problem(
            f"bundle `{bundle}` is bound to {_listed(subjects)}, but is not in force",
            "commit it to the policies repository, or end the binding with `gateway unbind`",
        )


def _unconfirmed(agents: Agents, at: str) -> Iterator[Finding]:
    """Agents that nobody has confirmed: those that will be suspended, the first one first, and those that may wait."""
    if (soon := agents.warned).many:
        when = [f"`{name}` on {_time(time_ns)}" for name, time_ns in zip(soon.names, agents.suspends_ns, strict=True)]
        if soon.many == 1:
            message = f"agent {when[0].replace(' on ', ' will be suspended on ')}, because nobody has reviewed it"
        else:
            more = f" and {soon.many - len(when)} more" if soon.many > len(when) else ""
            message = f"agents will be suspended, because nobody has reviewed them: {', '.join(when)}{more}"
        yield _problem(message, _review(soon, at))
    if (gone := agents.unconfirmed).many:
        again = f"if it is still wanted: `gateway agents review {_one(gone)}{at}`, then `gateway agents resume`"
        yield Finding("remark", f"{_agents(gone)} not been reviewed in time, and cannot be resumed before", again)
    if (late := agents.overdue).many:
        yield Finding("remark", f"{_agents(late)} not been reviewed in time", _review(late, at))


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _review(some: Some, at: str) -> str:
    return f"ask its owner, then type `gateway agents review {_one(some)}{at}`, or retire it"


def _adoptions(facts: Facts, tenant: Tenant, at: str) -> Iterator[Finding]:
    """Old provider keys that end soon or have ended, and the agent that is left when all of them are stopped."""
    many = facts.to_move(tenant.name)
    clients = "1 client has" if many == 1 else f"{many} clients have"
    for reminder, over in adoptions.reminders(tenant.adoptions, facts.now_ns):
        message = f"{reminder}, and {clients} not moved"
        if over:
            end = f"`gateway adopt stop{at}` ends it for good, `gateway adopt start … --until` moves the end"
            yield _problem(message, end)
        else:
            yield Finding("remark", message, f"type `gateway adopt status{at}`")
    if not tenant.adoptions and tenant.agents.is_idle:
        retire = f"type `gateway agents retire {LEGACY}{at}`"
        yield Finding("remark", f"agent `{LEGACY}` of `{tenant.name}` has nothing left to do", retire)


def _applies_to_nobody(binding: BindingRecord, at: str) -> Finding:
    subject = binding.named
    effect = "the guard" if binding.effect == "guard" else "the grant"
    if binding.subject_kind == "team":
        join = f"type `gateway agents update AGENT --team {binding.subject}{at}`"
    else:
        join = f"type `gateway agents register NAME{at}`"
    return _problem(
        f"{effect} `{binding.bundle}` of {subject} applies to nobody",
        f"{join}, or `gateway unbind {subject} {binding.bundle}{' --shadow' if binding.shadow else ''}{at}`",
    )


def _agents_at_all(facts: Facts, where: str) -> Iterator[Finding]:
    if not any(tenant.agents.states for tenant in facts.inventory.tenants):
        yield _problem("no agent is registered", f"type `gateway agents register NAME{where}`")


def _unused_bundles(facts: Facts, where: str) -> Iterator[Finding]:
    active = facts.inventory.activation
    bound = {bundle for tenant in facts.inventory.tenants for bundle in tenant.bound.bundles}
    for name in sorted(set(active.bundles) - bound) if active else []:
        message = f"bundle `{name}` is in force, but nobody is bound to it"
        yield Finding("remark", message, f"type `gateway bind AGENT {name}{where}` if it should judge anybody")


def _agents(some: Some) -> str:
    """The subject of a sentence about agents, with its verb."""
    return f"agent {_listed(some)} has" if some.many == 1 else f"agents {_listed(some)} have"


def _listed(some: Some) -> str:
    *first, last = [f"`{name}`" for name in some.names]
    if some.many > len(some.names):
        return f"{', '.join([*first, last])} and {some.many - len(some.names)} more"
    return f"{', '.join(first)} and {last}" if first else last


def _one(some: Some) -> str:
    return some.names[0] if some.many == 1 else "AGENT"
