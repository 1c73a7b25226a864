"""`gateway audit`: read the log, and verify that nobody has changed it.

`verify` needs the database and a public key, but no running gateway, no registry and no network. Its exit codes are its
answer: 0 valid, 1 tampered with, 2 it could not be checked, 3 valid as far as it goes (an unsigned tail, or
open decisions of processes that are not known to be alive).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.audit.log_files import log_directory, opened_log
from gateway.cli import (
    audit_access,
    audit_export,
    audit_list,
    audit_match,
    audit_prove,
    audit_publish,
    audit_report,
    audit_show,
    explain,
    output,
)
from gateway.cli.asking import App
from gateway.cli.audit_reexecute import judged_again, print_decisions
from gateway.cli.options import DATA, Data, Json, Organization
from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.management import gateways
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.audit.note import Verifier
    from gateway.audit.report import LogReport, Report
    from gateway.registry.history.agreement import Difference

app = App(no_args_is_help=True, help="Read and verify the audit log.")

Known = Annotated[
    list[Path] | None,
    typer.Option(
        "--known-checkpoint",
        metavar="FILE",
        help="A checkpoint kept elsewhere that the log must contain; may be repeated.",
    ),
]

app.command("list")(audit_list.list_entries)
app.command("show")(audit_show.show)
app.command("explain")(explain.explain)
app.command("prove")(audit_prove.prove)
app.command("match")(audit_match.match)
app.command("access")(audit_access.access)
app.command("export")(audit_export.export)
app.command("publish")(audit_publish.publish)
app.command("report")(audit_report.report)


@app.command()
def checkpoint(organization: Organization = "default", data: Data = DATA) -> None:
    """Print the newest signed checkpoint of a log, to be kept elsewhere and given to `verify --known-checkpoint`."""
    with gateways.client(data, output.warn, organization=organization) as gateway:
        typer.echo(gateway.get("audit", "checkpoint")["checkpoint"], nl=False)


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
    reexecute: Annotated[
        bool, typer.Option("--reexecute", help="Judge every decision again, by the policies and the input of then.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Verify the whole log: leaves, trees, signatures, completeness; and the decisions themselves, if asked.

    The registry beside it is compared with the changes that the log has. Exit codes: 0 valid, 1 tampered with, edited
    by hand, or decided otherwise than the policies say, 2 it could not be checked, 3 valid, but the newest entries are
    not signed yet or decisions are open.
    """
    try:
        directory = log_directory(data) if database is None else DataDirectory(data)
        verifier = _verifier(directory, database, public_key)
        report = _verified(directory, database, verifier, known_checkpoint)
        # What a log says that was tampered with is not worth judging.
        wanted = reexecute and report.status != "tampered"
        decisions = judged_again(database or directory, directory) if wanted else None
    except GatewayError as error:
        # Exit code 1 is kept for the one answer that matters.
        output.complain(error.message, error.hint)
        raise typer.Exit(2) from error
    edited = [] if database is not None or report.status == "tampered" else _edited_by_hand(directory)
    exit_code = int(bool(edited)) or (decisions.exit_code if decisions is not None else 0) or report.exit_code
    if as_json:
        judged = {} if decisions is None else {"decisions": decisions.document()}
        told = {"registry": [each._asdict() for each in edited]}
        output.print_json(report.document() | judged | told | {"exit_code": exit_code})
    else:
        _print_report(report)
        for each in edited:
            said = f"{output.printable(str(each))}: it was not changed by the gateway"
            typer.echo(typer.style("✗", fg="red") + f" registry: {said}")
        if decisions is not None:
            print_decisions(decisions)
    raise typer.Exit(exit_code)


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

    directory = log_directory(data)
    verifier = _verifier(directory, None, None)
    with signer.HeadSigner(directory) as found:
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


@app.command(name="accept-clock")
def accept_clock(
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")] = "",
    data: Data = DATA,
) -> None:
    """Let logs go on that are ahead of the clock, because it was ahead before and was corrected.

    Each of them gets an entry about that. Until the clock has passed its last entry, further ones have the same time,
    and say in `clock_ns` what the clock said. Correct the clock first: this cannot be taken back.
    """
    import time
    from contextlib import closing

    from gateway.audit import clock
    from gateway.audit.writer import AuditWriter
    from gateway.identifiers import new_id

    directory = log_directory(data)
    deployment = _verifier(directory, None, None).name
    with opened_log(directory) as db:
        found = clock.ahead(db, time.time_ns())
    if not found:
        output.note("nothing to accept: no log is ahead of the clock")
        return
    with closing(AuditWriter(directory, boot=new_id("boot"), deployment=deployment)) as writer:
        for each in found:
            writer.write_sync(clock.acceptance(each, local.actor(), reason, time.time_ns()))
            typer.echo(f"the log `{each.organization}` goes on, at the time of its last entry until the clock is there")


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
    from gateway.processes import verifying

    known = [audit_prove.read_checkpoint(path, "bad_proof") for path in known_checkpoint or []]
    live = None
    if database is None:
        known += verifying.remembered(directory)
        live = verifying.live_boots(directory)
    with output.progress("verifying") as progress:
        return verification.verify(database or directory, verifier, live_boots=live, known=known, progress=progress)


def _edited_by_hand(directory: DataDirectory) -> list[Difference]:
    from gateway.processes import verifying

    found = verifying.edited_by_hand(directory)
    if found is None:
        output.note("the registry cannot be read, so it was not compared with the log")
    return found or []


def _print_report(report: Report) -> None:
    for log in report.logs:
        typer.echo(f"  {log.origin}: {_log_line(log)}")
    for finding in report.findings:
        typer.echo(typer.style("✗", fg="red") + f" {output.printable(str(finding))}")
    if report.more_findings:
        typer.echo(typer.style("✗", fg="red") + f" and {report.more_findings} more")
    if consequences := len(report.consequences) + report.more_consequences:
        about = ", ".join(sorted({each.about for each in report.consequences}))
        said = f"{_count(consequences, 'consequence', 'consequences')} of that, which --json lists: {about}"
        typer.echo(f"  {said}")
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
