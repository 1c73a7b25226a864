"""`gateway policies impact`: which calls of the past other policies would have decided otherwise."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import files, output
from gateway.cli.asking import Everywhere
from gateway.cli.audit_list import time_of
from gateway.cli.options import DATA, Data
from gateway.errors import GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

_SECONDS: Final = 3600.0
_SHOWN: Final = 20


def impact(
    ask: Everywhere,
    candidate: Annotated[
        str,
        typer.Argument(
            metavar="DIR|COMMIT",
            help="A directory that holds bundles, or a commit, branch or tag of the gateway's policies repository.",
        ),
    ],
    organization: Annotated[
        str | None, typer.Option("--org", metavar="NAME", help="Only calls of its agents; by default of all.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="2026-11-25T14:00:00Z, or an age: 15m, 2h, 30d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only calls before this time.")] = None,
    expect: Annotated[
        Path | None, typer.Option("--expect", metavar="FILE", help="TOML that says which flips are expected.")
    ] = None,
    comment: Annotated[
        Path | None,
        typer.Option("--comment", metavar="FILE", help="Also write a comment for a pull request, in Markdown."),
    ] = None,
    listed: Annotated[int, typer.Option("--list", "-n", min=0, max=10_000, help="List at most so many flips.")] = 1000,
) -> None:
    """Judge every past call whose input the log keeps by other policies, and say which would have ended otherwise.

    A flip is a call with another outcome: allowed, denied, or in need of an approval. Calls that nobody can judge again
    are counted with the reason. Nothing is recorded or changed. Exit codes: 0 no flip, or only expected ones; 1 flips
    that nobody expects; 2 it could not be judged, or nobody can tell of any call.
    """
    try:
        body = {
            **_candidate(candidate),
            "organization": organization,
            "since": documents.time_text(time_of(since, "--since")),
            "until": documents.time_text(time_of(until, "--until")),
            "expect": [] if expect is None else _expected(expect),
            "listed": listed,
        }
        with (
            output.progress("judging past calls") as progress,
            gateways.client(ask.data, output.warn, progress) as gateway,
        ):
            found = gateway.send("POST", "policies", "impact", body=body, seconds=_SECONDS)
        if comment is not None:
            files.put(comment, _markdown(found, candidate))
    except (GatewayError, OSError) as error:
        # Exit code 1 is kept for flips.
        output.complain(*(error.message, error.hint) if isinstance(error, GatewayError) else (str(error),))
        raise typer.Exit(2) from error
    if ask.as_json:
        output.print_json(found)
    else:
        _print(found)
    nothing = _sum(found, "untold") and not found["flips"] and not found["same"] and not found["otherwise"]
    raise typer.Exit(1 if found["unexpected"] else 2 if nothing else 0)


def verify(
    report: Annotated[Path, typer.Argument(metavar="FILE", help="What `gateway policies impact --json` has printed.")],
    public_key: Annotated[
        str | None,
        typer.Option("--public-key", metavar="FILE|KEY", help="Who must have signed; by default the directory's key."),
    ] = None,
    data: Data = DATA,
) -> None:
    """Verify that a gateway has signed a report on the impact of a change, and that it is unchanged since.

    That it is true for its log says the gateway that signed; `impact` makes it again. Exit codes: 0 valid, 1 changed or
    signed by nobody known, 2 it could not be checked.
    """
    from gateway.audit import signer
    from gateway.audit.errors import AuditError
    from gateway.data_directory import DataDirectory
    from gateway.policy.rollout import impact as impacts

    if public_key is None and gateways.chosen() is not None:
        raise typer.BadParameter("of a gateway elsewhere the key is needed: --public-key FILE, not what it says itself")
    try:
        verifier = signer.load_verifier(public_key or signer.public_key_path(DataDirectory(data)))
        document = json.loads(files.read(report, code="bad_input"))
        wanted = impacts.statement(document)
        signature = document["signature"] or ""
    except (GatewayError, ValueError, KeyError, TypeError) as error:
        output.complain(error.message if isinstance(error, GatewayError) else f"`{report}` is no such report")
        raise typer.Exit(2) from error
    try:
        valid = signer.read_statement(signature, impacts.KIND, verifier) == wanted
        why = "" if valid else "it was changed since it was signed"
    except AuditError as error:
        why = error.message
    if why:
        output.complain(f"the report is not valid: {why}")
        raise typer.Exit(1)
    flips, unexpected = f"{document['flips']:,}", f"{document['unexpected']:,}"
    typer.echo(f"the report is as {verifier.name} has signed it: {flips} flips, {unexpected} unexpected")


def _candidate(text: str) -> dict[str, Any]:
    if not Path(text).is_dir():
        return {"commit": text}
    from gateway.policy.rollout import candidates

    found = candidates.find(Path(text)).bundles()
    if not found:
        raise GatewayError("nothing_to_check", f"there is no bundle in `{text}`", hint="name the directory of bundles")
    return {
        "bundles": {
            name: {path: base64.b64encode(content).decode() for path, content in each.items()}
            for name, each in found.items()
        }
    }


def _expected(path: Path) -> list[dict[str, Any]]:
    """The members of `[[expect]]`; `from` and `to` are the outcomes."""
    try:
        document = tomllib.loads(files.read(path, code="bad_input").decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise GatewayError("bad_input", f"`{path}` is not TOML: {error}") from error
    listed = document.pop("expect", None)
    if document or not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        hint = 'write `[[expect]]` and below it `from = "deny"`, `to = "allow"`, `agent = "support-*"`'
        raise GatewayError("bad_input", f"`{path}` must have tables `expect` and nothing else", hint=hint)
    names = {"from": "before", "to": "after"}
    return [{names.get(name, name): value for name, value in each.items()} for each in listed]


def _sum(found: AnswerDocument, name: str) -> int:
    return sum(found[name].values())


def _dollars(nanousd: int) -> str:
    from gateway.usage.prices import dollars

    return dollars(nanousd)


def _change(each: AnswerDocument) -> str:
    return f"{each['before']} → {each['after']}"


def _headline(found: AnswerDocument) -> str:
    flips, unexpected = found["flips"], found["unexpected"]
    said = f"{found['decisions']:,} past calls, {flips:,} would have ended otherwise"
    if flips:
        said += f", {unexpected:,} of them unexpected" if found["expected"] else ""
    untold = _sum(found, "untold")
    return said + (f"; nobody can tell of {untold:,}" if untold else "")


def _told(each: AnswerDocument) -> str:
    """The rules of a group, or the reasons where no rule is known."""
    return "; ".join(each["rules"]) or "; ".join(each["reasons"]) or "(no rule is known)"


def _print(found: AnswerDocument) -> None:
    mark = typer.style("✗", fg="red") if found["unexpected"] else typer.style("✓", fg="green")
    typer.echo(f"{mark} {_headline(found)}")
    rows = [
        (_change(each), f"{each['count']:,}", f"{each['unexpected']:,}", _dollars(each["cost_nanousd"]))
        for each in found["kinds"]
    ]
    if rows:
        output.print_table(("CHANGE", "CALLS", "UNEXPECTED", "COST"), rows, "")
        typer.echo("")
        output.print_table(
            ("CHANGE", "CALLS", "RULE", "SAID", "EXAMPLE"),
            [
                (
                    _change(each),
                    f"{each['count']:,}",
                    output.printable("; ".join(each["rules"])),
                    _said(each),
                    each["example"],
                )
                for each in found["rules"][:_SHOWN]
            ],
            "",
        )
        typer.echo("")
        output.print_table(
            ("CHANGE", "CALLS", "AGENT", "ORGANIZATION", "COST"),
            [
                (
                    _change(e),
                    f"{e['count']:,}",
                    output.printable(e["name"] or e["agent"]),
                    e["organization"],
                    _dollars(e["cost_nanousd"]),
                )
                for e in found["agents"][:_SHOWN]
            ],
            "",
        )
    for line in _remarks(found):
        typer.echo(output.printable(line))
    if found["flips"]:
        output.note(f"`gateway audit show {found['rules'][0]['example']}` shows one of them")


def _said(each: AnswerDocument) -> str:
    return output.printable("; ".join(each["reasons"])[:80])


def _remarks(found: AnswerDocument) -> Iterator[str]:
    for problem, count in found["untold"].items():
        yield f"! {count:,} cannot be told: {problem}"
    for what, count in found["otherwise"].items():
        yield f"  {count:,} end as they did, but with {what}"
    for why, count in found["unasked"].items():
        yield f"  {count:,} were not asked about ({why})"
    for each in found["expected"]:
        if not each["matched"]:
            why = f" ({each['why']})" if each["why"] else ""
            yield f"! expectation {each['number']}{why} has matched no call"


def _markdown(found: AnswerDocument, candidate: str) -> str:
    """A comment for a pull request. Texts of others stand in code, so that none of them is markup."""
    lines = [
        f"### {'❌' if found['unexpected'] else '✅'} Impact of this change of the policies",
        "",
        f"{_headline(found)}.",
    ]
    if found["kinds"]:
        lines += ["", "| change | calls | unexpected | cost of these calls |", "|---|---:|---:|---:|"]
        lines += [
            f"| **{_change(e)}** | {e['count']:,} | {e['unexpected']:,} | {_dollars(e['cost_nanousd'])} |"
            for e in found["kinds"]
        ]
        lines += ["", "| change | calls | rule | example |", "|---|---:|---|---|"]
        lines += [
            f"| {_change(e)} | {e['count']:,} | {_code(_told(e))} | {_code(e['example'])} |"
            for e in found["rules"][:_SHOWN]
        ]
        lines += ["", "| change | calls | agent |", "|---|---:|---|"]
        lines += [
            f"| {_change(e)} | {e['count']:,} | {_code(e['name'] or e['agent'])} |" for e in found["agents"][:_SHOWN]
        ]
    if remarks := list(_remarks(found)):
        lines += ["", *(f"- {_code(each.strip())}" for each in remarks)]
    heads = ", ".join(f"{e['origin']} at {e['size']:,}" for e in found["logs"])
    commit = found["candidate"]["commit"][:12] or candidate
    lines += ["", f"<sub>candidate {_code(commit)}, judged over {_code(heads)}</sub>"]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    shown = output.printable(text).replace("`", "'").replace("|", "\\|")[:300]
    return f"`{shown}`"
