"""Many requests for approval in one command: what became of each, and all that wait, a step at a time."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import typer

from gateway.cli import output
from gateway.cli.asking import GivenOptions
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

_STEP: Final = 100
"""The most requests that the operation takes at once."""


def listed(ask: GivenOptions, gateway: ManagementClient, verb: str, approvals: Sequence[str]) -> None:
    """Approve or deny these, and say what became of each. Fails if one was not reviewed."""
    made: list[AnswerDocument] = []
    wanted = list(dict.fromkeys(approvals))
    for start in range(0, len(wanted), _STEP):
        body = {"approvals": wanted[start : start + _STEP]}
        try:
            made += gateway.send("POST", "approvals", verb, body=body)["items"]
        except GatewayError:
            _tell(ask, verb, made)
            raise
    _tell(ask, verb, made)
    _fail_if_refused(made)


def deny_all(ask: GivenOptions, choice: Mapping[str, str | None], yes: bool) -> None:
    """Deny all that wait and that the person may review, once it is confirmed how many these are."""
    with ask.gateway() as gateway:
        found = gateway.get("approvals", "waiting", **choice)
        many, cursor = int(found["count"]), found["cursor"]
        if not many:
            ask.show({"items": []}, "no call waits that you may review")
            return
        agents = "1 agent" if found["agents"] == 1 else f"{found['agents']} agents"
        calls = f"{many} {'call' if many == 1 else 'calls'} of {agents}"
        if not yes:
            if not sys.stdin.isatty():
                message = f"{calls} would be denied"
                raise GatewayError("not_confirmed", message, hint="add --yes if that is meant")
            typer.confirm(f"{calls} will be denied. Deny them?", abort=True, err=True)
        made: list[AnswerDocument] = []
        given = {name: each for name, each in choice.items() if each is not None}
        try:
            with output.progress("denying") as told:
                while cursor is not None:
                    page = gateway.send("POST", "approvals", "deny-all", body={**given, "cursor": cursor})
                    made += page["items"]
                    cursor = page["next"]
                    if told is not None:
                        told(len(made), many)
        except GatewayError:
            _tell(ask, "deny", made, brief=True)
            raise
    _tell(ask, "deny", made, brief=True)
    _fail_if_refused(made)


def _tell(ask: GivenOptions, verb: str, made: Sequence[AnswerDocument], *, brief: bool = False) -> None:
    """A line for each request; those that are denied as wanted are only counted if it is `brief`."""
    if ask.as_json:
        output.print_json({"items": [dict(each) for each in made]})
        return
    for each in made:
        if not (brief and each["state"] == "denied"):
            typer.echo(_line(verb, each))
    if brief:
        denied = sum(each["state"] == "denied" for each in made)
        typer.echo(f"{denied} {'call is' if denied == 1 else 'calls are'} denied")


def _line(verb: str, each: Mapping[str, Any]) -> str:
    if (why := each["refused"]) is not None:
        hint = f": {why['hint']}" if why["hint"] else ""
        return output.copyable(output.printable(f"{each['id']} is left as it was: {why['detail']}{hint}"))
    if each["state"] != "waiting":
        return f"{each['id']} is {each['state']}"
    more = f"{sum(each['missing'])} more to approve it" if verb == "approve" else "more who deny it"
    return f"{each['id']} needs {more}"


def _fail_if_refused(made: Sequence[Mapping[str, Any]]) -> None:
    if any(each["refused"] is not None for each in made):
        raise typer.Exit(1)
