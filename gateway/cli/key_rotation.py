"""`gateway keys rotate`: new keys for old ones, which work for a while yet."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple, TypeAlias

import typer

from gateway.cli import files, output
from gateway.cli.asking import ChangingOf
from gateway.cli.signing_keys import after_loss, with_text
from gateway.errors import GatewayError

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient
    from gateway.registry.keys.rotation import Rotated

_ENDED_MEANWHILE: Final = ("agent_revoked", "agent_retired")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")
"""The name of a public key."""


class _Row(NamedTuple):
    """A new key, as files have it."""

    agent: str
    key: str
    key_id: str
    replaces: str
    old_key_works_until: str


_Deliver: TypeAlias = Callable[[Sequence[_Row]], None]
"""It takes new keys to where they are kept."""


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
    if sum((key is not None, agent is not None, team is not None, everybody)) != 1:
        raise typer.BadParameter("name an agent or a key, or one of --agent, --team and --all")
    if key is not None and not _is_key(key):
        key, agent = None, key
    many = team is not None or everybody
    if many and out is None:
        raise GatewayError("no_file", "many keys are not printed", hint="add --out FILE")
    terms = {"overlap": output.seconds(overlap), "expires_in": output.seconds(expires)}
    with ask.gateway() as gateway:
        if many and out is not None:
            with _new_file(out, in_force=not gateway.transport.is_here) as write:
                rotated, skipped = _rotate_many(gateway, team, terms, write)
        else:
            with files.secret_file(out, at_end=True) as put:
                rotated, skipped = [_rotate(gateway, key, agent, terms, lambda made: put(made[0].key))], []
        if ask.as_json:
            shown = [_document(each, secret=out is None) for each in rotated]
            output.print_json({"rotated": shown, "skipped": skipped, "file": str(out) if out else None})
        else:
            _print(rotated, skipped, out)


def _is_key(text: str) -> bool:
    """True if a text names a key, and no agent, whose name has another form."""
    return text.startswith(("key_", "aig_", "spiffe://")) or _THUMBPRINT.fullmatch(text) is not None


def _rotate(
    gateway: ManagementClient, key: str | None, agent: str | None, terms: dict[str, Any], deliver: _Deliver
) -> AnswerDocument:
    """Replace this key, or the one that this agent has. The name of a key is sent without its secret."""
    from gateway.identity.credentials import public_part

    path = ("keys", public_part(key), "rotate") if key is not None else ("agents", agent or "", "keys", "rotate")
    if gateway.transport.is_here:
        return with_text(gateway.send("POST", *path, body=terms, deliver=_before_they_are_in_force(deliver)))
    rotated = with_text(gateway.send("POST", *path, body=terms))
    old = rotated["replaces"]
    row = _Row(old["agent"], rotated["key"], rotated["id"], old["id"], old["expires"])
    try:
        deliver([row])
    except GatewayError as error:  # the gateway has carried it out already
        message = f"{error.message}; key {row.key_id} is in force, and its text is lost"
        raise GatewayError(error.code, message, hint=after_loss(row.key_id)) from error
    return rotated


def _before_they_are_in_force(deliver: _Deliver) -> Callable[[Sequence[Rotated]], None]:
    def take(made: Sequence[Rotated]) -> None:
        deliver(
            [
                _Row(each.old.agent, each.new.text, each.new.record.id, each.old.id, output.timestamp(until))
                for each in made
                if (until := each.old.expires_ns) is not None
            ]
        )

    return take


def _rotate_many(
    gateway: ManagementClient, team: str | None, terms: dict[str, Any], deliver: _Deliver
) -> tuple[list[AnswerDocument], list[dict[str, Any]]]:
    """Here all in one transaction; elsewhere one agent after the other, so that one lost answer loses one key."""
    from gateway.registry.agents.states import ENDED
    from gateway.registry.keys.rotation import SKIPPED, nobody

    if gateway.transport.is_here:
        take = _before_they_are_in_force(deliver)
        done = gateway.send("POST", "keys", "rotate", body=terms | {"team": team}, deliver=take)
        return [with_text(each) for each in done["rotated"]], done["skipped"]
    rotated: list[AnswerDocument] = []
    skipped: list[dict[str, Any]] = []
    living = [each for each in gateway.items("agents", team=team) if each["status"] not in ENDED]
    if not living:
        raise nobody(gateway.organization or "", team)
    for each in sorted(living, key=lambda each: str(each["name"])):
        try:
            rotated.append(_rotate(gateway, None, each["id"], terms, deliver))
        except GatewayError as error:
            if error.code in SKIPPED:
                skipped.append({"agent": each["name"], "why": error.message})
            elif error.code not in _ENDED_MEANWHILE:
                raise _broken_off(error, each["name"], len(rotated)) from error
    return rotated, skipped


def _broken_off(error: GatewayError, agent: str, rotated: int) -> GatewayError:
    if not rotated:
        return error
    kept = "the key that was rotated before stays" if rotated == 1 else f"the {rotated} keys rotated before stay"
    message = f"at agent {agent}: {error.message}; {kept} in the file"
    again = "the same command with another file rotates the rest"
    return GatewayError(error.code, message, hint=f"{error.hint}; {again}" if error.hint else again)


def _print(rotated: Sequence[AnswerDocument], skipped: Sequence[dict[str, Any]], out: Path | None) -> None:
    for left in skipped:
        output.warn(f"not rotated: {left['why']}")
    if out is not None:
        many = "1 key; the new one is" if len(rotated) == 1 else f"{len(rotated)} keys; the new ones are"
        typer.echo(f"rotated {many} in {out}")
        return
    for each in rotated:
        typer.echo(each["key"])
        old = each["replaces"]
        once = f"{each['id']} for agent {old['agent']}; this is the only time the key is shown"
        output.note(f"{once}. {old['key_id']} works until {old['expires']}")


def _document(rotated: AnswerDocument, *, secret: bool) -> AnswerDocument:
    found = rotated.without("status", "last_used", *(() if secret else ("key",)))
    return found | {"replaces": rotated["replaces"].without("status", "last_used")}


@contextmanager
def _new_file(path: Path, *, in_force: bool) -> Iterator[_Deliver]:
    """Yields what writes keys to a new file, which only this user can read. It is removed if they come to nothing.

    `in_force` says that they are in force when they are written, so that the file must stay.
    """
    try:
        descriptor = files.create(path)
    except OSError as error:
        kept = isinstance(error, FileExistsError)
        hint = "name a new file: keys that are in it would be lost" if kept else "name another file"
        raise GatewayError("file_unusable", f"cannot create `{path}`: {files.why(error)}", hint=hint) from error
    written = False

    def write(rows: Sequence[_Row]) -> None:
        nonlocal written
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([*([] if written else [_Row._fields]), *rows])
        try:
            files.write(descriptor, text.getvalue())
        except OSError as error:
            raise GatewayError("file_unusable", f"cannot write `{path}`: {files.why(error)}") from error
        written = True

    try:
        yield write
    except BaseException:
        if not (in_force and written):
            with suppress(OSError):
                path.unlink()
        raise
    finally:
        os.close(descriptor)
