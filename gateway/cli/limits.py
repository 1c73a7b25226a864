"""`gateway limits`: what agents, teams and organizations may use, and how much of it is left."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.asking import App, ChangingOf, GivenOptions, Of
from gateway.cli.bindings import parse_subject
from gateway.usage.limits import Part

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

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
Counterparty = Annotated[
    str,
    typer.Option(
        "--counterparty",
        metavar="TO",
        help="Only calls to agents of an organization, `to:ORG` or `to:ORG/AGENT`; or by them, `from:ORG`.",
    ),
]


Tool = Annotated[
    str,
    typer.Option("--tool", metavar="NAME", help="Only calls of this tool of MCP servers; `*` stands for any rest."),
]


@app.command("set")
def set_limit(
    ask: ChangingOf,
    subject: Subject,
    limit: Limit,
    value: Value,
    upstream: Upstream = "",
    model: Model = "",
    counterparty: Counterparty = "",
    tool: Tool = "",
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
    named, about = _name(subject, ask, limit, Part(upstream, model, counterparty, tool))
    body = named | {"value": amount(limit, value), "without_members": create}
    if mode:  # an older gateway has no modes
        body["mode"] = mode
    made = known(ask.send("POST", "limits", body=body, organization=about))
    line = f"{_whose(made)} now has the limit {made['limit']} {_shown(made, made['value'])}"
    estimate = "a call that has no bound reserves an estimate; with `--mode hard` it is refused"
    ask.show(made, line, *([estimate] if made["mode"] == "estimate" else []))
    found = _told_beside(ask, made)
    if found is None:
        return
    if spent := found["spent"] + found["reserved"]:
        until = "" if found["resets_at"] is None else f" until {found['resets_at']}"
        used = f"{_shown(found, spent)} of it is used already, {_shown(found, found['left'])} is left{until}"
        (output.warn if found["left"] == 0 else output.note)(used)
    elif _only(made):
        output.note("what was used before does not count: such calls are counted from now on")


@app.command("raise")
def raise_limit(
    ask: Of,
    subject: Subject,
    limit: Limit,
    value: Value,
    duration: Annotated[str, typer.Option("--for", metavar="TIME", help="How long: 30m, 2h, 1d; at most 31d.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; it stays in the audit log.")],
    upstream: Upstream = "",
    model: Model = "",
    counterparty: Counterparty = "",
    tool: Tool = "",
) -> None:
    """Raise a limit for a while; it falls back by itself.

    Where the gateway and the organization have set the same one, it is that of whoever asks. An operator of the
    organization cannot raise the gateway's.
    """
    named, about = _name(subject, ask, limit, Part(upstream, model, counterparty, tool))
    body = named | {"value": amount(limit, value), "for_seconds": output.seconds(duration), "reason": reason}
    made = known(ask.send("POST", "limits", "raise", body=body, organization=about))
    values = f"from {_shown(made, made['value'])} to {_shown(made, made['raised'] or 0)}"
    ask.show(made, f"{made['limit']} of {_whose(made)} is raised {values} until {made['raised_until']}")
    _told_beside(ask, made)


@app.command("remove")
def remove_limit(
    ask: ChangingOf,
    subject: Subject,
    limit: Limit,
    upstream: Upstream = "",
    model: Model = "",
    counterparty: Counterparty = "",
    tool: Tool = "",
) -> None:
    """End a limit, from the next request on. What is used is counted all the same.

    Where the gateway and the organization have set the same one, it is that of whoever asks. An operator of the
    organization cannot end the gateway's.
    """
    named, about = _name(subject, ask, limit, Part(upstream, model, counterparty, tool))
    removed = known(ask.send("POST", "limits", "remove", body=named, organization=about))
    value = _shown(removed, removed["value"])
    ask.show(removed, f"{_whose(removed)} no longer has the limit {removed['limit']} {value}")
    _told_beside(ask, removed)


@app.command("list")
def list_limits(ask: Of) -> None:
    """List the limits that operators have set. Those of policies stand in the policies."""
    now_ns = output.now_ns()
    ask.table(
        map(known, ask.items("limits")),
        *(("SUBJECT", _subject), "LIMIT", ("VALUE", lambda each: _shown(each, each["value"])), ("ONLY FOR", _only)),
        ("RAISED", lambda each: f"to {each['raised']} until {each['raised_until']}" if _raised(each, now_ns) else ""),
        ("REASON", lambda each: output.printable(each["reason"] or "") if _raised(each, now_ns) else ""),
        *("MODE", ("SET BY", _set_by)),
        empty="no limits: type `gateway limits set SUBJECT LIMIT VALUE`",
    )


@app.command("show")
def show_limits(ask: Of, subject: Subject) -> None:
    """Show the limits that hold a subject back: spent, reserved by calls under way, left, and when they start anew.

    For an agent these are also the limits of its team and its organization.
    """
    kind, name, about = parse_subject(subject, ask.organization)
    ask.table(
        map(known, ask.items("limits", "states", organization=about, subject_kind=kind, subject=name)),
        *(("SUBJECT", _subject), "LIMIT"),
        ("VALUE", lambda each: _shown(each, each["value"]) + (" (raised)" if each["raised_until"] else "")),
        ("SPENT", lambda each: _shown(each, each["spent"])),
        ("RESERVED", lambda each: _shown(each, each["reserved"])),
        ("LEFT", lambda each: _shown(each, each["left"])),
        *(("STARTS ANEW", "resets_at"), ("ONLY FOR", _only), "MODE", ("SET BY", _set_by)),
        empty=f"no limits: type `gateway limits set {subject} LIMIT VALUE`",
    )


def _name(subject: str, ask: GivenOptions, limit: str, part: Part) -> tuple[dict[str, Any], str | None]:
    """A limit of a subject, as bodies name it, and the organization."""
    kind, name, about = parse_subject(subject, ask.organization)
    named = {each: value for each, value in part._asdict().items() if value}  # an older gateway has fewer
    return {"subject_kind": kind, "subject": name, "limit": limit, **named}, about


def known(limit: AnswerDocument) -> AnswerDocument:
    """A limit; an older gateway elsewhere does not say who has set it, and has no modes and no counterparties."""
    unsaid = {"by_gateway": None, "mode": "hard", "counterparty": "", "tool": ""}
    return limit | {name: limit.get(name, value) for name, value in unsaid.items()}


def _told_beside(ask: GivenOptions, changed: AnswerDocument) -> AnswerDocument | None:
    """Say that the same limit is also set by others, if it is. Returns where the changed one stands, if it does."""
    if ask.as_json:
        return None
    about = {name: changed[name] for name in ("organization", "subject_kind")} | {"subject": changed["subject_id"]}
    found = [known(each) for each in ask.items("limits", "states", **about)]
    which = ("subject_kind", "limit", *Part._fields)
    for each in found:
        same = all(each[name] == changed[name] for name in which)
        if same and each["by_gateway"] != changed["by_gateway"]:
            output.note(f"the {_set_by(each)}'s limit of {_shown(each, each['value'])} still holds")
    return next((each for each in found if each["id"] == changed["id"]), None)


def amount(limit: str, text: str) -> int:
    """The value of a limit from a whole number, or for money from dollars: `500usd`, `$0.25`, `$0.25 usd`.

    What commands print of a value is read as well: `250000 ($0.25)`.
    """
    text = _THOUSANDS.sub("", text)
    if (both := _BOTH.fullmatch(text)) and amount(limit, both[2]) == int(both[1]):
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


def _shown(limit: AnswerDocument, value: int) -> str:
    """A value with the dollars that it is, if it is money."""
    from gateway.usage.prices import dollars

    return f"{value} ({dollars(value * 1000)})" if limit["limit"].startswith("spend_") else str(value)


def _subject(limit: AnswerDocument) -> str:
    kind = {"agent": "", "organization": "org:"}.get(limit["subject_kind"], f"{limit['subject_kind']}:")
    return f"{kind}{limit['subject']}"


def _only(limit: AnswerDocument) -> str:
    return " ".join(f"{what} {limit[what]}" for what in Part._fields if limit[what])


def _set_by(limit: AnswerDocument) -> str:
    return {None: "-", True: "gateway", False: "organization"}[limit["by_gateway"]]


def _whose(limit: AnswerDocument) -> str:
    return f"{limit['subject_kind']} {limit['subject']}" + (f" (only {_only(limit)})" if _only(limit) else "")


def _raised(limit: AnswerDocument, now_ns: int) -> bool:
    return limit["raised_until"] is not None and now_ns < output.parse_time(limit["raised_until"])


def in_force(limit: AnswerDocument, now_ns: int) -> int:
    """Its value now, if it is raised for a while."""
    value: int = limit["raised"] if limit["raised"] is not None and _raised(limit, now_ns) else limit["value"]
    return value
