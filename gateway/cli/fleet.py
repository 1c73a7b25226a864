"""`gateway apply` and `gateway export`: the registry as a file that can be reviewed and versioned."""

from __future__ import annotations

import gc
import json
import os
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import files, options, output
from gateway.cli.options import DATA, Data, Json, ReplaceRevoked
from gateway.cli.upstreams import key_from, openapi_document, read_secret
from gateway.errors import GatewayError
from gateway.management import gateways
from gateway.management.client import AnswerDocument, ApiError

if TYPE_CHECKING:
    from gateway.management.client import ManagementClient, Reply
    from gateway.registry.fleet.document import Document as FleetFile

_SHOWN: Final = 40  # new things of one noun that are printed; the others are counted
_IN_A_LINE: Final = 5  # removals that an error names in its own line
_SIGNS: Final = {"add": ("+", "green"), "change": ("~", "yellow"), "remove": ("-", "red")}
_DONE: Final = {"add": "added", "change": "changed", "remove": "removed"}
_SECONDS: Final = 600.0
"""The time that a large file may take."""
_CARRIED_OUT: Final = "already_carried_out"
_ATTEMPTS: Final = 30


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
    from gateway.registry.fleet import document

    with _uncollected():
        try:
            named = "standard input" if str(file) == "-" else str(file)
            read = document.read(files.read(file, document.MAX_BYTES + 1, hint="check the path"), named)
            said = read.value.get("organization")
            if organization and said not in (None, organization):
                message = f"{named} is for organization `{said}`, not `{organization}`"
                raise GatewayError("invalid_organization", message)
            body = _body(read, file.parent) | {"prune": prune, "suspend_now": yes, "reason": reason}
            if replace_revoked:
                body["replace_revoked"] = True
            many = sum(len(each) for each in read.value.values() if isinstance(each, list))
            what = f"{'comparing' if dry_run else 'comparing and applying'} {many:,} items"
            about = gateways.client(data, output.warn, organization=organization or said)
            with output.working(what) as pause, about as gateway:
                posting = _Posting(gateway, read.source, body)
                if dry_run:
                    plan = posting.plan(with_keys=keys is not None, rehearse=True).body
                else:

                    def confirm(steps: Sequence[AnswerDocument]) -> None:
                        pause()
                        _confirm(steps)

                    asked = None if yes or not prune else confirm
                    plan = posting.apply(asked, _KeyFile(keys) if keys else None)
        except document.FleetError as error:
            for text in error.texts()[:-1]:
                output.complain(text)
            output.complain(error.texts()[-1], error.hint)
            raise typer.Exit(1) from error
    steps = plan["steps"]
    if as_json:
        told = [{name: each[name] for name in ("action", "noun", "name", "changes")} for each in steps]
        output.print_json({"organization": plan["organization"], "applied": not dry_run, "steps": told})
        return
    _print(steps)
    output.note(_summary(steps, dry_run))
    if keys and not dry_run and (made := sum(each["noun"] == "key" for each in steps)):
        output.note(f"wrote {made:,} {'key' if made == 1 else 'keys'} to {keys}: this is the only copy")


def export(
    organization: options.Organization = "default",
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="FILE", help="Instead of standard output.")] = None,
    data: Data = DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, which `gateway apply` takes as well.")] = False,
) -> None:
    """Print an organization's settings, teams, agents, upstreams, routes, limits … as a file for `gateway apply`.

    Secret keys are in no export: those of providers stay sealed in the registry, those of agents are not known to it.
    """
    from gateway.registry.fleet import export as exported

    with gateways.client(data, output.warn, organization=organization) as gateway:
        document = gateway.send("GET", "fleet", seconds=_SECONDS)
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n" if as_json else exported.text(document)
    if out is None:
        typer.echo(text, nl=False)
        return
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise GatewayError("file_unusable", f"{out} cannot be written: {files.why(error)}") from None


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


def _body(read: FleetFile, directory: Path) -> dict[str, Any]:
    """The file with what its upstreams refer to, seen from where it is. Raises `FleetError` for what cannot be read."""
    from gateway.registry.fleet import posted
    from gateway.registry.fleet.document import FleetError, Mistake
    from gateway.upstream.providers.http import openapi

    mistakes: list[Mistake] = []
    secrets: dict[str, str] = {}
    documents: dict[str, Mapping[str, Any]] = {}
    for item, line in read.items("upstreams"):
        name, key = item["name"], item.get("key", {"none": True})
        try:
            if "none" not in key:
                secrets[name] = read_secret(key["env"]) if "env" in key else key_from(directory / key["file"])
            if "openapi" in item:
                documents[name] = openapi.needed(openapi_document(directory / item["openapi"], None))
        except GatewayError as error:
            hint = f": {error.hint}" if error.hint else ""
            mistakes.append(Mistake(line, f"upstream {name}: {error.message}{hint}"))
    if mistakes:
        raise FleetError(read.source, mistakes)
    return {"document": read.value, "lines": posted.lines_of(read), "secrets": secrets, "openapi": documents}


class _Posting:
    """A fleet file on its way to a gateway, here or elsewhere."""

    def __init__(self, gateway: ManagementClient, source: str, body: dict[str, Any]) -> None:
        self._gateway = gateway
        self._source = source
        self._body = body

    def plan(self, *, with_keys: bool, rehearse: bool) -> Reply:
        """The steps that applying would take. With keys, each agent of the file without a live key would get one."""
        more = {"with_keys": with_keys, "rehearse": rehearse}
        return self._sent("plan", self._body | more, uuid.uuid4().hex, "")

    def apply(
        self, confirm: Callable[[Sequence[AnswerDocument]], None] | None, key_file: _KeyFile | None
    ) -> AnswerDocument:
        """If somebody is to confirm the plan, or keys are made for it, exactly this plan is applied or none."""
        from gateway.identity import credentials

        body, match = self._body, "*"
        made: dict[str, str] = {}
        if key_file is not None or confirm is not None:
            planned = self.plan(with_keys=key_file is not None, rehearse=False)
            steps, match = planned.body["steps"], planned.tag
            if confirm is not None and any(each["action"] == "remove" for each in steps):
                confirm(steps)
            if key_file is not None:
                made = {each["name"]: credentials.generate("agent").text for each in steps if each["noun"] == "key"}
                body = body | {"keys": made}
        if key_file is None or not made:
            return self._applied(body, match)
        # The keys are on disk before they are sent: none can be in force and lost.
        key_file.write([(agent, "", text) for agent, text in made.items()])
        try:
            found = self._applied(body, match)
        except GatewayError as error:
            if not (self._gateway.transport.is_here or _refused(error)):
                message = f"{error.message}; whether the file was applied is not known, so its new keys are kept"
                hint = "apply it again with another file for keys: it makes none for agents whose kept ones work"
                raise GatewayError(error.code, message, hint=hint) from error
            key_file.discard()
            raise
        key_file.write([(each["agent"], each["id"], made[each["agent"]]) for each in found["keys"]])
        return found

    def _applied(self, body: dict[str, Any], match: str) -> AnswerDocument:
        """With one idempotency key: however often it is sent, it is carried out once."""
        key, left = uuid.uuid4().hex, _ATTEMPTS
        while True:
            left -= 1
            try:
                found: AnswerDocument = self._sent("apply", body, key, match).body
            except ApiError as error:
                if error.code == "changed_meanwhile":
                    raise GatewayError(error.code, error.message, hint="apply it again") from error
                if error.code != _CARRIED_OUT or not left:
                    raise
                time.sleep(1)  # its answer is known when all its entries are in the log
            else:
                return found

    def _sent(self, verb: str, body: dict[str, Any], key: str, match: str) -> Reply:
        import orjson

        from gateway.registry.fleet import posted
        from gateway.registry.fleet.document import FleetError, Mistake

        if not self._gateway.transport.is_here and len(orjson.dumps(body)) > posted.MAX_BYTES - 1024:
            message = f"{self._source} is too large for a request: with all it names it has more than "
            hint = "apply it in parts, or on the gateway's own machine"
            raise GatewayError("too_large", f"{message}{posted.MAX_BYTES >> 20} MiB", hint=hint)
        try:
            return self._gateway.reply("POST", "fleet", verb, body=body, match=match, key=key, seconds=_SECONDS)
        except ApiError as error:
            if error.code != "invalid_fleet" or not error.errors:
                raise
            mistakes = [Mistake(int(each.get("line", 0)), str(each.get("message"))) for each in error.errors]
            raise FleetError(self._source, mistakes, error.hint) from error
        except FleetError as error:
            raise FleetError(self._source, error.mistakes, error.hint) from error


def _refused(error: GatewayError) -> bool:
    """True if the gateway says that it has not carried the request out; otherwise it may have."""
    answer = error if isinstance(error, ApiError) else error.__cause__
    return isinstance(answer, ApiError) and answer.status < 500 and answer.code != _CARRIED_OUT


class _KeyFile:
    """The file of new keys, written once: a line `agent,key id,key` for each, readable by this user only.

    It is on disk before the keys are in force, so none is lost; if they do not come into force, it is deleted. It is
    written again when the gateway has given the keys their ids.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written = False

    def write(self, rows: Sequence[tuple[str, str, str]]) -> None:
        path = self._path.with_name(f"{self._path.name}.{os.getpid()}.new") if self._written else self._path
        try:
            descriptor = files.create(path)
            try:
                files.write(descriptor, "".join(f"{','.join(row)}\n" for row in [("agent", "id", "key"), *rows]))
            finally:
                os.close(descriptor)
            path.replace(self._path)
        except FileExistsError:
            hint = "name a new file: keys that are in it would be lost"
            raise GatewayError("file_unusable", f"{path} is there already", hint=hint) from None
        except OSError as error:
            with suppress(OSError):
                path.unlink()
            raise GatewayError("file_unusable", f"{path} cannot be written: {files.why(error)}") from None
        self._written = True

    def discard(self) -> None:
        self._path.unlink(missing_ok=True)


def _confirm(steps: Sequence[AnswerDocument]) -> None:
    """Ask before something is removed, or refuse where nobody can be asked."""
    removed = [each for each in steps if each["action"] == "remove"]
    if not sys.stdin.isatty() or not sys.stderr.isatty():
        named = ", ".join(f"{each['noun']} {each['name']}" for each in removed)
        if len(removed) > _IN_A_LINE:
            _print(removed, to_error=True)
            named = f"these {len(removed):,}"
        raise GatewayError("not_confirmed", f"this would remove {named}", hint="add --yes if that is meant")
    _print(steps, to_error=True)
    typer.confirm(f"{_summary(steps, dry_run=True)}. Go on?", abort=True, err=True)


def _print(steps: Sequence[AnswerDocument], to_error: bool = False) -> None:
    """One line for each step; of many new things alike, the first ones and how many more there are.

    Changes and removals are never counted only: one of them takes something away from somebody.
    """
    printed: Counter[tuple[str, str]] = Counter()
    total = Counter((each["action"], each["noun"]) for each in steps)
    for each in steps:
        group = each["action"], each["noun"]
        printed[group] += 1
        sign, colour = _SIGNS[each["action"]]
        if each["action"] != "add" or printed[group] <= _SHOWN:
            changes = f"  ({'; '.join(each['changes'])})" if each["changes"] else ""
            line = f"{sign} {each['noun']} {each['name']}{changes}"
            typer.echo(typer.style(output.printable(line), fg=colour), err=to_error)
        elif printed[group] == _SHOWN + 1:
            more = total[group] - _SHOWN
            line = f"{sign} {more:,} more {each['noun']}{'s' if more > 1 else ''}"
            typer.echo(typer.style(line, fg=colour), err=to_error)


def _summary(steps: Sequence[AnswerDocument], dry_run: bool) -> str:
    if not steps:
        return "nothing to change: the registry is like the file"
    counts = Counter(each["action"] for each in steps)
    words = {"add": "add", "change": "change", "remove": "remove"} if dry_run else _DONE
    told = [f"{words[action]} {counts[action]:,}" for action in ("add", "change", "remove") if counts[action]]
    return ("would " if dry_run else "") + ", ".join(told)
