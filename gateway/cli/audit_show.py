"""`gateway audit show`: one entry with all that was kept; of a decision both entries, the input and the verdicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import Everywhere
from gateway.cli.audit_list import document as entry_document
from gateway.cli.audit_list import what
from gateway.cli.reasons_text import print_hint, verdict_line
from gateway.cli.signing_keys import shown_scope
from gateway.errors import GatewayError
from gateway.identity import key_scope

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

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
    with ask.gateway() as gateway:
        looked = gateway.get("audit", "entries", event_id)
        found, decision = looked["entry"], looked["decision"]
        if content and decision is None:
            message = f"`{found['id']}` is no decision, so it has no content"
            raise GatewayError("not_a_decision", message, subject=found["id"])
        kept = gateway.send("POST", "content", found["id"], "read", body={}) if content else None
    if decision is None:
        if ask.as_json:
            output.print_json(entry_document(found))
            return
        typer.echo(typer.style(f"{found['id']} {found['kind']}", bold=True))
        typer.echo(f"  {output.printable(what(found))}")
        _print_entry(found)
        return
    if kept is not None and kept["read"] is None:
        raise files.answer_lost(f"the content of `{found['id']}` was read", "type it again")
    said = {} if kept is None else kept["read"]["content"]
    if ask.as_json:
        shown = document(decision) | ({} if kept is None else {"content": said})
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    print_decision(decision)
    _print_verdicts(decision)
    typer.echo(typer.style("\ninput", bold=True) + " (as kept: without content)")
    _print_document(decision["input"])
    for part, value in said.items():
        redacted = _redacted(decision, part)
        typer.echo(typer.style(f"\n{part}", bold=True) + (f" (redacted in {redacted} places)" if redacted else ""))
        _print_document(value)


def _redacted(decision: AnswerDocument, part: str) -> int:
    """The number of places in a part that were redacted."""
    found = decision["decided"] if part == "request" else decision["completed"]
    count = found["entry"].get("content_redacted") if found is not None else None
    return count if isinstance(count, int) else 0


def _print_document(value: Any) -> None:
    text = "not kept" if value is None else json.dumps(value, indent=2, ensure_ascii=False)
    for line in text.splitlines():
        typer.echo(f"  {output.printable(line)}")


def document(decision: AnswerDocument) -> dict[str, Any]:
    """A decision for programs."""
    completed = decision["completed"]
    return {
        "id": decision["decided"]["id"],
        "decided": entry_document(decision["decided"]),
        "completed": None if completed is None else entry_document(completed),
        **{name: decision[name] for name in ("input", "bundles", "judged_again", "agrees")},
        "problem": decision["problem"] or None,
    }


def print_decision(decision: AnswerDocument) -> None:
    """Print the decision, about whom and what it was, and how it ended."""
    from gateway.policy import reexecution

    found = decision["decided"]
    entry = found["entry"]
    get = entry.get
    before = reexecution.recorded(entry)
    verdict = "allowed" if before.allow else f"denied {before.code}"
    colour = "green" if before.allow else "red"
    typer.echo(f"{typer.style(found['id'], bold=True)} {typer.style(verdict, fg=colour, bold=True)}")
    agent = f"{get('agent_name') or ''} ({get('agent')})".strip()
    call = " ".join(str(get(name)) for name in ("method", "path", "action", "model") if get(name))
    fields = [
        ("at", found["time"]),
        ("agent", f"{agent}, version {get('agent_version')}" if get("agent_version") else agent),
        ("owner", _owner(decision)),
        ("key", f"{get('key')}, {method}" if (method := get("credential_method")) not in (None, "api_key") else ""),
        ("person", _person(decision)),
        ("call", f"{call} at {get('upstream')}" if get("upstream") else call),
        ("proposed", _proposed(entry)),
        ("client", str(get("user_agent") or "")),
        ("trace", str(get("trace_id") or "")),
        ("key for", _scope(entry)),
        ("reasons", "; ".join(before.reasons)),
        ("obliged", json.dumps(before.obligations.document(), ensure_ascii=False) if before.obligations else ""),
        ("changed", _changes(entry)),
        ("detail", before.detail),
        ("reserves", _reserved(entry)),
        *(("limit", line) for line in _limits(entry)),
        ("shadow", _shadows(entry)),
        ("policies", f"commit {str(get('policy_commit'))[:12]}, {get('activation')}" if get("activation") else ""),
        ("log", f"entry {found['seq']} of `{found['organization']}`"),
        ("end", _end(decision)),
    ]
    for name, text in fields:
        if text:
            typer.echo(f"  {name.ljust(9)} {output.printable(text)}")


def _owner(decision: AnswerDocument) -> str:
    """The owner of the agent, and its team, as the input says that is kept."""
    agent = (decision["input"] or {}).get("agent")
    if not isinstance(agent, dict):
        return ""
    team = f"team {agent['team']}" if agent.get("team") else ""
    return ", ".join(str(each) for each in (agent.get("owner"), team) if each)


def _person(decision: AnswerDocument) -> str:
    """The person for whom the agent acted, as the input says that is kept."""
    person = (decision["input"] or {}).get("on_behalf_of")
    return f"{person.get('subject')} of {person.get('issuer')}" if isinstance(person, dict) else ""


def _changes(entry: dict[str, Any]) -> str:
    """The changes that the gateway made in the call before it forwarded it."""
    try:
        edits = [str(each) for each in json.loads(str(entry.get("edits_json") or "[]"))]
    except (ValueError, TypeError):  # a log that was tampered with
        return ""
    model = entry.get("forwarded_model")
    return ", ".join(f"{each} ({model})" if each == "model" and model else each for each in edits)


def _reserved(entry: dict[str, Any]) -> str:
    """The most that the call could use, and where it counts."""
    from gateway.usage.prices import dollars

    try:
        held = json.loads(str(entry.get("reservation_json") or "null"))
        if held is None:
            return ""
        amounts = f"{held['tokens']:,} tokens, {dollars(held['spend_nanousd'])}, " if held["tokens"] else ""
        return f"{amounts}1 request of {', '.join(held['scopes'])}"
    except (ValueError, TypeError, KeyError):  # a log that was tampered with
        return ""


def _limits(entry: dict[str, Any]) -> list[str]:
    """Each limit that the call was compared with, or that had no room for it, as it was then."""
    from gateway.audit.balance import LIMIT_NAMES, unit
    from gateway.usage.reservation import amount

    lines = []
    try:
        for full in json.loads(str(entry.get("limits_json") or "[]")):
            name = full["limit"]
            spent, most, held, needed = (amount(name, full[part]) for part in ("spent", "value", "reserved", "needed"))
            lines.append(
                f"{full['subject']} {name}: {spent} of {most} spent, {held} reserved, {needed} needed: no room"
            )
        reservation = json.loads(str(entry.get("reservation_json") or "{}"))
        if "estimated" in reservation:
            lines.append(f"what it reserved is an estimate: it has {output.printable(str(reservation['estimated']))}")
        read = reservation.get("read", ())
        for scope, counter, *numbers in read:
            name = LIMIT_NAMES[counter]
            used, reserved, value = (int(each) for each in numbers[:3])
            amounts = (used - reserved, value, reserved)
            spent, most, held = (amount(name, -(-each // unit(counter))) for each in amounts)
            mode = ", by estimates" if "estimate" in numbers[4:] else ""
            lines.append(f"{scope} {name}: {spent} of {most} spent, {held} reserved{mode}")
    except (ValueError, TypeError, KeyError, AttributeError):  # a log that was tampered with
        return []
    return lines


def _scope(entry: dict[str, Any]) -> str:
    """What the key is for, if that is less than its agent may do; and where the call came from, if that counts."""
    try:
        scope = key_scope.parse(str(entry.get("key_scope_json") or "null"))
    except (ValueError, TypeError):  # a log that was tampered with
        return ""
    peer = entry.get("peer_address")
    return (shown_scope(scope.document()) if scope else "") + (f" (from {peer})" if peer else "")


def _proposed(entry: dict[str, Any]) -> str:
    """The decision on the model's call whose answer proposed this call of a tool."""
    if "proposed_by" not in entry:
        return ""
    if entry["proposed_by"] is None:
        return "by no answer of a model that the gateway has seen"
    return f"by the answer of {entry['proposed_by']}" + (
        ", with other arguments" if entry.get("proposed_otherwise") else ""
    )


def _shadows(entry: dict[str, Any]) -> str:
    """The verdicts of bundles that do not count."""
    try:
        listed = json.loads(str(entry.get("shadow_json") or "[]"))
        return "; ".join(
            f"{each['name']} ({each['effect']}) would say {each['code']}"
            + (f" ({', '.join(each['reasons'])})" if each["reasons"] else "")
            for each in listed
        )
    except (ValueError, TypeError, KeyError):  # a log that was tampered with
        return ""


def _end(decision: AnswerDocument) -> str:
    completed = decision["completed"]
    if completed is not None:
        duration, price = completed["entry"].get("duration_us"), completed["entry"].get("price")
        took = f", {duration // 1000:,} ms" if isinstance(duration, int) else ""
        return f"{what(completed)}{f' by {price}' if price else ''}{took}"
    entry = decision["decided"]["entry"]
    if entry.get("dry_run"):
        return "a dry run: nothing was forwarded"
    return "the call is under way, or its end is not recorded yet" if entry.get("open") else ""


def _print_verdicts(decision: AnswerDocument) -> None:
    typer.echo(typer.style("\nverdicts", bold=True) + " (judged again from what was kept)")
    for bundle in decision["bundles"]:
        reasons = f" ({'; '.join(bundle['reasons'])})" if bundle["reasons"] else ""
        typer.echo(f"  {output.printable(verdict_line(bundle) + reasons)}")
        print_hint(bundle, 2)
    if decision["problem"]:
        typer.echo(f"  {output.printable(decision['problem'])}")
    elif decision["agrees"] is False:
        typer.echo(typer.style("  this is not what was recorded", fg="red"))


def _print_entry(found: AnswerDocument) -> None:
    from gateway.audit.entry import opened

    for name, value in opened(found["entry"]).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        typer.echo(f"  {name.ljust(20)} {output.printable(text)}")
