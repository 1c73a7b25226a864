"""`gateway policies commits`, `show`, `diff` and `propose`: the policies repository as the gateway sees it."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import files, output
from gateway.cli.asking import Everywhere
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

Commit = Annotated[str, typer.Argument(metavar="COMMIT", help="A commit, a branch or a tag of the repository.")]


def commits(
    ask: Everywhere, limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=500, help="At most so many.")] = 20
) -> None:
    """List the newest commits of the branch that is followed, what became of them, and the branches with proposals."""
    found = ask.get("policies", "commits", limit=limit)
    if ask.as_json:
        output.print_json(found)
        return
    rows = [
        (
            each["time"],
            each["commit"][:12],
            _fate(each),
            output.printable(each["author"]),
            output.printable(each["subject"]),
        )
        for each in found["items"]
    ]
    output.print_table(("WHEN", "COMMIT", "FATE", "AUTHOR", "SUBJECT"), rows, "there is no commit yet")
    for each in found["proposals"]:
        newest = each["newest"]
        what = f"{each['branch']} at {newest['commit'][:12]} of {newest['author']}: {newest['subject']}"
        typer.echo(f"proposed: {output.printable(what)}")


def _fate(commit: AnswerDocument) -> str:
    return "in force" if commit["in_force"] else commit["outcome"] or "not looked at"


def show(
    ask: Everywhere,
    commit: Commit,
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", show_default=False, help="Print this file of it: BUNDLE/PATH.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Also compile it, run its tests and see what they cover.")
    ] = False,
) -> None:
    """Show a commit: its bundles, what became of it, and with --check what a gateway finds before it comes into force.

    Exit codes with --check: 0 it may come into force, 1 it may not.
    """
    if file is not None:
        found = ask.get("policies", "commits", commit, "files", file)
        if found["text"] is None:
            raise GatewayError("not_text", f"`{file}` is no text in UTF-8", hint="read it with git")
        typer.echo(found["text"], nl=False)
        return
    with ask.gateway() as gateway:
        found = gateway.get("policies", "commits", commit)
        report = gateway.get("policies", "commits", commit, "check") if check else None
    if ask.as_json:
        output.print_json(found | ({} if report is None else {"check": report}))
    else:
        typer.echo(f"commit {found['commit']} of {output.printable(found['author'])}: {_fate(found)}")
        for line in found["message"].splitlines():
            typer.echo(f"  {output.printable(line)}")
        for bundle in found["bundles"]:
            typer.echo(f"bundle {bundle['name']}: {output.printable(', '.join(bundle['files']))}")
        if found["problem"]:
            output.warn(found["problem"])
        if report is not None:
            _print_report(report)
    if report is not None and report["problems"]:
        raise typer.Exit(1)


def diff(
    ask: Everywhere,
    commit: Commit,
    since: Annotated[
        str | None, typer.Option("--since", metavar="COMMIT", show_default=False, help="By default the one before.")
    ] = None,
) -> None:
    """Compare a commit with the one before, or with another one: a unified diff of each file."""
    found = ask.get("policies", "commits", commit, "changes", since=since)
    if ask.as_json:
        output.print_json(found)
        return
    if not found["files"]:
        output.note("no file differs")
    _print_differences(found["files"])


def propose(
    ask: Everywhere,
    paths: Annotated[list[str], typer.Argument(metavar="FILE...", help="Files by their place: BUNDLE/PATH.")],
    branch: Annotated[str, typer.Option("--branch", "-b", metavar="NAME", help="Of the proposal: proposals/NAME.")],
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="The directory that these files are in.")
    ] = Path(),
    remove: Annotated[list[str] | None, typer.Option("--remove", metavar="FILE", help="Remove this file.")] = None,
    base: Annotated[
        str | None,
        typer.Option("--base", metavar="COMMIT", show_default=False, help="The commit that was changed."),
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", metavar="TEXT", help="Of the commit.")] = "",
    check_only: Annotated[bool, typer.Option("--check", help="Say what the check finds, and make nothing.")] = False,
) -> None:
    """Commit files on a branch `proposals/NAME` of the policies repository, if a gateway would accept them.

    The commit is checked as before it comes into force, and is not made if anything is found. Nothing comes into force:
    merge the branch into the one that the gateway follows. Exit codes: 0 proposed, 1 something was found.
    """
    contents: dict[str, str | None] = dict.fromkeys(remove or ())
    for each in paths:
        raw = files.read(directory / PurePosixPath(each), code="bad_input")
        try:
            contents[each] = raw.decode()
        except UnicodeDecodeError as error:
            raise GatewayError("bad_input", f"`{each}` is not UTF-8", subject=each) from error
    body = {"branch": branch, "files": contents, "base": base, "message": message, "check_only": check_only}
    found = ask.send("POST", "policies", "proposals", body=body)
    if ask.as_json:
        output.print_json(found)
    else:
        _print_differences(found["differences"])
        _print_report(found)
        if found["commit"] is not None:
            typer.echo(f"proposed as commit {found['commit'][:12]} on the branch {found['branch']}")
            output.note("it comes into force when it is merged into the branch that the gateway follows")
    if found["problems"]:
        raise typer.Exit(1)


def _print_differences(differences: list[AnswerDocument]) -> None:
    for each in differences:
        if not each["text"]:
            typer.echo(f"{each['change']}: {output.printable(each['file'])} (too long to compare)")
        for line in each["text"].splitlines():
            colour = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
            typer.echo(typer.style(_code(line), fg=colour))


def _print_report(report: AnswerDocument) -> None:
    for each in report["problems"]:
        where = f"{each['file']}:{each['line']}: " if each["line"] else f"{each['file']}: " if each["file"] else ""
        advice = f": {each['hint']}" if each["hint"] else ""
        typer.echo(typer.style("✗", fg="red") + f" {output.printable(where + each['message'] + advice)}")
        for number, line in enumerate(each["lines"], each["first"]):
            mark = ">" if number == each["line"] else " "
            typer.echo(f"  {mark} {number:>5}  {_code(line)}")
    for each in report["bundles"]:
        if each["tests"] is None:
            continue
        covered = "" if each["covered"] is None else f", which cover {each['covered']:g} % of its lines"
        typer.echo(f"bundle {each['name']}: {each['tests']} test{'' if each['tests'] == 1 else 's'}{covered}")
    if not report["problems"]:
        typer.echo(typer.style("✓", fg="green") + " a gateway would put this into force")


def _code(line: str) -> str:
    """A line of a file, whose tabs stay."""
    return "\t".join(map(output.printable, line.split("\t")))
