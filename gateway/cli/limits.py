"""`gateway limits`: what agents, teams and organizations may use, and how much of it is left."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.cli.bindings import parse_subject
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.registry.limits.states import LimitState
    from gateway.registry.records import LimitRecord

app = App(no_args_is_help=True, help="Limit requests, tokens and money of agents, teams and organizations.")

_DOLLARS = re.compile(r"(?:\$\s*)?([0-9]{1,10})(?:\.([0-9]{1,6}))?\s*(?:usd)?", re.IGNORECASE | re.ASCII)
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))", re.ASCII)
_BOTH = re.compile(r"([0-9]{1,20})\s*\((\$[0-9.]+)\)", re.ASCII)

Subject = Annotated[str, typer.Argument(help="An agent's name or id, `team:NAME`, or `org:NAME`.")]
Limit = Annotated[
    str,
    typer.Argument(
        metavar="LIMIT",
        help="`(requests|tokens|spend_microusd)_per_(minute|hour|day|month)`, or `concurrent_requests`.",
    ),
]
Value = Annotated[
    str,
    typer.Argument(
        metavar="VALUE", help="Requests, tokens, or money in millionths of a dollar; `500usd` is 500 dollars."
    ),
]
Upstream = Annotated[str, typer.Option("--upstream", metavar="NAME", help="Only calls to this upstream.")]
Model = Annotated[
    str,
    typer.Option("--model", metavar="MODEL", help="Only calls of this model; `*` at its end stands for any rest."),
]


@app.command("set")
def set_limit(
    ask: ChangingOf,
    subject: Subject,
    limit: Limit,
    value: Value,
    upstream: Upstream = "",
    model: Model = "",
    mode: Annotated[
        str,
        typer.Option(
            "--mode",
            metavar="MODE",
            help="Of tokens and money: `hard` refuses a call that has no bound, `estimate` reserves what such calls "
            "used. A new limit has `estimate`, another one keeps its mode.",
        ),
    ] = "",
    create: Annotated[
        bool, typer.Option("--create", help="Also for a team or an organization that no agent is in yet.")
    ] = False,
) -> None:
    """Set a limit, from the next request on. All limits that apply to a call must have room for it.

    One that an operator of the whole gateway has set, or somebody at its machine, cannot be changed by operators of the
    organization. Theirs is another one beside it, and the lower one decides.
    """
    named, organization = _name(subject, ask.organization, limit, upstream, model)
    body = named | {"value": _amount(limit, value), "without_members": create, "reason": ask.reason}
    if mode:  # an older gateway has no modes
        body["mode"] = mode
    made = _sent(ask.data, organization, body)
    if ask.as_json:
        output.print_json(made)
        return
    typer.echo(f"{_whose(made)} now has the limit {made.limit} {_shown(made.limit, made.value)}")
    if made.mode == "estimate":
        output.note("a call that has no bound reserves an estimate; with `--mode hard` it is refused")
    found = _told_beside(ask.data, made)
    if found is None:
        return
    if found.spent + found.reserved:
        used = f"{_shown(limit, found.spent + found.reserved)} of it is used already"
        (output.warn if found.left == 0 else output.note)(f"{used}, {_shown(limit, found.left)} is left{_until(found)}")
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
    """Raise a limit for a while; it falls back by itself.

    Where the gateway and the organization have set the same one, it is that of whoever asks. An operator of the
    organization cannot raise the gateway's.
    """
    named, organization = _name(subject, organization, limit, upstream, model)
    seconds = documents.seconds(output.parse_duration(duration))
    body = named | {"value": _amount(limit, value), "for_seconds": seconds, "reason": reason}
    made = _sent(data, organization, body, "raise")
    if as_json:
        output.print_json(made)
    else:
        assert made.raised_until_ns is not None
        until = output.timestamp(made.raised_until_ns)
        values = f"from {_shown(limit, made.value)} to {_shown(limit, made.raised or 0)}"
        typer.echo(f"{made.limit} of {_whose(made)} is raised {values} until {until}")
        _told_beside(data, made)


@app.command("remove")
def remove_limit(ask: ChangingOf, subject: Subject, limit: Limit, upstream: Upstream = "", model: Model = "") -> None:
    """End a limit, from the next request on. What is used is counted all the same.

    Where the gateway and the organization have set the same one, it is that of whoever asks. An operator of the
    organization cannot end the gateway's.
    """
    named, organization = _name(subject, ask.organization, limit, upstream, model)
    removed = _sent(ask.data, organization, named | {"reason": ask.reason}, "remove")
    if ask.as_json:
        output.print_json(removed)
    else:
        typer.echo(f"{_whose(removed)} no longer has the limit {removed.limit} {_shown(limit, removed.value)}")
        _told_beside(ask.data, removed)


@app.command("list")
def list_limits(ask: Of) -> None:
    """List the limits that operators have set. Those of policies stand in the policies."""
    from gateway.registry.records import LimitRecord

    with ask.gateway() as gateway:
        found = documents.records(LimitRecord, gateway.items("limits", organization=ask.organization))
    if ask.as_json:
        output.print_json(found)
        return
    now = time.time_ns()
    output.print_table(
        ("SUBJECT", "LIMIT", "VALUE", "ONLY FOR", "RAISED", "REASON", "MODE", "SET BY"),
        [
            (
                *(_subject(each), each.limit, _shown(each.limit, each.value), _only(each)),
                *(_raised(each, now), _reason(each, now), each.mode, _set_by(each)),
            )
            for each in found
        ],
        empty="no limits: type `gateway limits set SUBJECT LIMIT VALUE`",
    )


@app.command("show")
def show_limits(ask: Of, subject: Subject) -> None:
    """Show the limits that hold a subject back: spent, reserved by calls under way, left, and when they start anew.

    For an agent these are also the limits of its team and its organization.
    """
    kind, name, organization = parse_subject(subject, ask.organization)
    shown = _states(ask.data, organization, kind, name)
    if ask.as_json:
        output.print_json(shown)
        return
    output.print_table(
        ("SUBJECT", "LIMIT", "VALUE", "SPENT", "RESERVED", "LEFT", "STARTS ANEW", "ONLY FOR", "MODE", "SET BY"),
        [
            (
                _subject(each),
                each.limit,
                _shown(each.limit, each.value) + (" (raised)" if each.raised_until_ns else ""),
                *(_shown(each.limit, amount) for amount in (each.spent, each.reserved, each.left)),
                "" if each.resets_at_ns is None else output.timestamp(each.resets_at_ns),
                _only(each),
                each.mode,
                _set_by(each),
            )
            for each in shown
        ],
        empty=f"no limits: type `gateway limits set {subject} LIMIT VALUE`",
    )


def _name(subject: str, organization: str, limit: str, upstream: str, model: str) -> tuple[dict[str, Any], str]:
    """Which limit of whom, as bodies name it, and in which organization."""
    kind, name, organization = parse_subject(subject, organization)
    named = {"subject_kind": kind, "subject": name, "limit": limit, "upstream": upstream, "model": model}
    return named, organization


def _sent(data: Path, organization: str, body: dict[str, Any], *verb: str) -> LimitRecord:
    """The limit that a change is about."""
    from gateway.registry.records import LimitRecord

    with gateways.client(data, output.warn) as gateway:
        reply = gateway.send("POST", "limits", *verb, body=body, organization=organization)
    return documents.record(LimitRecord, reply.body)


def _states(data: Path, organization: str, kind: str, subject: str) -> list[LimitState]:
    """Where all limits stand that hold a subject back."""
    from gateway.registry.limits.states import LimitState

    with gateways.client(data, output.warn) as gateway:
        found = gateway.items("limits", "states", organization=organization, subject_kind=kind, subject=subject)
    return documents.records(LimitState, found)


def _told_beside(data: Path, changed: LimitRecord) -> LimitState | None:
    """Say that the same limit is also set by others, if it is. Returns where the changed one stands, if it does."""
    found = _states(data, changed.organization, changed.subject_kind, changed.subject_id)
    which = (changed.subject_kind, changed.limit, changed.upstream, changed.model)
    for each in found:
        same = which == (each.subject_kind, each.limit, each.upstream, each.model)
        if same and each.by_gateway != changed.by_gateway:
            output.note(f"the {_set_by(each)}'s limit of {_shown(each.limit, each.value)} still holds")
    return next((each for each in found if each.id == changed.id), None)


def _amount(limit: str, text: str) -> int:
    """The value of a limit from a whole number, or for money from dollars: `500usd`, `$0.25`, `$0.25 usd`.

    What commands print of a value is read as well: `250000 ($0.25)`.
    """
    text = _THOUSANDS.sub("", text)
    if (both := _BOTH.fullmatch(text)) and _amount(limit, both[2]) == int(both[1]):
        return int(both[1])
    if text.isascii() and text.isdecimal() and len(text) <= 20:
        return int(text)
    money = limit.startswith("spend_")
    # A number with a fraction and no sign could be of either.
    if money and ("$" in text or text.lower().endswith("usd")) and (found := _DOLLARS.fullmatch(text)):
        return int(found[1]) * 1_000_000 + int((found[2] or "").ljust(6, "0"))
    ways = (
        "must be a whole number of millionths of a dollar, or dollars: 500usd, $500"
        if money
        else "must be a whole number"
    )
    raise typer.BadParameter(f"`{text[:80]}` is not a value of `{limit}`: it {ways}")


def _shown(limit: str, value: int) -> str:
    """A value with the dollars that it is, if it is money."""
    from gateway.usage.prices import dollars

    return f"{value} ({dollars(value * 1000)})" if limit.startswith("spend_") else str(value)


def _until(found: LimitState) -> str:
    return "" if found.resets_at_ns is None else f" until {output.timestamp(found.resets_at_ns)}"


def _subject(limit: LimitRecord | LimitState) -> str:
    kind = {"agent": "", "organization": "org:"}.get(limit.subject_kind, f"{limit.subject_kind}:")
    return f"{kind}{limit.subject}"


def _only(limit: LimitRecord | LimitState) -> str:
    return " ".join(f"{what} {text}" for what, text in (("upstream", limit.upstream), ("model", limit.model)) if text)


def _set_by(limit: LimitRecord | LimitState) -> str:
    known: bool | None = limit.by_gateway  # an older gateway elsewhere does not say
    return "-" if known is None else "gateway" if known else "organization"


def _whose(limit: LimitRecord) -> str:
    return f"{limit.subject_kind} {limit.subject}" + (f" (only {_only(limit)})" if _only(limit) else "")


def _raised(limit: LimitRecord, now: int) -> str:
    if limit.raised_until_ns is None or now >= limit.raised_until_ns:
        return ""
    return f"to {limit.raised} until {output.timestamp(limit.raised_until_ns)}"


def _reason(limit: LimitRecord, now: int) -> str:
    return output.printable(limit.reason or "") if _raised(limit, now) else ""
