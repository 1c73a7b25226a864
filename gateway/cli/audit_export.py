"""`gateway audit export`: an evidence bundle for people who have nothing but the file and a public key."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from gateway.cli import files, output
from gateway.cli.asking import Of
from gateway.cli.audit_list import time_of
from gateway.errors import GatewayError
from gateway.management import documents

_SECONDS = 600.0


def export(
    ask: Of,
    to: Annotated[Path, typer.Option("--to", metavar="FILE.zip", help="The bundle; a file that exists is kept.")],
    agent: Annotated[str | None, typer.Option("--agent", metavar="NAME|ID", help="Only entries of this agent.")] = None,
    person: Annotated[
        str | None, typer.Option("--person", metavar="SUB", help="Only what agents did for this person.")
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="2026-11-25T14:00:00Z, or an age: 90s, 15m, 2h, 3d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only entries before this time.")] = None,
    decision: Annotated[str | None, typer.Option("--decision", metavar="ID", help="Only this decision.")] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only decisions about this model.")
    ] = None,
    approval: Annotated[
        str | None, typer.Option("--approval", metavar="ID", help="Only what was recorded of this approval.")
    ] = None,
    mandate: Annotated[
        str | None, typer.Option("--mandate", metavar="ID", help="Only this mandate, and the calls under it.")
    ] = None,
    sample: Annotated[
        int | None, typer.Option("--sample", metavar="N", help="N entries, drawn from the newest checkpoint.")
    ] = None,
    seed: Annotated[
        str | None, typer.Option("--seed", metavar="TEXT", help="By which the sample is drawn; the auditor chooses it.")
    ] = None,
    no_private: Annotated[
        bool, typer.Option("--no-private", help="Leave the inputs out that were judged: they name persons.")
    ] = False,
) -> None:
    """Write an evidence bundle: entries with their proofs, policies, a report and two verifiers, in one file.

    Without a filter it holds the whole log of the organization, as far as it is signed.
    """
    made: list[Path] = []

    def deliver(write: Any) -> None:
        part = to.with_name(f".{to.name}.part")
        try:
            with part.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                _written(file, write)
            os.link(part, to)  # unlike a renaming, it replaces nothing
            made.append(to)
        except OSError as error:
            raise files.unusable(to, error, "name another file with --to") from error
        finally:
            part.unlink(missing_ok=True)

    if to.exists():
        raise GatewayError("file_unusable", f"`{to}` exists already", hint="name another file with --to")
    with ask.gateway() as gateway:
        done = gateway.reply(
            "GET",
            "audit",
            "evidence",
            seconds=_SECONDS,
            deliver=deliver,
            agent=agent,
            person=person,
            since=documents.time_text(time_of(since, "--since")),
            until=documents.time_text(time_of(until, "--until")),
            decision=decision,
            model=model,
            approval=approval,
            mandate=mandate,
            sample=sample,
            seed=seed,
            private=False if no_private else None,
        ).body
    bundle = done.pop("bundle")
    if not made:
        deliver(lambda file: file.write(base64.b64decode(bundle)))
    if ask.as_json:
        output.print_json({**done, "file": str(to)})
        return
    typer.echo(f"wrote {done['entries']:,} entries with their proofs and {done['policies']:,} policies to {to}")
    if done["unsigned"]:
        output.note(f"{done['unsigned']:,} entries match that are not signed yet: they are left out")
    if done["missing_policies"]:
        output.note(f"{done['missing_policies']:,} policies that judged are not kept any more")
    output.note("the recipient checks it with verify.py or verify.html inside, and the public key from elsewhere")


def _written(file: IO[bytes], write: Any) -> None:
    write(file)
    file.flush()
    os.fsync(file.fileno())
