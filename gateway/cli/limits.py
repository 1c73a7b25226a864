"""`gateway limits`: what agents, teams and organizations may use, and how much of it is left."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.bindings import parse_subject
from gateway.cli.options import DATA, Data, Json, Organization, Reason
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.audit.balances import Balance
    from gateway.registry.records import LimitRecord

app = typer.Typer(no_args_is_help=True, help="Limit requests, tokens and money of agents, teams and organizations.")

Subject = Annotated[str, typer.Argument(help="An agent's name or id, `team:NAME`, or `org:NAME`.")]
Limit = Annotated[
    str,
    typer.Argument(
        metavar="LIMIT",
        help="`(requests|tokens|spend_microusd)_per_(minute|hour|day|month)`, or `concurrent_requests`.",
    ),
]
Value = Annotated[int, typer.Argument(min=0, help="Requests, tokens, or millionths of a dollar.")]
Upstream = Annotated[str, typer.Option("--upstream", metavar="NAME", help="Only calls to this upstream.")]
Model = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help="Only calls of this model; `*` at its end stands for any rest."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitState:
    """A limit and where it stands. `value` is what holds now, also while it is raised."""

    id: str
    subject_kind: str
    subject: str
    limit: str
    upstream: str
    model: str
    value: int
    spent: int
    reserved: int
    left: int
    resets_at_ns: int | None
    raised_until_ns: int | None


@app.command("set")
def set_limit(
    subject: Subject,
    limit: Limit,
    value: Value,
    upstream: Upstream = "",
    model: Model = "",
    create: Annotated[
        bool, typer.Option("--create", help="Also for a team or an organization that no agent is in yet.")
    ] = False,
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Set a limit, from the next request on. All limits that apply to a call must have room for it."""
    from gateway.registry import usage_limits

    kind, name, organization = parse_subject(subject, organization)
    part = usage_limits.Part(upstream, model)
    with local.changing(data) as registry:
        made = usage_limits.set_limit(
            registry,
            actor=local.actor(),
            organization=organization,
            kind=kind,
            subject=name,
            name=limit,
            value=value,
            part=part,
            without_members=create,
            reason=reason,
        )
    if as_json:
        output.print_json(made)
        return
    typer.echo(f"{_whose(made)} now has the limit {made.limit} {made.value}")
    found = _standing(data, made)
    if found.spent + found.reserved:
        used = f"{found.spent + found.reserved} of it is used already"
        (output.warn if found.left == 0 else output.note)(f"{used}, {found.left} is left{_until(found)}")
    elif upstream or model:
        output.note("what was used before does not count: calls of one upstream or model are counted from now on")


@app.command("raise")
def raise_limit(
    subject: Subject,
    limit: Limit,
    value: Value,
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 1d; at most 31d.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit log.")],
    upstream: Upstream = "",
    model: Model = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Raise a limit for a while; it falls back by itself."""
    from gateway.registry import usage_limits

    kind, name, organization = parse_subject(subject, organization)
    part = usage_limits.Part(upstream, model)
    with local.changing(data) as registry:
        made = usage_limits.raise_limit(
            registry,
            actor=local.actor(),
            organization=organization,
            kind=kind,
            subject=name,
            name=limit,
            value=value,
            for_ns=output.parse_duration(duration),
            reason=reason,
            part=part,
        )
    if as_json:
        output.print_json(made)
    else:
        assert made.raised_until_ns is not None
        until = output.timestamp(made.raised_until_ns)
        typer.echo(f"{made.limit} of {_whose(made)} is raised from {made.value} to {made.raised} until {until}")


@app.command("remove")
def remove_limit(
    subject: Subject,
    limit: Limit,
    upstream: Upstream = "",
    model: Model = "",
    reason: Reason = "",
    organization: Organization = "default",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """End a limit, from the next request on. What is used is counted all the same."""
    from gateway.registry import usage_limits

    kind, name, organization = parse_subject(subject, organization)
    part = usage_limits.Part(upstream, model)
    with local.changing(data) as registry:
        removed = usage_limits.remove_limit(
            registry,
            actor=local.actor(),
            organization=organization,
            kind=kind,
            subject=name,
            name=limit,
            part=part,
            reason=reason,
        )
    if as_json:
        output.print_json(removed)
    else:
        typer.echo(f"{_whose(removed)} no longer has the limit {removed.limit} {removed.value}")


@app.command("list")
def list_limits(organization: Organization = "default", data: Data = DATA, as_json: Json = False) -> None:
    """List the limits that operators have set. Those of policies stand in the policies."""
    from gateway.registry import usage_limits

    with local.reading(data) as registry:
        found = usage_limits.limits(registry, organization)
    if as_json:
        output.print_json(found)
        return
    now = time.time_ns()
    output.print_table(
        ("SUBJECT", "LIMIT", "VALUE", "ONLY FOR", "RAISED", "REASON"),
        [
            (_subject(each), each.limit, str(each.value), _only(each), _raised(each, now), _reason(each, now))
            for each in found
        ],
        empty="no limits: type `gateway limits set SUBJECT LIMIT VALUE`",
    )


@app.command("show")
def show_limits(
    subject: Subject, organization: Organization = "default", data: Data = DATA, as_json: Json = False
) -> None:
    """Show the limits that hold a subject back: spent, reserved by calls under way, left, and when they start anew.

    For an agent these are also the limits of its team and its organization.
    """
    from gateway.registry import queries, usage_limits

    kind, name, organization = parse_subject(subject, organization)
    with local.reading(data) as registry:
        wanted = {(kind, organization if kind == "organization" else name), ("organization", organization)}
        if kind == "agent":
            agent = queries.agent(registry, organization, name)
            wanted |= {("agent", agent.name), ("team", agent.team)}
        found = [
            each for each in usage_limits.limits(registry, organization) if (each.subject_kind, each.subject) in wanted
        ]
    shown = [_standing(data, each) for each in found]
    if as_json:
        output.print_json(shown)
        return
    output.print_table(
        ("SUBJECT", "LIMIT", "VALUE", "SPENT", "RESERVED", "LEFT", "STARTS ANEW", "ONLY FOR"),
        [
            (
                _subject(limit),
                each.limit,
                str(each.value) + (" (raised)" if each.raised_until_ns else ""),
                *map(str, (each.spent, each.reserved, each.left)),
                "" if each.resets_at_ns is None else output.timestamp(each.resets_at_ns),
                _only(limit),
            )
            for limit, each in zip(found, shown, strict=True)
        ],
        empty=f"no limits: type `gateway limits set {subject} LIMIT VALUE`",
    )


def _standing(data: Path, limit: LimitRecord) -> LimitState:
    from gateway.audit.balances import MINUTE_NS
    from gateway.registry.zone_history import zones
    from gateway.settings import DataDirectory
    from gateway.usage import limits
    from gateway.usage.zones import DEFAULT, ends

    now = time.time_ns()
    balance = _balance(data, limit)
    minute = max(now // MINUTE_NS, balance.minute)
    used, reserved = balance.at(limits.COUNTERS[limit.limit], minute)
    unit = 1000 if limits.is_spend(limit.limit) else 1
    raised = limit.raised_until_ns is not None and now < limit.raised_until_ns
    value = max(limit.value, limit.raised or 0) if raised else limit.value
    zone = zones(DataDirectory(data).registry_db).get(limit.organization, DEFAULT)
    end = balance.ends(limits.COUNTERS[limit.limit], minute, ends(zone, minute))
    return LimitState(
        id=limit.id,
        subject_kind=limit.subject_kind,
        subject=limit.subject,
        limit=limit.limit,
        upstream=limit.upstream,
        model=limit.model,
        value=value,
        spent=-(-(used - reserved) // unit),
        reserved=-(-reserved // unit),
        left=max(0, (value * unit - used) // unit),
        resets_at_ns=None if end is None else end * 10**9,
        raised_until_ns=limit.raised_until_ns if raised else None,
    )


def _balance(data: Path, limit: LimitRecord) -> Balance:
    from gateway.audit import balances, storage
    from gateway.settings import DataDirectory
    from gateway.usage.limits import scope

    where = scope(limit.subject_kind, limit.subject_id, limit.upstream, limit.model)
    with closing(storage.connect_read_only(DataDirectory(data).audit_db)) as db:
        return balances.find(db, limit.organization, where) or balances.Balance()


def _until(found: LimitState) -> str:
    return "" if found.resets_at_ns is None else f" until {output.timestamp(found.resets_at_ns)}"


def _subject(limit: LimitRecord) -> str:
    kind = {"agent": "", "organization": "org:"}.get(limit.subject_kind, f"{limit.subject_kind}:")
    return f"{kind}{limit.subject}"


def _only(limit: LimitRecord) -> str:
    return " ".join(f"{what} {text}" for what, text in (("upstream", limit.upstream), ("model", limit.model)) if text)


def _whose(limit: LimitRecord) -> str:
    return f"{limit.subject_kind} {limit.subject}" + (f" (only {_only(limit)})" if _only(limit) else "")


def _raised(limit: LimitRecord, now: int) -> str:
    if limit.raised_until_ns is None or now >= limit.raised_until_ns:
        return ""
    return f"to {limit.raised} until {output.timestamp(limit.raised_until_ns)}"


def _reason(limit: LimitRecord, now: int) -> str:
    return output.printable(limit.reason or "") if _raised(limit, now) else ""
