"""`gateway audit report`: what the log shows for each requirement of a framework."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import files
from gateway.cli.asking import Of
from gateway.cli.audit_list import time_of
from gateway.management import documents

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument

_SECONDS = 3600.0
_TIME = "2026-11-25T14:00:00Z, or an age: 15m, 2h, 90d."


def report(
    ask: Of,
    framework: Annotated[
        str,
        typer.Option(
            "--framework",
            metavar="NAME",
            help="eu-ai-act, soc2, nist-ai-rmf, gdpr, iso42001 or owasp-agentic.",
        ),
    ],
    since: Annotated[str | None, typer.Option("--from", "--since", metavar="TIME", help=_TIME)] = None,
    until: Annotated[
        str | None, typer.Option("--to", "--until", metavar="TIME", help="Only entries before this time.")
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Also write it as a page, which prints to PDF.")
    ] = None,
) -> None:
    """Count what the log shows for each requirement of a framework, with references to entries.

    Each number names its first and last entry, which `gateway audit show` and `gateway audit prove` take. The report
    supports evidence for a requirement; it does not say that the requirement is met.
    """
    with ask.gateway() as gateway:
        found = gateway.send(
            *("GET", "audit", "report"),
            framework=framework,
            since=documents.time_text(time_of(since, "--from")),
            until=documents.time_text(time_of(until, "--to")),
            organization=ask.organization,
            seconds=_SECONDS,
        )
    if html is not None:
        from gateway.audit import framework_report

        files.put(html, framework_report.page(found))
    ask.show(found, *_lines(found))


def _lines(found: AnswerDocument) -> list[str]:
    lines = [f"{found['title']}: {found['text']}", f"{', '.join(found['logs'])}: {found['entries']:,} entries"]
    for each in found["requirements"]:
        lines += ["", f"{each['id']}: {each['asks']}"]
        lines += [f"{row['count']:>9,}  {row['says']}{_reference(row)}" for row in each["shows"]]
        lines.append(f"           outside the gateway's sight: {each['outside']}")
    return lines


def _reference(row: dict[str, Any]) -> str:
    if row["first"] is None:
        return ""
    named = [row["first"]] if row["first"] == row["last"] else [row["first"], row["last"]]
    return " (" + " to ".join(f"{each['log']} {each['index']} {each['id']}" for each in named) + ")"
