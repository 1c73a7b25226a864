"""One event of the log by its id, which may be shortened, and one decision with all that was kept of it.

Raises `AuditError` (`unknown_event`, `ambiguous_event`), which names ids that are similar.
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import Any, Final

from gateway.audit import search
from gateway.audit.errors import AuditError
from gateway.audit.intents import closing_id
from gateway.audit.log_reader import IndexedLog, LogIndex
from gateway.audit.search import FoundEntry
from gateway.errors import Hint, UnknownError

_SHOWN: Final = 3


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision as the log has it. `completed` is None while it is open, and for a denial.

    `input` is the document that was judged, without its content; None if it is not kept any more.
    """

    decided: FoundEntry
    completed: FoundEntry | None
    input: dict[str, Any] | None

    @property
    def id(self) -> str:
        return self.decided.event_id


def event(db: LogIndex, text: str, organization: str | None = None) -> FoundEntry:
    """The entry with this event id. The beginning is enough if no other id begins so; `dec_` may be left out.

    With an organization there are only the entries of its log.
    """
    text = text.strip()
    for candidate in (text, f"dec_{text}"):
        found = search.by_event(db, candidate, organization)
        if found is not None:
            return found
    for candidate in (text, f"dec_{text}") if text else ():
        several = search.beginning(db, candidate, _SHOWN + 1, organization)
        if len(several) == 1:
            return several[0]
        if several:
            names = ", ".join(each.event_id for each in several[:_SHOWN])
            more = ", …" if len(several) > _SHOWN else ""
            message = f"`{text}` is the beginning of several ids: {names}{more}"
            raise AuditError("ambiguous_event", message, subject=text, hint="give more of the id")
    hint = _similar(db, text, organization)
    raise UnknownError("event", f"the log has no entry `{text}`", subject=text, hint=hint)


def decision(db: LogIndex, found: FoundEntry) -> Decision:
    """The decision that an entry opens or closes. Raises `not_a_decision` for any other entry."""
    decided: FoundEntry | None = found
    if found.kind == "completed":
        decided = search.by_event(db, str(found.entry.get("decision")), found.organization)
    if decided is None or decided.kind != "decided":
        what = f"`{found.event_id}` is no decision, but an entry of the kind `{found.kind}`"
        hint = Hint(f"see `gateway audit show {found.event_id}`")
        raise AuditError("not_a_decision", what, subject=found.event_id, hint=hint)
    kept = search.private_input(db, decided.position)
    completed = search.by_event(db, closing_id(decided.event_id), decided.organization)
    return Decision(decided, completed, _document(kept))


def checkpoint(db: IndexedLog, organization: str) -> str:
    """The newest signed checkpoint of an organization's log. Raises `no_checkpoint`."""
    head = db.head(organization)
    note = None if head is None else db.newest_checkpoint(head.id)
    if note is None:
        what = "has no log yet" if head is None else "is not signed yet"
        hint = "a running gateway signs every few seconds"
        raise AuditError("no_checkpoint", f"`{organization}` {what}", subject=organization, hint=hint, kind="not_found")
    return note


def decided_after(db: LogIndex, position: int, limit: int) -> list[tuple[FoundEntry, dict[str, Any] | None]]:
    """The next decisions after a position, in order, each with its input as far as it is kept."""
    return [(found, _document(kept)) for found, kept in search.decided_after(db, position, limit)]


def _document(kept: bytes | None) -> dict[str, Any] | None:
    try:
        document = json.loads(kept) if kept else None
    except ValueError:
        return None
    return document if isinstance(document, dict) and document else None


def _similar(db: LogIndex, text: str, organization: str | None) -> str:
    wanted = text if "_" in text else f"dec_{text}"
    # A mistake near the end leaves the id in its place; one further ahead only in a list of the newest.
    newest = search.newest(db, 1000, organization)
    near = search.beside(db, wanted, organization) + [each.event_id for each in newest]
    names = difflib.get_close_matches(wanted, dict.fromkeys(near), 1, 0.85)
    return f"did you mean `{names[0]}`?" if names else "`gateway audit list` shows the ids"
