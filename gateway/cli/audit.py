"""`gateway audit`: read the log, and verify that nobody has changed it.

`verify` needs the database and a public key, but no running gateway, no registry and no network. Its exit codes are its
answer: 0 valid, 1 tampered with, 2 it could not be checked, 3 valid as far as it goes (an unsigned tail, or
open decisions of processes that are not known to be alive).
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.errors import GatewayError
from gateway.processes import local
from gateway.settings import DataDirectory

if TYPE_CHECKING:
    from gateway.audit.note import Verifier
    from gateway.audit.report import LogReport, Report
    from gateway.audit.search import Found

app = typer.Typer(no_args_is_help=True, help="Read and verify the audit log.")

Known = Annotated[
    list[Path] | None,
    typer.Option(
        "--known-checkpoint",
        metavar="FILE",
        help="A checkpoint kept elsewhere that the log must contain; may be repeated.",
    ),
]

_POLL_SECONDS = 0.25
_WIDTHS = (24, 14, 7, 10, 24)
_NOT_SHOWN = {"v", "id", "kind", "time", "org", "boot", "actor", "epoch", "what", "agent_name"}  # of a change
_COLUMNS = ("TIME", "ORGANIZATION", "ENTRY", "KIND", "WHO", "WHAT")


@app.command("list")
def list_entries(
    organization: Annotated[
        str | None, typer.Option("--organization", "--org", metavar="NAME", help="Only its log; `system` is one too.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent (name or id).")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many entries.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing entries as they are written.")] = False,
    data: Data = DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the newest entries, oldest first."""
    from gateway.audit import search, storage

    directory = _directory(data)
    agent = _agent_id(agent, organization or "default", data)
    with _open(directory.audit_db) as db:
        with storage.snapshot(db):
            position = search.last_position(db)
            found = search.newest(db, limit, organization, agent)
        show = _print_json if as_json else _table(db, heading=bool(found) or follow)
        show(found)
        if not found and not follow and not as_json:
            output.note("no entries")
        try:
            while follow:
                time.sleep(_POLL_SECONDS)
                for each in search.after(db, position, organization, agent):
                    show([each])
                    position = each.position
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass  # the way to end it


@app.command()
def checkpoint(organization: Organization = "default", data: Data = DATA) -> None:
    """Print the newest signed checkpoint of a log, to be kept elsewhere and given to `verify --known-checkpoint`."""
    from gateway.audit import storage

    with _open(_directory(data).audit_db) as db:
        head = storage.head(db, organization)
        note = None if head is None else storage.newest_checkpoint(db, head.id)
    if note is None:
        what = "has no log yet" if head is None else "is not signed yet"
        raise GatewayError(
            "no_checkpoint", f"`{organization}` {what}", hint="a running gateway signs every few seconds"
        )
    typer.echo(note, nl=False)


@app.command()
def verify(
    data: Data = DATA,
    database: Annotated[
        Path | None, typer.Option("--database", metavar="FILE", help="A copy of audit.db, instead of a data directory.")
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key", metavar="FILE|KEY", help="Who must have signed; by default the directory's own key."
        ),
    ] = None,
    known_checkpoint: Known = None,
    as_json: Json = False,
) -> None:
    """Verify the whole log: leaves, trees, signatures, completeness.

    Exit codes: 0 valid, 1 tampered with, 2 it could not be checked, 3 valid, but the newest entries are not signed yet
    or decisions are open.
    """
    try:
        directory = _directory(data) if database is None else DataDirectory(data)
        verifier = _verifier(directory, database, public_key)
        report = _verified(directory, database, verifier, known_checkpoint)
    except GatewayError as error:
        # Exit code 1 is kept for the one answer that matters.
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    if as_json:
        output.print_json(report.document() | {"exit_code": report.exit_code})
    else:
        _print_report(report)
    raise typer.Exit(report.exit_code)


@app.command()
def adopt(known_checkpoint: Known = None, data: Data = DATA) -> None:
    """Continue signing from the checkpoints in the database, after `signer-state` was lost.

    The log is verified first. That does not show whether it is an older copy: give a checkpoint that was kept
    elsewhere. The gateway must not be running.
    """
    from gateway.audit import signer
    from gateway.audit.entry import document
    from gateway.audit.intents import SYSTEM, Changed
    from gateway.audit.writer import AuditWriter
    from gateway.identifiers import new_id

    directory = _directory(data)
    verifier = _verifier(directory, None, None)
    with signer.Signer(directory) as found:
        report = _verified(directory, None, verifier, known_checkpoint)
        if report.status == "tampered":
            _print_report(report)
            raise typer.Exit(1)
        forgotten = found.forgotten()
        origins = [each.origin for each in forgotten]
        if forgotten:
            writer = AuditWriter(directory, boot=new_id("boot"), deployment=verifier.name)
            try:
                writer.write_sync(
                    Changed(
                        organization=SYSTEM,
                        event_id=new_id("chg"),
                        actor=local.actor(),
                        what="signer_state.adopted",
                        fields={"origins_json": document(origins)},
                    )
                )
            finally:
                writer.close()
            found.adopt(forgotten)
    if forgotten:
        typer.echo(f"adopted the newest checkpoints of {', '.join(origins)}")
    else:
        output.note("nothing to adopt: `signer-state` remembers every log that was signed")


def _directory(data: Path) -> DataDirectory:
    """The data directory, if it has a log. Nothing else is required: it may be a copy that was made as evidence."""
    directory = DataDirectory(data)
    if not os.path.isfile(directory.audit_db):
        directory.check()
    return directory


# -- list --------------------------------------------------------------------------------------------------------------


def _agent_id(agent: str | None, organization: str, data: Path) -> str | None:
    """The id of an agent. An id is returned as it is, so that a copy of the log can be searched without a registry."""
    if agent is None or agent.startswith("agt_"):
        return agent
    from gateway.registry import queries

    with local.reading(data) as registry:
        return queries.agent(registry, organization, agent).id


@contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    from gateway.audit import storage

    db = storage.connect_read_only(path)
    try:
        yield db
    except sqlite3.Error as error:
        raise GatewayError(
            "audit_damaged", f"cannot read `{path}`: {error}", hint="see `gateway audit verify`"
        ) from error
    finally:
        db.close()


def _print_json(found: Iterable[Found]) -> None:
    for each in found:
        typer.echo(json.dumps({"organization": each.organization, "seq": each.seq, "entry": each.entry}))


def _table(db: sqlite3.Connection, *, heading: bool) -> Callable[[Iterable[Found]], None]:
    """A function that prints rows with fixed widths, because with `--follow` later rows are not known yet."""
    names: dict[str, str] = {}  # of decisions, for the entries that close them
    if heading:
        typer.echo(typer.style(_row(_COLUMNS), bold=True))

    def show(found: Iterable[Found]) -> None:
        for each in found:
            cells = (output.timestamp(each.time_ns), each.organization, str(each.seq), each.kind, _who(db, each, names))
            line = _row((*cells, _what(each)))
            typer.echo(typer.style(line, fg="red") if each.entry.get("allow") is False else line)

    return show


def _row(cells: Iterable[str]) -> str:
    *columns, last = map(output.printable, cells)
    return "  ".join([*(cell.ljust(width) for cell, width in zip(columns, _WIDTHS, strict=True)), last]).rstrip()


def _who(db: sqlite3.Connection, found: Found, names: dict[str, str]) -> str:
    """The actor of an entry: an agent by its name if a decision contains it."""
    from gateway.audit import search

    entry = found.entry
    if found.kind == "change":
        return str(entry.get("actor") or "")
    decision = entry.get("decision")
    if isinstance(decision, str):
        if decision not in names:
            opened = search.by_event(db, decision)
            names[decision] = str((opened.entry if opened else {}).get("agent_name") or "")
        name = names.pop(decision)
    else:
        name = str(entry.get("agent_name") or "")
        if entry.get("open"):
            names[str(entry["id"])] = name
    return name or str(entry.get("agent") or entry.get("actor") or "")


def _what(found: Found) -> str:
    """The entry in one line."""
    entry = found.entry
    if not entry:
        return "not an entry: see `gateway audit verify`"
    values = {name: "" if value is None else str(value) for name, value in entry.items()}
    get = values.get
    kind = found.kind
    if kind == "decided":
        reasons = _reasons(get("reasons_json", ""))
        call = " ".join(filter(None, (get("action"), get("model"))))
        verdict = "allowed" if entry["allow"] else f"denied {get('reason')}"
        return " ".join(filter(None, (f"{verdict}:" if call else verdict, call, f"({reasons})" if reasons else "")))
    if kind == "completed":
        tokens = f"{get('input_tokens')}+{get('output_tokens')} tokens" if get("input_tokens") else ""
        return " ".join(filter(None, (get("outcome"), get("status"), tokens)))
    if kind == "change":
        shown = values | {"agent": get("agent_name") or get("agent", "")}
        members = [
            f"{name}={shown[name]}" for name in shown if name not in _NOT_SHOWN and shown[name] not in ("", "[]", "{}")
        ]
        return " ".join([get("what", ""), *members])
    if kind == "refused":
        return f"{get('reason')} x{get('count')}"
    if kind == "activation":
        return f"{get('activation')} {get('outcome')} {get('commit', '')}"
    if kind == "recovered":
        return f"closed {get('count')} decisions that a dead process had left open"
    if kind == "checkpoint":
        return f"{get('origin')} signed at size {get('size')}"
    return " ".join(f"{name}={get(name)}" for name in ("reason", "count", "previous") if get(name))


def _reasons(text: str) -> str:
    """The reasons of policies. If the leaf was changed and holds no list, the text itself."""
    try:
        return "; ".join(json.loads(text))
    except (ValueError, TypeError):
        return text


# -- verify ------------------------------------------------------------------------------------------------------------


def _verifier(directory: DataDirectory, database: Path | None, public_key: str | None) -> Verifier:
    from gateway.audit import signer

    if public_key is not None:
        return signer.load_verifier(public_key)
    if database is not None:
        raise GatewayError("bad_key", "a copy needs the key of who signed it", hint="give --public-key FILE")
    return signer.load_verifier(signer.public_key_path(directory))


def _verified(
    directory: DataDirectory, database: Path | None, verifier: Verifier, known_checkpoint: list[Path] | None
) -> Report:
    """Verify a copy, or the directory's own log together with `signer-state` and the live processes."""
    from gateway.audit import verify as verification

    known = [_read_checkpoint(path) for path in known_checkpoint or []]
    live = None
    if database is None:
        known += _remembered(directory)
        live = _live_boots(directory)
    with _progress() as progress:
        return verification.verify(
            database or directory.audit_db, verifier, live_boots=live, known=known, progress=progress
        )


def _read_checkpoint(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError("bad_proof", f"cannot read the checkpoint `{path}`") from error


def _remembered(directory: DataDirectory) -> list[str]:
    """The checkpoints in `signer-state`. A database that was rolled back does not contain them."""
    from gateway.audit import signer

    return list(signer.load_state(directory).values())


def _live_boots(directory: DataDirectory) -> frozenset[str] | None:
    """The live processes, whose open decisions are requests under way."""
    from gateway.storage.liveness import LiveBoots

    try:
        return frozenset(LiveBoots(directory))
    except OSError:
        return None  # the directory belongs to another user: it is not known


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar, if standard error is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("verifying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("verifying", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_report(report: Report) -> None:
    for log in report.logs:
        typer.echo(f"  {log.origin}: {_log_line(log)}")
    for finding in report.findings:
        typer.echo(typer.style("✗", fg="red") + f" {output.printable(str(finding))}")
    if report.more_findings:
        typer.echo(typer.style("✗", fg="red") + f" and {report.more_findings} more")
    entries = f"{_count(report.entries, 'entry', 'entries')} in {_count(len(report.logs), 'log', 'logs')}"
    if report.status == "tampered":
        typer.echo(typer.style("✗ the log was tampered with", fg="red", bold=True) + f" ({entries})")
    elif report.status == "incomplete":
        unsigned = sum(log.unsigned for log in report.logs)
        waiting = sum(1 for log in report.logs for each in log.open if not each.alive)
        missing = [f"{_count(unsigned, 'entry is', 'entries are')} not signed yet"] if unsigned else []
        missing += [f"{_count(waiting, 'decision is', 'decisions are')} open"] if waiting else []
        typer.echo(typer.style("! valid as far as it is signed", fg="yellow", bold=True) + f": {', '.join(missing)}")
    else:
        typer.echo(typer.style("✓ the log is valid", fg="green", bold=True) + f" ({entries})")
    typer.echo(f"  checked with the key {report.public_key}")


def _log_line(log: LogReport) -> str:
    from gateway.audit.decision import State

    parts = [_count(log.size, "entry", "entries")]
    if log.checkpoints:
        parts.append(f"signed to {log.signed:,} by {_count(log.checkpoints, 'checkpoint', 'checkpoints')}")
    if lost := log.decisions[State.CLOSED_BY_RECOVERY]:
        parts.append(f"{_count(lost, 'decision', 'decisions')} closed by recovery")
    if log.open:
        parts.append(f"{_count(len(log.open), 'decision', 'decisions')} open")
    return ", ".join(parts)


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
