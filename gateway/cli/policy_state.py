"""`gateway policies status` and `history`: what became of a commit, for people and for the pipeline that pushed it."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from gateway.cli import output
from gateway.cli.asking import Everywhere, GivenOptions
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

_POLL_SECONDS: Final = 1.0
_LOOKED_AT: Final = 100
_TRIED_AGAIN: Final = ("not_loaded", "check_failed", "check_timeout")
"""Outcomes that are no fault of the commit: the gateway tries it again by itself."""


def status(
    ask: Everywhere,
    commit: Annotated[
        str | None,
        typer.Argument(
            metavar="COMMIT",
            show_default=False,
            help="Exit with 1 unless this commit, or the one that begins so, is in force.",
        ),
    ] = None,
    wait: Annotated[
        str | None,
        typer.Option("--wait", metavar="DURATION", help="Wait so long for the commit to come into force: 90s, 5m."),
    ] = None,
) -> None:
    """Show which policies are in force, or what became of a commit: in force, refused and why, or not looked at yet."""
    if commit is not None and not re.fullmatch(r"[0-9a-fA-F]{7,64}", commit):
        raise GatewayError(
            "invalid_commit", f"`{commit}` is no commit", hint="write at least 7 of its hexadecimal digits"
        )
    if wait is not None and commit is None:
        raise GatewayError("invalid_option", "--wait needs a commit", hint="name the one to wait for")
    until = time.monotonic() + (0 if wait is None else output.parse_duration(wait) / 1e9)
    while True:
        found = state(ask, _LOOKED_AT)
        fate, attempt = _fate(found, commit.lower()) if commit is not None else ("", None)
        waiting = fate == "unknown" or (attempt is not None and attempt["outcome"] in _TRIED_AGAIN)
        if not waiting or (left := until - time.monotonic()) <= 0:
            break
        time.sleep(min(left, _POLL_SECONDS))
    if ask.as_json:
        output.print_json({"commit": commit, "state": fate or None, **found})
    elif commit is None:
        _print(found)
    else:
        _print_fate(found, commit, fate, attempt)
    if commit is not None and fate != "in_force":
        raise typer.Exit(1)


def history(
    ask: Everywhere, limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="At most so many.")] = 20
) -> None:
    """List the commits that came into force or were refused, newest first, and why."""
    ask.table(
        state(ask, limit)["attempts"],
        ("WHEN", "time"),
        ("COMMIT", lambda each: each["commit"][:12]),
        ("AUTHOR", lambda each: output.printable(each["author"])),
        "OUTCOME",
        ("WHAT", lambda each: each["bundles"] or output.printable(each["detail"].partition("\n")[0])),
        empty="no commit has been looked at yet: `gateway up` does",
    )


def state(ask: GivenOptions, limit: int) -> AnswerDocument:
    """The policies in force, and the newest attempts to bring something into force."""
    found = ask.get("policies", limit=limit)
    # A gateway of a former version says nothing of its branch.
    refused = found["refused"] if "refused" in found else (found["attempts"] or [None])[0]
    return found | {"refused": None if refused is None or refused["outcome"] == "ok" else refused}


def _fate(found: AnswerDocument, commit: str) -> tuple[str, AnswerDocument | None]:
    """The fate of a commit, and the newest attempt to bring it into force."""
    attempt = next((each for each in found["attempts"] if each["commit"].startswith(commit)), None)
    if found["in_force"] is not None and found["in_force"]["commit"].startswith(commit):
        return "in_force", None
    if attempt is None:
        return "unknown", None
    return ("replaced" if attempt["outcome"] == "ok" else "refused"), attempt


def _print(found: AnswerDocument) -> None:
    active = found["in_force"]
    if active is None:
        typer.echo("no policies are in force: everything is denied")
    else:
        by = f" of {output.printable(active['author'])}" if active["author"] else ""
        typer.echo(f"in force: commit {active['commit'][:12]}{by}, since {active['since']}")
        typer.echo(f"bundles: {', '.join(each['name'] for each in active['bundles'])}")
    if (newest := found["refused"]) is not None:
        commit = f"commit {newest['commit'][:12]} of {output.printable(newest['author'])}"
        typer.echo(f"refused since: {commit}: {newest['outcome']}")
        _print_detail(newest)


def _print_fate(found: AnswerDocument, commit: str, fate: str, attempt: AnswerDocument | None) -> None:
    active = found["in_force"]
    if fate == "in_force":
        assert active is not None
        typer.echo(f"commit {active['commit'][:12]} is in force, since {active['since']}")
    elif attempt is None:
        hint = "see that it is pushed to the branch that the gateway follows; --wait 5m waits for it"
        output.complain(f"the gateway has not looked at commit {commit} yet", hint)
    elif fate == "replaced":
        other = f": commit {active['commit'][:12]} is" if active is not None else ""
        output.complain(f"commit {attempt['commit'][:12]} was in force, and is not any more{other}")
    else:
        stays = f"commit {active['commit'][:12]} stays in force" if active is not None else "no policies are in force"
        output.complain(f"commit {attempt['commit'][:12]} was refused, {attempt['outcome']}: {stays}")
        _print_detail(attempt)


def _print_detail(attempt: AnswerDocument) -> None:
    for line in attempt["detail"].splitlines():
        typer.echo(f"  {output.printable(line)}")
