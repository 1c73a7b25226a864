"""`gateway explain`: why a decision went as it did, from what the log kept of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from gateway.cli import output
from gateway.cli.advice import advice
from gateway.cli.asking import Everywhere
from gateway.cli.audit_show import EventId, document, print_decision
from gateway.cli.reasons_text import print_answers
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient


def explain(ask: Everywhere, event_id: EventId) -> None:
    """Explain a decision: which rules made it, and which expression failed in those that did not hold.

    It is evaluated again by the bundles that judged it, from the input that the log keeps. If they read content and it
    is kept, that is read, too, and the reading recorded. Of a refusal that no policy
    made, it says which check refused and what to do. Exit codes: 0 explained, 1 there is no such decision, or the
    policies do not give the recorded verdict again.
    """
    with ask.gateway() as gateway:
        looked = gateway.get("audit", "entries", event_id, explain=True)
        found, decision = looked["entry"], looked["decision"]
        if decision is not None:
            decision = _with_content(gateway, decision)
    if decision is None:
        if found["kind"] != "refused":
            message = f"`{found['id']}` is no decision, but an entry of the kind `{found['kind']}`"
            raise GatewayError("not_a_decision", message, hint=f"see `gateway audit show {found['id']}`")
        _explain_refusal(found, as_json=ask.as_json)
        return
    code = str(decision["decided"]["entry"].get("reason"))
    if ask.as_json:
        known = advice(code)
        shown = document(decision) | {"advice": known and known._asdict()}
        typer.echo(json.dumps(shown, indent=2, ensure_ascii=False))
    else:
        print_decision(decision)
        print_advice(code)
        print_answers(decision["bundles"])
        _print_agreement(decision, code)
    if decision["agrees"] is False:
        raise typer.Exit(1)


def _with_content(gateway: ManagementClient, decision: AnswerDocument) -> AnswerDocument:
    """A decision by policies that read content, judged again with what is kept of it, if that is to be had.

    Values of it will be printed, so that it was read is recorded first.
    """
    decided: AnswerDocument = decision["decided"]
    if "content_commitment" not in decided["entry"] or not any(each["unkept"] for each in decision["bundles"]):
        return decision
    try:
        body = {"explain": True}
        read = gateway.send("POST", "content", decided["id"], "read", body=body)["read"]
    except GatewayError as error:
        output.warn("what was said is left out, because it cannot be read", error.message)
        return decision
    if read is None or read["again"] is None:
        return decision
    output.note("policies read what was said, so it was read for this: the log has an entry about it")
    judged: AnswerDocument = read["again"]
    return decision | judged


def _explain_refusal(found: AnswerDocument, *, as_json: bool) -> None:
    """Requests that were refused before any policy was asked, or denied and only counted."""
    entry, identifier = found["entry"], found["id"]
    code, detail = str(entry.get("reason")), str(entry.get("detail") or "")
    known = advice(code, detail)
    if as_json:
        fields = {name: entry.get(name) for name in ("reason", "detail", "count", "agent", "key")}
        fields["asked"] = json.loads(str(entry.get("asked_json") or "[]"))
        output.print_json({"id": identifier, **fields, "advice": known and known._asdict()})
        return
    count = entry.get("count")
    requests = "a request was" if count == 1 else f"{count} requests were"
    typer.echo(typer.style(identifier, bold=True) + f" {requests} refused: {output.printable(code)}")
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


def _print_agreement(decision: AnswerDocument, recorded: str) -> None:
    verdict, problem = decision["judged_again"], decision["problem"]
    typer.echo()
    if decision["agrees"]:
        sign, colour, text = "✓", "green", "judged again, this is the verdict that was recorded"
    elif verdict is None:
        sign, colour, text = "!", "yellow", f"it cannot be judged again: {problem}"
    elif decision["agrees"] is None:
        sign, colour, text = "!", "yellow", f"judged again: {verdict['reason']}: {problem}"
    else:
        text = f"{recorded} was recorded, and judged again it is {verdict['reason']}: see `gateway audit verify`"
        sign, colour = "✗", "red"
    typer.echo(f"{typer.style(sign, fg=colour)} {output.printable(text)}")
