"""`gateway explain`: why a decision went as it did, from what the log kept of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.advice import advice
from gateway.cli.asking import Everywhere
from gateway.cli.audit_show import EventId, document, print_decision
from gateway.cli.reasons_text import print_answers
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient


def explain(
    ask: Everywhere,
    event_id: EventId,
    commit: Annotated[
        str | None,
        typer.Option(
            "--commit",
            metavar="REF",
            show_default=False,
            help="Judge it by this revision instead: a commit, branch or tag of the policies, or `in-force`.",
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(
            "--bundle", metavar="NAME", show_default=False, help="With --commit: only this bundle is another one."
        ),
    ] = None,
) -> None:
    """Explain a decision: which rules made it, and which expression failed in those that did not hold.

    It is evaluated again by the bundles that judged it, from the input that the log keeps. If they read content and it
    is kept, that is read, too, and the reading recorded. Of a refusal that no policy
    made, it says which check refused and what to do. Exit codes: 0 explained, 1 there is no such decision, or the
    policies do not give the recorded verdict again.

    With --commit it says what another revision of the policies would have decided, and why. Nothing is recorded.
    """
    if commit is not None:
        _explain_by(ask, event_id, commit, bundle)
        return
    if bundle is not None:
        raise GatewayError("invalid_option", "--bundle needs --commit", hint="name the revision that is to judge")
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


def _explain_by(ask: Everywhere, event_id: str, commit: str, bundle: str | None) -> None:
    """Print the verdict of another revision beside the recorded one."""
    found = ask.get("audit", "entries", event_id, "verdict", commit=commit, bundle=bundle, explain=True)
    for each in found["notes"]:
        output.note(each)
    if ask.as_json:
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
        return
    recorded, now = found["recorded"], found["judged_again"]
    typer.echo(typer.style(found["id"], bold=True) + f" judged by {output.printable(commit)}")
    for name, verdict in (("recorded", recorded), ("now", now)):
        if verdict is not None:
            word = "allowed" if verdict["allow"] else f"denied {verdict['reason']}"
            reasons = f" ({'; '.join(verdict['reasons'])})" if verdict["reasons"] else ""
            typer.echo(f"  {name.ljust(9)} {output.printable(word + reasons)}")
    print_answers(found["bundles"])
    typer.echo()
    sign, colour, text = retrial_outcome(found)
    typer.echo(f"{typer.style(sign, fg=colour)} {output.printable(text)}")
    if now is None:
        raise typer.Exit(1)


def retrial_outcome(found: AnswerDocument) -> tuple[str, str, str]:
    """A sign, its colour, and the outcome of a decision that another revision judged."""
    if found["judged_again"] is None:
        return "!", "yellow", f"this revision cannot judge it: {found['problem']}"
    if found["agrees"]:
        return "✓", "green", "this revision gives the same verdict"
    if found["agrees"] is None:
        return "!", "yellow", f"this need not be what it would have been: {found['problem']}"
    return "✗", "red", "this revision gives another verdict"


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
