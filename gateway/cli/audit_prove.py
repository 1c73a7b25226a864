"""`gateway audit prove`: proofs about a log that one does not have, checked where the command runs.

The gateway that has the log makes them; nothing that it says is believed but what the key's signature covers.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.audit.log_files import log_directory
from gateway.cli import files, output
from gateway.cli.asking import Everywhere
from gateway.errors import GatewayError
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.audit.note import Verifier
    from gateway.audit.proofs import Proof, Proven
    from gateway.management.client import ManagementClient

_NOT_PROVEN = ("bad_proof", "bad_entry")


def prove(
    ask: Everywhere,
    event: Annotated[
        str | None, typer.Argument(metavar="ID", show_default=False, help="An entry, by its id or the beginning of it.")
    ] = None,
    known_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            "--known-checkpoint",
            metavar="FILE",
            help="A checkpoint kept elsewhere, with which the log must begin; may be repeated.",
        ),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(
            "--public-key", metavar="FILE|KEY", help="Who must have signed; by default the data directory's own key."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="NAME",
            help="Write NAME.tlog-proof, in C2SP's form, and NAME.entry, the bytes that it proves.",
        ),
    ] = None,
) -> None:
    """Prove that an entry is in the signed log, and that the log only grew since a checkpoint was kept.

    The proofs are checked here, with the public key alone: it needs no copy of the log. Exit codes: 0 proven, 1 not,
    2 it could not be checked, 3 the entry is not signed yet.
    """
    try:
        if event is None and not known_checkpoint:
            hint = "name an entry, or add --known-checkpoint FILE"
            raise GatewayError("invalid_option", "there is nothing to prove", hint=hint)
        verifier = _verifier(ask.data, public_key)
        notes = {path: read_checkpoint(path) for path in known_checkpoint or []}
        if out is not None and event is None:
            raise GatewayError("invalid_option", "only the proof of an entry can be written", hint="name an entry")
        proven = _proven(ask.data, verifier, event, notes, out)
    except GatewayError as error:
        output.complain(error.message, error.hint)
        raise typer.Exit(1 if error.code in _NOT_PROVEN else 3 if error.code == "not_signed" else 2) from error
    if ask.as_json:
        output.print_json(_document(proven, verifier))
        return
    for path, found in proven:
        signed = f"{found.signed.origin}, signed to {found.signed.size:,}"
        mark = typer.style("✓", fg="green")
        if found.entry is not None:
            typer.echo(f"{mark} entry {found.entry['id']} is number {found.index:,} of {signed}")
        if path is not None:
            typer.echo(f"{mark} {signed}, begins with {path}")
    typer.echo(f"  checked with the key {verifier}")


def read_checkpoint(path: Path, code: str = "no_checkpoint") -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise GatewayError(code, f"cannot read the checkpoint `{path}`") from error


def _verifier(data: Path, public_key: str | None) -> Verifier:
    from gateway.audit import signer

    if public_key is not None:
        return signer.load_verifier(public_key)
    if gateways.chosen() is not None:
        hint = "give --public-key FILE, a copy of `keys/signing.pub` that was kept"
        raise GatewayError("bad_key", "what a gateway elsewhere says is checked with a key that you have", hint=hint)
    return signer.load_verifier(signer.public_key_path(log_directory(data)))


def _proven(
    data: Path, verifier: Verifier, event: str | None, notes: dict[Path, str], out: Path | None
) -> list[tuple[Path | None, Proven]]:
    """The proofs that hold: of the entry, and with each checkpoint that was kept."""
    from gateway.audit import proofs

    found: list[tuple[Path | None, Proven]] = []
    with gateways.client(data, output.warn) as gateway:
        if event is not None:
            event = event.strip()
            made = _proof(gateway, entry=event)
            found.append((None, proofs.check(made, verifier, event, None)))
            if out is not None and made.leaf is not None:
                files.put(out.with_name(f"{out.name}.entry"), made.leaf)
                files.put(out.with_name(f"{out.name}.tlog-proof"), proofs.tlog_proof(made).encode())
        for path, note in notes.items():
            organization, size = proofs.of_which_log(note)
            made = _proof(gateway, organization=organization, since=size)
            found.append((path, proofs.check(made, verifier, None, note)))
    return found


def _proof(gateway: ManagementClient, **asked: str | int) -> Proof:
    from gateway.audit.proofs import Proof

    body = gateway.get("audit", "proof", **asked)
    try:
        return Proof(
            organization=body["organization"],
            checkpoint=body["checkpoint"],
            index=body["index"],
            leaf=None if body["leaf"] is None else base64.b64decode(body["leaf"], validate=True),
            inclusion=[base64.b64decode(each, validate=True) for each in body["inclusion"]],
            consistency=[base64.b64decode(each, validate=True) for each in body["consistency"]],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise GatewayError("unexpected_answer", "the gateway's answer is no proof") from error


def _document(proven: list[tuple[Path | None, Proven]], verifier: Verifier) -> dict[str, Any]:
    entry = next((each for _, each in proven if each.entry is not None), None)
    return {
        "entry": None
        if entry is None
        else {
            "log": entry.signed.origin,
            "index": entry.index,
            "signed": entry.signed.size,
            "entry": entry.entry,
        },
        "known_checkpoints": [
            {"file": str(path), "log": each.signed.origin, "signed": each.signed.size}
            for path, each in proven
            if path is not None
        ],
        "public_key": str(verifier),
    }
