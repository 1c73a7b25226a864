"""`gateway keys rotate`: new keys for old ones, which work for a while yet."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import key_requests, output
from gateway.cli.asking import ChangingOf
from gateway.cli.secret_out import secret_file
from gateway.errors import GatewayError
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.registry.keys.rotation import Rotated, Skipped


def rotate(
    ask: ChangingOf,
    key: Annotated[
        str | None,
        typer.Argument(
            metavar="[AGENT|KEY]", help="An agent's name; or a key's id (key_…) or the beginning of its text."
        ),
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="The key that this agent has.")] = None,
    team: Annotated[str | None, typer.Option("--team", metavar="TEAM", help="The keys of a team's agents.")] = None,
    everybody: Annotated[bool, typer.Option("--all", help="The keys of all agents of the organization.")] = False,
    overlap: Annotated[
        str, typer.Option("--overlap", metavar="DURATION", help="How long the old key still works: 90s, 15m, 12h, 7d.")
    ] = "24h",
    expires: Annotated[
        str | None,
        typer.Option(
            "--expires", metavar="DURATION", help="Let the new one expire; otherwise it lasts as the old one."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Write the key to this file instead of printing it; with --team or --all, keys to a new file.",
        ),
    ] = None,
) -> None:
    """Replace a key by a new one, for the same actions, models and networks.

    The old key works until the overlap is over and then ends by itself. With --team or --all the keys go into a new
    file that only this user can read (CSV), and an agent whose key cannot be replaced is left as it is.
    """
    from gateway.registry.keys.rotation import Terms

    if sum((key is not None, agent is not None, team is not None, everybody)) != 1:
        raise typer.BadParameter("name an agent or a key, or one of --agent, --team and --all")
    if key is not None and not _is_key(key):
        key, agent = None, key
    many = team is not None or everybody
    if many and out is None:
        raise GatewayError("no_file", "many keys are not printed", hint="add --out FILE")
    lifetime_ns = None if expires is None else output.parse_duration(expires)
    terms = Terms(output.parse_duration(overlap), lifetime_ns, ask.reason)
    rotated: list[Rotated]
    skipped: list[Skipped] = []
    with ask.gateway() as gateway:
        if many:
            with _File(out, in_force=gateways.chosen() is not None) as write:
                rotated, skipped = key_requests.rotate_many(gateway, ask.organization, team, terms, write)
        else:
            with secret_file(out, at_end=True) as put:
                rotated = [
                    key_requests.rotate(
                        gateway, ask.organization, key, agent, terms, lambda found: put(found[0].new.text)
                    )
                ]
        _print(rotated, skipped, out, as_json=ask.as_json)


def _is_key(text: str) -> bool:
    """True if a text names a key, and no agent, whose name has another form."""
    return text.startswith(("key_", "aig_", "spiffe://")) or _THUMBPRINT.fullmatch(text) is not None


def _print(rotated: Sequence[Rotated], skipped: Sequence[Skipped], out: Path | None, *, as_json: bool) -> None:
    if as_json:
        keys = [_document(each, secret=out is None) for each in rotated]
        output.print_json({"rotated": keys, "skipped": list(skipped), "file": str(out) if out else None})
        return
    for left in skipped:
        output.warn(f"not rotated: {left.why}")
    if out is not None:
        many = "1 key; the new one is" if len(rotated) == 1 else f"{len(rotated)} keys; the new ones are"
        typer.echo(f"rotated {many} in {out}")
    for each in rotated if out is None else ():
        typer.echo(each.new.text)
        assert each.old.expires_ns is not None
        output.note(
            f"{each.new.record.id} for agent {each.old.agent}; this is the only time the key is shown. "
            f"{each.old.key_id} works until {output.timestamp(each.old.expires_ns)}"
        )


def _document(rotated: Rotated, *, secret: bool) -> dict[str, Any]:
    made: dict[str, Any] = output.plain(rotated.new.record)
    return made | {"replaces": output.plain(rotated.old)} | ({"key": rotated.new.text} if secret else {})


_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""The name of a public key."""


class _File:
    """A new file for keys, which only this user can read. It is removed if they do not come into force.

    `in_force` says that they are in force when they are written, so that the file must stay.
    """

    def __init__(self, path: Path | None, *, in_force: bool) -> None:
        self._path = path
        self._in_force = in_force
        self._descriptor = -1
        self._written = False

    def __enter__(self) -> Callable[[Sequence[Rotated]], None]:
        if self._path is not None:
            try:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            except OSError as error:
                why = (error.strerror or type(error).__name__).lower()
                kept = isinstance(error, FileExistsError)
                hint = "name a new file: keys that are in it would be lost" if kept else "name another file"
                raise GatewayError("file_unusable", f"cannot create `{self._path}`: {why}", hint=hint) from error
        return self._write

    def _write(self, rotated: Sequence[Rotated]) -> None:
        if self._path is None:
            return
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        if not self._written:
            table.writerow(("agent", "key", "key_id", "replaces", "old_key_works_until"))
        for each in rotated:
            assert each.old.expires_ns is not None
            until = output.timestamp(each.old.expires_ns)
            table.writerow((each.old.agent, each.new.text, each.new.record.id, each.old.id, until))
        try:
            with open(self._descriptor, "wb", closefd=False) as stream:
                stream.write(text.getvalue().encode())
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            why = (error.strerror or type(error).__name__).lower()
            raise GatewayError("file_unusable", f"cannot write `{self._path}`: {why}") from error
        self._written = True

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
        stays = error is None or (self._in_force and self._written)
        if not stays and self._descriptor >= 0 and self._path is not None:
            with suppress(OSError):
                self._path.unlink()
