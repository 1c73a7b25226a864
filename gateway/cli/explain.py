"""`gateway explain`: why a decision went as it did, from what the log kept of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from gateway.audit.log_files import log_directory
from gateway.cli import kept_content, output
from gateway.cli.advice import advice
from gateway.cli.asking import Everywhere
from gateway.cli.audit_show import EventId, document, print_decision
from gateway.cli.reasons_text import print_answers
from gateway.control import decisions
from gateway.errors import GatewayError
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.audit.lookup import Decision
    from gateway.audit.search import Found
    from gateway.control.decisions import JudgedAgain
    from gateway.data_directory import DataDirectory


def explain(ask: Everywhere, event_id: EventId) -> None:
    """Explain a decision: which rules made it, and which expression failed in those that did not hold.

    It is evaluated again by the bundles that judged it, from the input that the log keeps. If they read content and it
    is kept, that is read, too, and the reading recorded; with a server it is left out. Of a refusal that no policy
    made, it says which check refused and what to do. Exit codes: 0 explained, 1 there is no such decision, or the
    policies do not give the recorded verdict again.
    """
    from gateway.cli import log_requests

    with ask.gateway() as gateway:
        looked = log_requests.show(gateway, event_id, explained=True)
    found, decision, again = looked.found, looked.decision, looked.again
    if decision is None or again is None:
        if found.kind != "refused":
            message = f"`{found.event_id}` is no decision, but an entry of the kind `{found.kind}`"
            raise GatewayError("not_a_decision", message, hint=f"see `gateway audit show {found.event_id}`")
        _explain_refusal(found, as_json=ask.as_json)
        return
    if any(each["unkept"] for each in again.bundles) and "content_commitment" in decision.decided.entry:
        if gateways.chosen() is None:
            again = _with_content(log_directory(ask.data), decision) or again
        else:
            output.note("what was said is read on the gateway's own machine only: run it there, without a server")
    code = str(decision.decided.entry.get("reason"))
    if ask.as_json:
        shown = document(decision, again)
        found_advice = advice(code)
        shown["advice"] = found_advice and found_advice._asdict()
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_decision(decision)
        print_advice(code)
        print_answers(again.bundles)
        _print_agreement(again, code)
    if again.agrees is False:
        raise typer.Exit(1)


def _with_content(directory: DataDirectory, decision: Decision) -> JudgedAgain | None:
    """A decision by policies that read content, judged again with what is kept of it; None if that is not to be had.

    Values of it will be printed, so that it was read is recorded first.
    """
    from gateway.policy import reexecution

    try:
        filled = kept_content.read_request(directory, decision)
    except GatewayError as error:
        output.warn("what was said is left out, because its reading cannot be recorded", error.message)
        return None
    if filled is None:
        return None
    output.note("policies read what was said, so it was read for this: the log has an entry about it")
    again = reexecution.judge_again(directory.bundles, filled.decided.entry, filled.input)
    return decisions.judged_again(again, explained=True)


def _explain_refusal(found: Found, *, as_json: bool) -> None:
    """Requests that were refused before any policy was asked, or denied and only counted."""
    entry = found.entry
    code, detail = str(entry.get("reason")), str(entry.get("detail") or "")
    known = advice(code, detail)
    if as_json:
        fields = {name: entry.get(name) for name in ("reason", "detail", "count", "agent", "key")}
        fields["asked"] = json.loads(str(entry.get("asked_json") or "[]"))
        output.print_json({"id": found.event_id, **fields, "advice": known and known._asdict()})
        return
    count = entry.get("count")
    requests = "a request was" if count == 1 else f"{count} requests were"
    typer.echo(typer.style(found.event_id, bold=True) + f" {requests} refused: {output.printable(code)}")
    for each in json.loads(str(entry.get("asked_json") or "[]")):
        asked = " ".join(str(each[name]) for name in ("method", "path", "model") if name in each)
        typer.echo(f"  {'asked'.ljust(9)} {output.printable(asked)} (x{each['count']})")
    if entry.get("judged"):
        typer.echo("  policies or limits denied these; the agent had so many denials that they were only counted")
    print_advice(code, detail)


def print_advice(code: str, detail: str = "") -> None:
    known = advice(code, detail)
    if known is not None:
        typer.echo(f"  {'check'.ljust(9)} {known.check}")
        typer.echo(f"  {'next'.ljust(9)} {known.step}")


def _print_agreement(again: JudgedAgain, recorded: str) -> None:
    typer.echo()
    if again.agrees:
        typer.echo(typer.style("✓", fg="green") + " judged again, this is the verdict that was recorded")
    elif again.verdict is None:
        typer.echo(typer.style("!", fg="yellow") + f" it cannot be judged again: {output.printable(again.problem)}")
    elif again.agrees is None:
        what = f"judged again: {again.verdict['reason']}: {again.problem}"
        typer.echo(typer.style("!", fg="yellow") + f" {output.printable(what)}")
    else:
        what = f"{recorded} was recorded, and judged again it is {again.verdict['reason']}"
        typer.echo(typer.style("✗", fg="red") + f" {output.printable(what)}: see `gateway audit verify`")
