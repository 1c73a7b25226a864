"""`gateway apply` and `gateway export`: the registry as a file that can be reviewed and versioned."""

from __future__ import annotations

import gc
import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data, Json, Organization, ReplaceRevoked
from gateway.cli.upstreams import key_from, openapi_document, read_secret
from gateway.errors import GatewayError
from gateway.management import gateways

if TYPE_CHECKING:
    from gateway.registry.fleet.apply import MadeKey
    from gateway.registry.fleet.plan import Step

_SHOWN = 40  # new things of one noun that are printed; the others are counted
_IN_A_LINE = 5  # removals that an error names in its own line
_SIGNS = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}


def apply(
    file: Annotated[
        Path, typer.Option("--file", "-f", metavar="FILE", help="A fleet file: YAML, JSON, or a CSV table of agents.")
    ],
    organization: Annotated[
        str | None, typer.Option("--organization", "--org", metavar="NAME", help="If the file does not say.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and do nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Also remove what the file's sections do not list; agents are retired.")
    ] = False,
    keys: Annotated[
        Path | None,
        typer.Option("--keys", metavar="FILE", help="Make a key for each listed agent without one, into this file."),
    ] = None,
    yes: Annotated[
        bool,
        typer.Option(
            "--yes", "-y", help="Remove without asking, and suspend agents at once if the settings mean that."
        ),
    ] = False,
    replace_revoked: ReplaceRevoked = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the log.")] = "",
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Make the registry what a file says, in one transaction: settings, teams, agents, upstreams, routes, limits …

    What the file leaves out stays as it is. Applied twice, a file changes nothing the second time. `gateway export`
    prints a file to begin with.
    """
    from gateway.cli import fleet_requests
    from gateway.cli.fleet_requests import AskedFleet
    from gateway.registry.fleet import document

    with _uncollected():
        try:
            named = "standard input" if str(file) == "-" else str(file)
            read = document.read(_text(file), named)
            if organization and read.value.get("organization", organization) != organization:
                said = read.value["organization"]
                raise GatewayError(
                    "invalid_organization", f"{named} is for organization `{said}`, not `{organization}`"
                )
            asked = AskedFleet(
                document=read,
                sources=_Sources(file.parent),
                organization=organization or read.value.get("organization"),
                prune=prune,
                keys=keys is not None,
                suspend_now=yes,
                replace_revoked=replace_revoked,
                reason=reason,
            )
            many = sum(len(each) for each in read.value.values() if isinstance(each, list))
            what = f"{'comparing' if dry_run else 'comparing and applying'} {many:,} items"
            with output.working(what) as pause, gateways.client(data, output.warn) as gateway:
                if dry_run:
                    plan = fleet_requests.rehearse(gateway, asked)
                else:

                    def confirm(steps: Sequence[Step]) -> None:
                        pause()
                        _confirm(steps)

                    key_file = _KeyFile(keys) if keys else None
                    plan = fleet_requests.apply(gateway, asked, None if yes else confirm, key_file)
        except document.FleetError as error:
            for text in error.texts()[:-1]:
                output.complain(text)
            output.complain(error.texts()[-1], error.hint)
            raise typer.Exit(1) from error
    steps = plan.steps
    if as_json:
        told = [_plain(each) for each in steps]
        output.print_json({"organization": plan.organization, "applied": not dry_run, "steps": told})
        return
    _print(steps)
    output.note(_summary(steps, dry_run))
    if keys and not dry_run and (made := sum(each.noun == "key" for each in steps)):
        output.note(f"wrote {made:,} {'key' if made == 1 else 'keys'} to {keys}: this is the only copy")


def export(
    organization: Organization = "default",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Instead of standard output.")] = None,
    data: Data = DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which `gateway apply` takes as well.")] = False,
) -> None:
    """Print an organization's settings, teams, agents, upstreams, routes, limits … as a file for `gateway apply`.

    Secret keys are in no export: those of providers stay sealed in the registry, those of agents are not known to it.
    """
    from gateway.cli import fleet_requests
    from gateway.registry.fleet import export as exported

    with gateways.client(data, output.warn) as gateway:
        document = fleet_requests.export(gateway, organization)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n" if as_json else exported.text(document)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise GatewayError("file_unusable", f"{out} cannot be written: {(error.strerror or '').lower()}") from None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Search for no garbage meanwhile: a large file makes millions of objects, and to look through them again and again
    takes more than a third of the time.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Sources:
    """What a file refers to, seen from where the file is."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def secret(self, upstream: str, key: Mapping[str, Any]) -> str | None:
        if "none" in key:
            return None
        if "env" in key:
            return read_secret(key["env"])
        return key_from(self._directory / key["file"])

    def specification(self, upstream: str, path: str) -> str:
        from gateway.upstream.providers.http import api, openapi

        return api.dump(openapi.api_of(self.openapi(path)))

    def openapi(self, path: str) -> dict[str, Any]:
        return openapi_document(self._directory / path, None)


class _KeyFile:
    """Where new keys go, once: a line `agent,key id,key` for each, readable by this user only.

    It is on disk before the keys are in force, so none is lost; if they do not come into force, it is deleted. It is
    written again when a gateway elsewhere has given the keys their ids.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = False

    def write(self, made: Sequence[MadeKey]) -> None:
        path = self._path.with_name(f"{self._path.name}.{os.getpid()}.new") if self._written else self._path
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write("agent,id,key\n")
                stream.writelines(f"{each.agent},{each.id},{each.text}\n" for each in made)
                stream.flush()
                os.fsync(stream.fileno())
            path.replace(self._path)
        except FileExistsError:
            hint = "name a new file: keys that are in it would be lost"
            raise GatewayError("file_unusable", f"{path} is there already", hint=hint) from None
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            why = (error.strerror or "").lower()
            raise GatewayError("file_unusable", f"{path} cannot be written: {why}") from None
        self._written = True

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)


def _text(file: Path) -> bytes:
    from gateway.registry.fleet.document import MAX_BYTES

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MAX_BYTES + 1)
        with file.open("rb") as stream:
            return stream.read(MAX_BYTES + 1)
    except OSError as error:
        why = (error.strerror or "").lower()
        raise GatewayError("file_unusable", f"{file} cannot be read: {why}", hint="check the path") from None


def _confirm(steps: Sequence[Step]) -> None:
    """Ask before something is removed, or refuse where nobody can be asked."""
    removed = [each for each in steps if each.action == "remove"]
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        named = ", ".join(f"{each.noun} {each.name}" for each in removed)
        if len(removed) > _IN_A_LINE:
            _print(removed, to_error=True)
            named = f"these {len(removed):,}"
        raise GatewayError("not_confirmed", f"this would remove {named}", hint="add --yes if that is meant")
    _print(steps, to_error=True)
    typer.confirm(f"{_summary(steps, dry_run=True)}. Go on?", abort=True, err=True)


def _print(steps: Sequence[Step], to_error: bool = False) -> None:
    """One line for each step; of many new things alike, the first ones and how many more there are.

    Changes and removals are never counted only: one of them takes something away from somebody.
    """
    printed: Counter[tuple[str, str]] = Counter()
    total = Counter((each.action, each.noun) for each in steps)
    for each in steps:
        group = each.action, each.noun
        printed[group] += 1
        sign, colour = _SIGNS[each.action]
        if each.action != "add" or printed[group] <= _SHOWN:
            changes = f"  ({'; '.join(each.changes)})" if each.changes else ""
            line = f"{sign} {each.noun} {each.name}{changes}"
            typer.echo(typer.style(output.printable(line), fg=colour), err=to_error)
        elif printed[group] == _SHOWN + 1:
            more = total[group] - _SHOWN
            line = f"{sign} {more:,} more {each.noun}{'s' if more > 1 else ''}"
            typer.echo(typer.style(line, fg=colour), err=to_error)


def _summary(steps: Sequence[Step], dry_run: bool) -> str:
    if not steps:
        return "nothing to change: the registry is like the file"
    counts = Counter(each.action for each in steps)
    words = {"add": "add", "change": "change", "remove": "remove"} if dry_run else _DONE
    told = [f"{words[action]} {counts[action]:,}" for action in ("add", "change", "remove") if counts[action]]
    return ("would " if dry_run else "") + ", ".join(told)


_DONE = {"add": "added", "change": "changed", "remove": "removed"}


def _plain(step: Step) -> dict[str, Any]:
    return {"action": step.action, "noun": step.noun, "name": step.name, "changes": list(step.changes)}
