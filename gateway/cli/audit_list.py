"""`gateway audit list`: the newest entries of the log that match some filters, as a table or as JSON lines."""

from __future__ import annotations

import difflib
import enum
import json
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import output
from gateway.cli.audit_files import log_directory, opened_log
from gateway.cli.options import DATA, Data
from gateway.errors import REASONS, GatewayError
from gateway.processes import local

if TYPE_CHECKING:
    from gateway.audit.search import Found

_POLL_SECONDS = 0.25
_WIDTHS = (24, 14, 7, 10, 40, 24)
_COLUMNS = ("TIME", "ORGANIZATION", "ENTRY", "KIND", "ID", "WHO", "WHAT")
_NOT_SHOWN = {"v", "id", "kind", "time", "org", "boot", "actor", "epoch", "what", "agent_name"}  # of a change


class Kind(enum.StrEnum):
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


class Answer(enum.StrEnum):
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
    kind: Annotated[Kind | None, typer.Option("--kind", help="Only entries of this kind.")] = None,
    decision: Annotated[Answer | None, typer.Option("--decision", help="Only decisions that went so.")] = None,
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
    from gateway.audit import search, storage

    since_ns, until_ns = _time(since, "--since"), _time(until, "--until")
    if since_ns is not None and until_ns is not None and since_ns >= until_ns:
        raise typer.BadParameter("--since is not before --until")
    directory = log_directory(data)
    filters = search.Filters(
        organization=organization,
        agent=_agent_id(agent, organization or "default", data),
        id=event_id or None,
        kind=kind,
        allow=None if decision is None else decision is Answer.ALLOW,
        reason=reason,
        model=model,
        person=person,
        since_ns=since_ns,
        until_ns=until_ns,
    )
    with opened_log(directory.audit_db) as db:
        with storage.snapshot(db):
            position = search.last_position(db)
            page = search.matching(db, limit, filters)
        show = _print_json if as_json else _table(db, heading=bool(page.found) or follow)
        show(page.found)
        if page.stopped_ns is not None:
            output.note(_stopped(page.stopped_ns))
        elif not page.found and not follow and not as_json:
            output.note(f"no entries{_did_you_mean(reason)}")
        try:
            while follow:
                time.sleep(_POLL_SECONDS)
                found, position = search.after(db, position, filters)
                for each in found:
                    show([each])
                sys.stdout.flush()
        except KeyboardInterrupt:
            pass  # the way to end it


def _time(text: str | None, option: str) -> int | None:
    """A time, or an age before now."""
    if text is None:
        return None
    for parse in (lambda text: output.now_ns() - output.parse_duration(text), output.parse_time):
        try:
            return parse(text)
        except GatewayError:
            continue
    raise typer.BadParameter(f"`{text}` is neither a time nor an age: write 2026-11-25T14:00:00Z or 2h ({option})")


def _stopped(time_ns: int) -> str:
    from gateway.audit.search import MOST_LOOKED_AT

    until = output.timestamp(time_ns + 999_999)  # rounded up: an entry may be shown twice, but none is left out
    return (
        f"looked at {MOST_LOOKED_AT:,} entries, back to {until}: go on with `--until {until}`, "
        "or narrow the search with --agent or --organization"
    )


def _did_you_mean(reason: str | None) -> str:
    outcomes = ("allowed", "ok", "provider_error", "client_disconnected", "revoked", "upstream_incomplete", "unknown")
    similar = difflib.get_close_matches(reason or "", [*REASONS, *outcomes], 1)
    return f": did you mean `--reason {similar[0]}`?" if similar and similar[0] != reason else ""


def _agent_id(agent: str | None, organization: str, data: Path) -> str | None:
    """The id of an agent. An id is returned as it is, so that a copy of the log can be searched without a registry."""
    if agent is None or agent.startswith("agt_"):
        return agent
    from gateway.registry import queries

    with local.reading(data) as registry:
        return queries.agent(registry, organization, agent).id


def _print_json(found: Iterable[Found]) -> None:
    from gateway.audit.entry import opened

    for each in found:
        document = {"organization": each.organization, "seq": each.seq, "entry": opened(each.entry)}
        typer.echo(json.dumps(document, ensure_ascii=False))


def _table(db: sqlite3.Connection, *, heading: bool) -> Callable[[Iterable[Found]], None]:
    """A function that prints rows with fixed widths, because with `--follow` later rows are not known yet."""
    names: dict[str, str] = {}  # of decisions, for the entries that close them
    if heading:
        typer.echo(typer.style(_row(_COLUMNS), bold=True))

    def show(found: Iterable[Found]) -> None:
        for each in found:
            cells = (output.timestamp(each.time_ns), each.organization, str(each.seq), each.kind)
            line = _row((*cells, _id(each), _who(db, each, names), what(each)))
            typer.echo(typer.style(line, fg="red") if each.entry.get("allow") is False else line)

    return show


def _row(cells: Iterable[str]) -> str:
    *columns, last = map(output.printable, cells)
    return "  ".join([*(cell.ljust(width) for cell, width in zip(columns, _WIDTHS, strict=True)), last]).rstrip()


def _id(found: Found) -> str:
    """The id to look an entry up by: that of the decision which a `completed` entry closes."""
    return str(found.entry.get("decision") or found.event_id)


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


def what(found: Found) -> str:
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
        return f"{get('reason')} x{get('count')}"
    if kind == "activation":
        return f"{get('activation')} {get('outcome')} {get('commit', '')}"
    if kind == "recovered":
        return f"closed {get('count')} decisions that a dead process had left open"
    if kind == "checkpoint":
        return f"{get('origin')} signed at size {get('size')}"
    return " ".join(f"{name}={get(name)}" for name in ("reason", "count", "previous") if get(name))


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
