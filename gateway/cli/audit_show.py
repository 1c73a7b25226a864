"""`gateway audit show`: one entry with all that was kept; of a decision both entries, the input and the verdicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.audit.log_files import log_directory
from gateway.cli import kept_content, output, remote
from gateway.cli.asking import Everywhere
from gateway.cli.audit_list import document as entry_document
from gateway.cli.audit_list import what
from gateway.cli.key_texts import shown
from gateway.errors import GatewayError
from gateway.identity import key_scope

if TYPE_CHECKING:
    from gateway.audit.lookup import Decision
    from gateway.audit.search import Found
    from gateway.control.decisions import JudgedAgain

EventId = Annotated[
    str,
    typer.Argument(metavar="ID", help="An id of `gateway audit list` or of `x-decision-id`; its beginning is enough."),
]


def show(
    ask: Everywhere,
    event_id: EventId,
    content: Annotated[
        bool, typer.Option("--content", help="Also what was said, if it is kept. The reading is recorded.")
    ] = False,
) -> None:
    """Show one entry of the log with everything that was kept of it.

    Of a decision: what was decided and how the call ended, the input that was judged, without content, and the verdict
    of each bundle. `gateway explain ID` says which rules made them.
    """
    from gateway.cli import log_requests

    if content:
        remote.only_here("--content")
    with ask.gateway() as gateway:
        looked = log_requests.show(gateway, event_id)
    found, decision, again = looked.found, looked.decision, looked.again
    if decision is None or again is None:
        if content:
            message = f"`{found.event_id}` is no decision, so it has no content"
            raise GatewayError("not_a_decision", message, subject=found.event_id)
        if ask.as_json:
            output.print_json(entry_document(found))
        else:
            typer.echo(typer.style(f"{found.event_id} {found.kind}", bold=True))
            typer.echo(f"  {output.printable(what(found))}")
            _print_entry(found)
        return
    kept = kept_content.read(log_directory(ask.data), decision) if content else None
    if ask.as_json:
        shown = document(decision, again)
        if kept is not None:
            shown["content"] = kept
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_decision(decision)
        _print_verdicts(again)
        typer.echo(typer.style("\ninput", bold=True) + " (as kept: without content)")
        _print_document(decision.input)
        for part, value in (kept or {}).items():
            redacted = kept_content.redacted(decision, part)
            typer.echo(typer.style(f"\n{part}", bold=True) + (f" (redacted in {redacted} places)" if redacted else ""))
            _print_document(value)


def _print_document(value: Any) -> None:
    text = "not kept" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    for line in text.splitlines():
        typer.echo(f"  {output.printable(line)}")


def document(decision: Decision, again: JudgedAgain) -> dict[str, Any]:
    """A decision for programs."""
    return {
        "id": decision.id,
        "decided": entry_document(decision.decided),
        "completed": None if decision.completed is None else entry_document(decision.completed),
        "input": decision.input,
        "bundles": again.bundles,
        "judged_again": again.verdict,
        "agrees": again.agrees,
        "problem": again.problem or None,
    }


def print_decision(decision: Decision) -> None:
    """What was decided, about whom and what, and how it ended."""
    from gateway.policy import reexecution

    found = decision.decided
    get = found.entry.get
    before = reexecution.recorded(found.entry)
    verdict = "allowed" if before.allow else f"denied {before.code}"
    typer.echo(
        typer.style(decision.id, bold=True)
        + " "
        + typer.style(verdict, fg="green" if before.allow else "red", bold=True)
    )
    agent = f"{get('agent_name') or ''} ({get('agent')})".strip()
    call = " ".join(str(get(name)) for name in ("method", "path", "action", "model") if get(name))
    fields = [
        ("at", output.timestamp(found.time_ns)),
        ("agent", f"{agent}, version {get('agent_version')}" if get("agent_version") else agent),
        ("owner", _owner(decision)),
        ("key", f"{get('key')}, {method}" if (method := get("credential_method")) not in (None, "api_key") else ""),
        ("person", _person(decision)),
        ("call", f"{call} at {get('upstream')}" if get("upstream") else call),
        ("client", str(get("user_agent") or "")),
        ("trace", str(get("trace_id") or "")),
        ("key for", _scope(found)),
        ("reasons", "; ".join(before.reasons)),
        ("obliged", json.dumps(before.obligations.document(), ensure_ascii=False) if before.obligations else ""),
        ("changed", _changes(found)),
        ("detail", before.detail),
        ("reserves", _reserved(found)),
        *(("limit", line) for line in _limits(found)),
        ("shadow", _shadows(found)),
        ("policies", f"commit {str(get('policy_commit'))[:12]}, {get('activation')}" if get("activation") else ""),
        ("log", f"entry {found.seq} of `{found.organization}`"),
        ("end", _end(decision)),
    ]
    for name, text in fields:
        if text:
            typer.echo(f"  {name.ljust(9)} {output.printable(text)}")


def _owner(decision: Decision) -> str:
    """The owner of the agent, and its team, as the input says that is kept."""
    agent = (decision.input or {}).get("agent")
    if not isinstance(agent, dict):
        return ""
    team = f"team {agent['team']}" if agent.get("team") else ""
    return ", ".join(str(each) for each in (agent.get("owner"), team) if each)


def _person(decision: Decision) -> str:
    """For whom the agent acted, as the input says that is kept."""
    person = (decision.input or {}).get("on_behalf_of")
    return f"{person.get('subject')} of {person.get('issuer')}" if isinstance(person, dict) else ""


def _changes(found: Found) -> str:
    """What the gateway changed in the call before it forwarded it."""
    try:
        edits = [str(each) for each in json.loads(str(found.entry.get("edits_json") or "[]"))]
    except (ValueError, TypeError):  # a log that was tampered with
        return ""
    model = found.entry.get("forwarded_model")
    return ", ".join(f"{each} ({model})" if each == "model" and model else each for each in edits)


def _reserved(found: Found) -> str:
    """The most that the call could use, and where it counts."""
    from gateway.usage.prices import dollars

    try:
        held = json.loads(str(found.entry.get("reservation_json") or "null"))
        if held is None:
            return ""
        amounts = f"{held['tokens']:,} tokens, {dollars(held['spend_nanousd'])}, " if held["tokens"] else ""
        return f"{amounts}1 request of {', '.join(held['scopes'])}"
    except (ValueError, TypeError, KeyError):  # a log that was tampered with
        return ""


def _limits(found: Found) -> list[str]:
    """Each limit that the call was compared with, or that had no room for it, as it was then."""
    from gateway.audit.thresholds import limit_name, unit
    from gateway.usage.reservation import amount

    lines = []
    try:
        for full in json.loads(str(found.entry.get("limits_json") or "[]")):
            name = full["limit"]
            spent, most, held, needed = (amount(name, full[part]) for part in ("spent", "value", "reserved", "needed"))
            lines.append(
                f"{full['subject']} {name}: {spent} of {most} spent, {held} reserved, {needed} needed: no room"
            )
        reservation = json.loads(str(found.entry.get("reservation_json") or "{}"))
        if "estimated" in reservation:
            lines.append(f"what it reserved is an estimate: it has {output.printable(str(reservation['estimated']))}")
        read = reservation.get("read", ())
        for scope, counter, *numbers in read:
            name = limit_name(counter)
            used, reserved, value = (int(each) for each in numbers[:3])
            amounts = (used - reserved, value, reserved)
            spent, most, held = (amount(name, -(-each // unit(counter))) for each in amounts)
            mode = ", by estimates" if "estimate" in numbers[4:] else ""
            lines.append(f"{scope} {name}: {spent} of {most} spent, {held} reserved{mode}")
    except (ValueError, TypeError, KeyError, AttributeError):  # a log that was tampered with
        return []
    return lines


def _scope(found: Found) -> str:
    """What the key is for, if that is less than its agent may do; and where the call came from, if that counts."""
    try:
        scope = key_scope.parse(str(found.entry.get("key_scope_json") or "null"))
    except (ValueError, TypeError):  # a log that was tampered with
        return ""
    peer = found.entry.get("peer_address")
    return (shown(scope.document()) if scope else "") + (f" (from {peer})" if peer else "")


def _shadows(found: Found) -> str:
    """What bundles that do not count would have decided."""
    try:
        listed = json.loads(str(found.entry.get("shadow_json") or "[]"))
        return "; ".join(
            f"{each['name']} ({each['effect']}) would say {each['code']}"
            + (f" ({', '.join(each['reasons'])})" if each["reasons"] else "")
            for each in listed
        )
    except (ValueError, TypeError, KeyError):  # a log that was tampered with
        return ""


def _end(decision: Decision) -> str:
    if decision.completed is not None:
        duration = decision.completed.entry.get("duration_us")
        took = f", {duration // 1000:,} ms" if isinstance(duration, int) else ""
        price = decision.completed.entry.get("price")
        return f"{what(decision.completed)}{f' by {price}' if price else ''}{took}"
    if decision.decided.entry.get("dry_run"):
        return "a dry run: nothing was forwarded"
    return "the call is under way, or its end is not recorded yet" if decision.decided.entry.get("open") else ""


def _print_verdicts(again: JudgedAgain) -> None:
    from gateway.cli.reasons_text import print_hint, verdict_line

    typer.echo(typer.style("\nverdicts", bold=True) + " (judged again from what was kept)")
    for bundle in again.bundles:
        reasons = f" ({'; '.join(bundle['reasons'])})" if bundle["reasons"] else ""
        typer.echo(f"  {output.printable(verdict_line(bundle) + reasons)}")
        print_hint(bundle, 2)
    if again.problem:
        typer.echo(f"  {output.printable(again.problem)}")
    elif again.agrees is False:
        typer.echo(typer.style("  this is not what was recorded", fg="red"))


def _print_entry(found: Found) -> None:
    from gateway.audit.entry import opened

    for name, value in opened(found.entry).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        typer.echo(f"  {name.ljust(20)} {output.printable(text)}")
