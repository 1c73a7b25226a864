"""`gateway audit list`: the newest entries of the log that match some filters, as a table or as JSON lines."""

from __future__ import annotations

import difflib
import enum
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from gateway.cli import output
from gateway.cli.options import DATA, Data
from gateway.errors import REASONS, GatewayError
from gateway.management import documents, gateways

if TYPE_CHECKING:
    from gateway.management.client import AnswerDocument, ManagementClient

_POLL_SECONDS: Final = 0.25
_POLL_SECONDS_ELSEWHERE: Final = 1.0
_WIDTHS = (24, 14, 7, 10, 40, 24)
_COLUMNS = ("TIME", "ORGANIZATION", "ENTRY", "KIND", "ID", "WHO", "WHAT")
_NOT_SHOWN = {"v", "id", "kind", "time", "org", "boot", "actor", "epoch", "what", "agent_name", "about"}  # of a change


class EntryKind(enum.StrEnum):
    """The kinds of entries. `gateway/audit/entry.py` has their members; importing it here would slow every command."""

    DECIDED = "decided"
    COMPLETED = "completed"
    CHANGE = "change"
    ACTIVATION = "activation"
    REFUSED = "refused"
    RECOVERED = "recovered"
    CHECKPOINT = "checkpoint"
    ERASURE = "erasure"
    EPOCH = "epoch"


class DecisionOutcome(enum.StrEnum):
    """How a decision went."""

    ALLOW = "allow"
    DENY = "deny"


def list_entries(
    organization: Annotated[
        str | None, typer.Option("--organization", "--org", metavar="NAME", help="Only its log; `system` is one too.")
    ] = None,
    agent: Annotated[str | None, typer.Option("--agent", metavar="AGENT", help="Only this agent (name or id).")] = None,
    event_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Only ids that begin so; a decision together with its end."),
    ] = None,
    kind: Annotated[EntryKind | None, typer.Option("--kind", help="Only entries of this kind.")] = None,
    decision: Annotated[DecisionOutcome | None, typer.Option("--decision", help="Only decisions that went so.")] = None,
    denied: Annotated[bool, typer.Option("--denied", help="The same as --decision deny.")] = False,
    reason: Annotated[
        str | None, typer.Option("--reason", metavar="CODE", help="Only this reason code, or outcome of a call.")
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", metavar="MODEL", help="Only decisions on calls of this model.")
    ] = None,
    person: Annotated[
        str | None,
        typer.Option(
            "--person", metavar="SUBJECT", help="Only what agents did for this person: the `sub` of their token."
        ),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--since", metavar="TIME", help="2026-11-25T14:00:00Z, or an age: 90s, 15m, 2h, 3d.")
    ] = None,
    until: Annotated[str | None, typer.Option("--until", metavar="TIME", help="Only entries before this time.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1_000_000, help="At most so many entries.")] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on showing entries as they are written.")] = False,
    data: Data = DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:
    """List the newest entries, oldest first. `gateway audit show ID` shows one with everything that was kept."""
    since_ns, until_ns = time_of(since, "--since"), time_of(until, "--until")
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise typer.BadParameter("--since is not before --until")
    if denied and decision is DecisionOutcome.ALLOW:
        raise typer.BadParameter("--denied and --decision allow exclude each other")
    decision = DecisionOutcome.DENY if denied else decision
    wanted = {
        "organization": organization,
        "everywhere": True if organization is None else None,
        "agent": agent,
        "id": event_id or None,
        "kind": kind,
        "allow": None if decision is None else decision is DecisionOutcome.ALLOW,
        "reason": reason,
        "model": model,
        "person": person,
        "since": documents.time_text(since_ns),
        "until": documents.time_text(until_ns),
    }
    with gateways.client(data, output.warn) as gateway:
        page = listed(gateway, wanted, limit)
        show = _print_json if as_json else _table(heading=bool(page.entries) or follow)
        show(page.entries)
        if page.stopped is not None:
            output.note(_stopped(page.stopped, page.looked_at))
        elif not page.entries and not follow and not as_json:
            output.note(f"no entries{_did_you_mean(reason)}")
        try:
            while follow:
                time.sleep(_POLL_SECONDS if gateway.transport.is_here else _POLL_SECONDS_ELSEWHERE)
                show(page.more())
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass  # the way to end it


@dataclass(slots=True)
class Listing:
    """The newest entries that match, oldest first. `stopped` is the time where the search gave up, if it did."""

    entries: list[AnswerDocument]
    stopped: str | None
    looked_at: int
    _client: ManagementClient
    _query: Mapping[str, Any]
    _next: str

    def more(self) -> list[AnswerDocument]:
        """Those that were written since, or since this was asked."""
        limit = self._client.transport.page
        page = self._client.get("audit", "entries", **self._query, cursor=self._next, limit=limit)
        self._next = page["next"]
        found: list[AnswerDocument] = page["items"]
        return found


def listed(gateway: ManagementClient, wanted: Mapping[str, Any], limit: int) -> Listing:
    from gateway.audit.search import MOST_LOOKED_AT

    pages: list[list[AnswerDocument]] = []  # the newest first
    following, before, left, looked_at = "", None, limit, 0
    while True:
        size = min(gateway.transport.page, left)
        page = gateway.get("audit", "entries", **wanted, before=before, limit=size)
        pages.append(page["items"])
        following, before = following or page["next"], page["older"]
        left, looked_at = left - len(page["items"]), looked_at + page["looked_at"]
        gave_up = page["stopped"] is not None and looked_at >= MOST_LOOKED_AT
        if before is None or left <= 0 or gave_up:
            break
    found = [each for items in reversed(pages) for each in items]
    return Listing(found, page["stopped"] if gave_up else None, looked_at, gateway, wanted, following)


def time_of(text: str | None, option: str) -> int | None:
    """A time, or an age before now."""
    try:
        return None if text is None else output.parse_past(text)
    except GatewayError as error:
        raise typer.BadParameter(f"{option}: {error.message}: {error.hint}") from error


def _stopped(time: str, looked_at: int) -> str:
    # Rounded up: an entry may be shown twice, but none is left out.
    until = output.timestamp(output.parse_time(time) + 999_999)
    return (
        f"looked at {looked_at:,} entries, back to {until}: go on with `--until {until}`, "
        "or narrow the search with --agent or --organization"
    )


def _did_you_mean(reason: str | None) -> str:
    outcomes = ("allowed", "ok", "provider_error", "client_disconnected", "revoked", "upstream_incomplete", "unknown")
    similar = difflib.get_close_matches(reason or "", [*REASONS, *outcomes], 1)
    return f": did you mean `--reason {similar[0]}`?" if similar and similar[0] != reason else ""


def _print_json(found: Iterable[AnswerDocument]) -> None:
    for each in found:
        typer.echo(json.dumps(document(each), ensure_ascii=False))


def document(found: AnswerDocument) -> dict[str, Any]:
    """An entry for programs."""
    from gateway.audit.entry import opened

    return {"organization": found["organization"], "seq": found["seq"], "entry": opened(found["entry"])}


def _table(*, heading: bool) -> Callable[[Iterable[AnswerDocument]], None]:
    """A function that prints rows with fixed widths, because with `--follow` later rows are not known yet."""
    if heading:
        typer.echo(typer.style(_row(_COLUMNS), bold=True))

    def show(found: Iterable[AnswerDocument]) -> None:
        for each in found:
            cells = (each["time"], each["organization"], str(each["seq"]), each["kind"])
            line = _row((*cells, _id(each), _who(each), what(each)))
            typer.echo(typer.style(line, fg="red") if each["entry"].get("allow") is False else line)

    return show


def _row(cells: Iterable[str]) -> str:
    *columns, last = map(output.printable, cells)
    return "  ".join([*(cell.ljust(width) for cell, width in zip(columns, _WIDTHS, strict=True)), last]).rstrip()


def _id(found: AnswerDocument) -> str:
    """The id to look an entry up by: that of the decision which a `completed` entry closes."""
    return str(found["entry"].get("decision") or found["id"])


def _who(found: AnswerDocument) -> str:
    """The actor of an entry: an agent by its name if the log says it."""
    entry = found["entry"]
    if found["kind"] == "change":
        return str(entry.get("actor") or "")
    return found["agent_name"] or str(entry.get("agent") or entry.get("actor") or "")


def what(found: AnswerDocument) -> str:
    """The entry in one line."""
    entry = found["entry"]
    if not entry:
        return "not an entry: see `gateway audit verify`"
    values = {name: "" if value is None else str(value) for name, value in entry.items()}
    get = values.get
    kind = found["kind"]
    if kind == "decided":
        reasons = _reasons(get("reasons_json", ""))
        call = " ".join(filter(None, (get("action"), get("model"))))
        verdict = "allowed" if entry["allow"] else f"denied {get('reason')}"
        verdict = f"dry run: {verdict}" if entry.get("dry_run") else verdict
        return " ".join(filter(None, (f"{verdict}:" if call else verdict, call, f"({reasons})" if reasons else "")))
    if kind == "completed":
        tokens = f"{get('input_tokens')}+{get('output_tokens')} tokens" if get("input_tokens") else ""
        return " ".join(filter(None, (get("outcome"), get("status"), tokens, cost(entry))))
    if kind == "change" and "percent" in entry:
        spent = f"{get('spent')} of {get('value')} spent in a window that ends at {get('resets_at')}"
        return f"{get('what')} {get('percent')} % of {get('limit_name')} of {get('scope')}: {spent}"
    if kind == "change":
        shown = values | {"agent": get("agent_name") or get("agent", "")}
        members = [
            f"{name}={shown[name]}" for name in shown if name not in _NOT_SHOWN and shown[name] not in ("", "[]", "{}")
        ]
        return " ".join([get("what", ""), *members])
    if kind == "refused":
        asked = _asked(get("asked_json", "[]"))
        return f"{'denied ' if entry.get('judged') else ''}{get('reason')} x{get('count')}{asked and f': {asked}'}"
    if kind == "activation":
        return f"{get('outcome')} {get('commit', '')}".rstrip()  # its id is that of the entry
    if kind == "recovered":
        return f"closed {get('count')} decisions that a dead process had left open"
    if kind == "checkpoint":
        return f"{get('origin')} signed at size {get('size')}"
    return " ".join(f"{name}={get(name)}" for name in ("reason", "count", "previous") if get(name))


def _asked(text: str) -> str:
    """The calls that refused requests asked for, according to `asked_json`."""
    try:
        first, *others = json.loads(text) or [{}]
        named = " ".join(str(first[name]) for name in ("method", "path", "model") if name in first)
        return f"{named} …" if others else named
    except (ValueError, TypeError, AttributeError):  # a leaf that was changed
        return text


def cost(entry: Mapping[str, object]) -> str:
    """What a call has cost, as its `completed` entry says."""
    from gateway.usage.prices import dollars

    nanousd = entry.get("cost_nanousd")
    return dollars(nanousd) if isinstance(nanousd, int) else ""


def _reasons(text: str) -> str:
    """The reasons of policies. If the leaf was changed and holds no list, the text itself."""
    try:
        return "; ".join(json.loads(text))
    except (ValueError, TypeError):
        return text
