"""`gateway approvals`: calls that wait for people, and what people say about them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import approval_batches, options, output
from gateway.cli.asking import App, ChangingOf, Of
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

app = App(no_args_is_help=True, help="Approve or deny calls that policies do not let run without a person.")

Approval = Annotated[str, typer.Argument(metavar="APPROVAL", help="The id of the request, `apr_…`.")]
Approvals = Annotated[list[str], typer.Argument(metavar="APPROVAL…", help="The ids of one or more requests.")]
ApprovalsOrAll = Annotated[
    list[str] | None,
    typer.Argument(metavar="[APPROVAL]…", help="The ids of one or more requests, or none with --all."),
]


@app.command("list")
def list_approvals(
    ask: Of,
    state: Annotated[
        str | None,
        typer.Option("--state", metavar="STATE", help="Only those in this state, such as `waiting`."),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only those of this agent.")] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="OWNER", help="Only those of agents of this owner.")
    ] = None,
) -> None:
    """List requests for approval, the newest first."""
    found = ask.items("approvals", state=state, agent=agent, owner=owner)
    ask.table(
        found,
        *("ID", "STATE", ("AGENT", "agent_name"), ("CALL", _call)),
        ("REASONS", lambda each: output.printable("; ".join(str(one["reason"]) for one in each["requirements"]))),
        ("MISSING", lambda each: sum(each["missing"]) if each["state"] == "waiting" else ""),
        ("UNTIL", "expires"),
        empty="nothing waits: a policy with `require_approval` makes calls wait",
        document={"approvals": found},
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
    with ask.gateway() as gateway:
        found = gateway.get("approvals", approval)
        whole = gateway.send("POST", "approvals", approval, "look") if call else None
    if ask.as_json:
        output.print_json({"approval": found, "call": whole})
        return
    typer.echo(f"{found['id']} of {found['agent_name']}: {found['state']}, until {found['expires']}")
    typer.echo(f"call: {_call(found)} (decision {found['decision']})")
    missing = found["missing"]
    for number, each in enumerate(found["requirements"]):
        left = f", {missing[number]} more must approve" if number < len(missing) else ""
        who = ", ".join([*each["operators"], *(f"the owner of team {name}" for name in each["teams"])]) or "anybody"
        quorum = f"{each['quorum']} of {output.printable(who)}"
        typer.echo(f"because: {output.printable(str(each['reason']))} ({quorum}{left}{_others(each, number, found)})")
    for each in found.get("over_limit", []):  # an older gateway knows of none
        typer.echo(f"over limit: {output.printable(each['words'])}")
    if found["state"] in ("approved", "used", "revoked"):
        typer.echo(f"approved: {output.printable(found['words'])}; used {found['used']} of {found['uses']}")
    elif found["state"] == "waiting":
        typer.echo(f"an approval may be: {output.printable(found['offer']['words'])}")
    for review in found["reviews"]:
        said = f": {output.printable(review['reason'])}" if review["reason"] else ""
        typer.echo(f"{review['verdict']} by {review['name']} at {review['created']}{said}")
    for notice in found["notices"]:
        what = "notice" if notice["event"] == "approval.requested" else "later notice"
        typer.echo(f"{what} to {output.printable(notice['to'])} ({notice['webhook']}): {_fared(notice)}")
    if not found["notices"]:
        typer.echo("notice: nobody was told; see `gateway webhooks add`")
    if whole is not None:
        typer.echo(f"{whole['method']} {output.printable(whole['path'])}")
        for name in ("query", "on_behalf_of", "delegation"):
            if whole[name]:
                typer.echo(f"{name}: {output.printable(json.dumps(whole[name]))}")
        for name, value in whole["headers"].items():
            typer.echo(f"{name}: {output.printable(value)}")
        # The exact text: what is shown is what runs.
        encoded = whole["body_base64"]
        typer.echo(output.printable(whole["body"]) if encoded is None else f"base64: {encoded}")
    elif found["state"] == "waiting":
        where = options.of(ask.organization)
        output.note(f"next: `gateway approvals show {found['id']} --call{where}` shows what will run")


@app.command()
def approve(
    ask: ChangingOf,
    approvals: Approvals,
    uses: Annotated[
        int | None, typer.Option("--uses", metavar="N", help="Let it be used so often, if the policies allow that.")
    ] = None,
    duration: Annotated[
        str | None, typer.Option("--for", metavar="TIME", help="Let it be used for so long, such as 30m or 2h.")
    ] = None,
    pattern: Annotated[
        bool, typer.Option("--pattern", help="Let it be used for all calls that the policies call by the same words.")
    ] = False,
) -> None:
    """Approve a call: it runs once, or as the options say, when enough people have approved it.

    With several requests, each that you have looked at is approved for its very call, once.
    """
    terms = {"uses": uses, "seconds": output.seconds(duration), "for_pattern": pattern or None}
    body = {name: each for name, each in terms.items() if each is not None}
    if len(approvals) > 1:
        if body:
            hint = "leave --uses, --for and --pattern out, or approve one request at a time"
            raise GatewayError("beyond_scope", "several approvals are for their very calls, once", hint=hint)
        with ask.gateway() as gateway:
            approval_batches.listed(ask, gateway, "approve", approvals)
        return
    found = ask.send("POST", "approvals", approvals[0], "approve", body=body)
    line = f"{found['id']} is approved until {found['expires']}: {output.printable(found['words'])}"
    waiting = f"{found['id']} needs {sum(found['missing'])} more to approve it"
    ask.show(found, line if found["state"] == "approved" else waiting)


@app.command()
def deny(
    ask: ChangingOf,
    approvals: ApprovalsOrAll = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Deny all that wait and that you may review, after asking.")
    ] = False,
    agent: Annotated[
        str | None, typer.Option("--agent", metavar="AGENT", help="With --all: only those of this agent.")
    ] = None,
    team: Annotated[
        str | None, typer.Option("--team", metavar="TEAM", help="With --all: only those of agents of this team.")
    ] = None,
    matching: Annotated[
        str | None,
        typer.Option("--matching", metavar="TEXT", help="With --all: only with this in a policy's reason or pattern."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="With --all: do not ask.")] = False,
) -> None:
    """Deny calls, with a --reason. One denial denies, unless the policy wants more. Nobody has to look for that."""
    choice = {"agent": agent, "team": team, "matching": matching}
    given = approvals or []
    if everything == bool(given):
        raise GatewayError("nothing_chosen", "name requests, or all of them", hint="write their ids, or --all alone")
    if not everything and any(choice.values()):
        hint = "leave --agent, --team and --matching out, or write --all alone"
        raise GatewayError("nothing_chosen", "these options choose among all that wait", hint=hint)
    if not ask.reason:
        raise GatewayError("invalid_reason", "the reason is empty", hint="say why: --reason TEXT")
    if everything:
        approval_batches.deny_all(ask, choice, yes)
    elif len(given) > 1:
        with ask.gateway() as gateway:
            approval_batches.listed(ask, gateway, "deny", given)
    else:
        found = ask.send("POST", "approvals", given[0], "deny")
        ask.show(found, f"{given[0]} is denied" if found["state"] == "denied" else f"{given[0]} needs more who deny it")


@app.command()
def revoke(ask: ChangingOf, approval: Approval) -> None:
    """Take back an approval, or what is left of it."""
    ask.show(ask.send("POST", "approvals", approval, "revoke"), f"{approval} is revoked")


def _call(found: AnswerDocument) -> str:
    call = found["call"]
    what = f"{call.get('action')} of {call.get('model')}" if call.get("model") else ""
    return output.printable(what or f"{call.get('method')} {call.get('path')}")


def _fared(notice: AnswerDocument) -> str:
    """The state of a notice, and why, if it failed."""
    times = "" if notice["attempts"] < 2 else f" {notice['attempts']} times"
    return (
        f"failed{times}: {output.printable(notice['error'])}" if notice["state"] == "failed" else str(notice["state"])
    )


def _others(requirement: AnswerDocument, number: int, found: AnswerDocument) -> str:
    """Who else may review after a time, or may by now."""
    if not (later := requirement.get("escalate")):
        return ""
    who = output.printable(", ".join([*later["operators"], *(f"the owner of team {name}" for name in later["teams"])]))
    return f"; now also {who}" if number in found["escalated"] else f"; after {later['after_seconds']} s also {who}"
