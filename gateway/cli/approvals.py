"""`gateway approvals`: calls that wait for people, and what people say about them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import options, output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.approvals.records import RequestRecord

app = App(no_args_is_help=True, help="Approve or deny calls that policies do not let run without a person.")

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", help="The id of the request, `apr_…`.")]


@app.command("list")
def list_approvals(
    ask: Of,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only those in this state, such as `waiting`."),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only those of this agent.")] = None,
) -> None:
    """List requests for approval, the newest first."""
    from gateway.approvals.records import RequestRecord

    query = {name: each for name, each in (("state", state), ("agent", agent)) if each is not None}
    with ask.gateway() as gateway:
        items = gateway.items("approvals", organization=ask.organization, **query)
        found = [documents.record(RequestRecord, each) for each in items]
    if ask.as_json:
        output.print_json({"approvals": found})
        return
    output.print_table(
        ("ID", "STATE", "AGENT", "CALL", "REASONS", "MISSING", "UNTIL"),
        [
            (
                each.id,
                each.state,
                each.agent_name,
                _call(each),
                output.printable("; ".join(str(one["reason"]) for one in each.requirements)),
                str(sum(each.missing)) if each.state == "waiting" else "",
                output.timestamp(each.expires_ns),
            )
            for each in found
        ],
        empty="nothing waits: a policy with `require_approval` makes calls wait",
    )


@app.command()
def show(
    ask: Of,
    approval: Approval,
    call: Annotated[
        bool, typer.Option("--call", help="Show the call that would run, too; the log has it that you looked.")
    ] = False,
) -> None:
    """Show a request: what the policies demand, who has said what, and with --call what will run."""
    from gateway.approvals.records import RequestRecord

    with ask.gateway() as gateway:
        found = documents.record(RequestRecord, gateway.get("approvals", approval, organization=ask.organization).body)
        whole = None
        if call:
            sent = gateway.send("POST", "approvals", approval, "look", body=None, organization=ask.organization)
            whole = sent.body
    if ask.as_json:
        output.print_json({"approval": found, "call": whole})
        return
    typer.echo(f"{found.id} of {found.agent_name}: {found.state}, until {output.timestamp(found.expires_ns)}")
    typer.echo(f"call: {_call(found)} (decision {found.decision})")
    for number, each in enumerate(found.requirements):
        left = f", {found.missing[number]} more must approve" if number < len(found.missing) else ""
        who = ", ".join([*each["operators"], *(f"the owner of team {name}" for name in each["teams"])]) or "anybody"
        typer.echo(
            f"because: {output.printable(str(each['reason']))} ({each['quorum']} of {output.printable(who)}{left})"
        )
    for review in found.reviews:
        said = f": {output.printable(review.reason)}" if review.reason else ""
        typer.echo(f"{review.verdict} by {review.name} at {output.timestamp(review.created_ns)}{said}")
    if whole is not None:
        for name, value in whole["headers"].items():
            typer.echo(f"{name}: {output.printable(value)}")
        # The exact text: what is shown is what runs.
        encoded = whole["body_base64"]
        typer.echo(output.printable(whole["body"]) if encoded is None else f"base64: {encoded}")
    elif found.state == "waiting":
        where = options.of(ask.organization)
        output.note(f"next: `gateway approvals show {found.id} --call{where}` shows what will run")


@app.command()
def approve(ask: ChangingOf, approval: Approval) -> None:
    """Approve a call: it runs once, when enough people have approved it."""
    found = _act(ask, approval, "approve")
    more = sum(found.missing)
    line = f"{found.id} is approved: the same call of {found.agent_name} may run once"
    ask.show(found, line if found.state == "approved" else f"{found.id} needs {more} more to approve it")


@app.command()
def deny(ask: ChangingOf, approval: Approval) -> None:
    """Deny a call, with a --reason. One denial denies."""
    if not ask.reason:
        raise GatewayError("invalid_reason", "the reason is empty", hint="say why: --reason TEXT")
    ask.show(_act(ask, approval, "deny"), f"{approval} is denied")


@app.command()
def revoke(ask: ChangingOf, approval: Approval) -> None:
    """Take back an approval that was not used yet."""
    ask.show(_act(ask, approval, "revoke"), f"{approval} is revoked")


def _act(ask: ChangingOf, approval: str, verb: str) -> RequestRecord:
    from gateway.approvals.records import RequestRecord

    with ask.gateway() as gateway:
        body = {"reason": ask.reason}
        reply = gateway.send("POST", "approvals", approval, verb, body=body, organization=ask.organization)
    return documents.record(RequestRecord, reply.body)


def _call(found: RequestRecord) -> str:
    what = f"{found.call.get('action')} of {found.call.get('model')}" if found.call.get("model") else ""
    return output.printable(what or f"{found.call.get('method')} {found.call.get('path')}")
