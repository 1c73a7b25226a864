"""From an intent to the draft of an entry, which is complete and validated except for its time.

A draft is made where the intent is submitted, before it is queued. So an invalid intent does not affect others, and the
writer's transaction has little to do.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from typing import NamedTuple

from gateway.audit import entry as entries
from gateway.audit.errors import AuditError
from gateway.audit.intents import (
    Activated,
    Changed,
    Completed,
    Decided,
    Denial,
    Erased,
    Fields,
    HeadSigned,
    Intent,
    Recovered,
    Refused,
)
from gateway.identifiers import uuid7

# Room for members that are added later: `late`, and the answer of a reservation. The time has a fixed width.
_SLACK = 512
_RESERVATION = 16 * 1024
_REASONS = 32
_REASON_BYTES = 512
_REASONS_BYTES = 16 * 1024
_PREFIXES = {"refused": "rfs_", "recovered": "rcv_", "erasure": "ers_"}
_EVENT_ID = re.compile(r"[a-z]{3,4}_[0-9A-Za-z-]{1,56}")
# As a tuple: a union is made anew each time it is asked for.
_OF_A_CALL = (Decided, Completed)


class Draft(NamedTuple):
    """An entry that lacks only its time. `salt` and `private` are stored beside the log."""

    intent: Intent
    entry: entries.Entry
    salt: bytes | None = None
    private: bytes | None = None
    # The same of other sides.
    others: tuple[Draft, ...] = ()

    @property
    def organization(self) -> str:
        return self.intent.organization


def draft(intent: Intent, boot: str) -> Draft:
    """The draft of this intent, to be recorded by the process `boot`. Raises `bad_entry` if it is not valid."""
    entry: entries.Entry = {
        "v": entries.VERSION,
        "id": _event_id(intent),
        "kind": intent.kind,
        "time": entries.PLACEHOLDER_TIME,
        "org": intent.organization,
        "boot": boot,
        "actor": entries.ACTOR_GATEWAY,
        "epoch": intent.epoch,
    }
    salt = private = None
    others: tuple[Intent, ...] = ()
    if isinstance(intent, Decided):
        salt, private = _decided(intent, entry)
        others = intent.others
    elif isinstance(intent, Completed):
        _completed(intent, entry)
        others = intent.others
    elif isinstance(intent, Refused):
        entry |= {"agent": intent.agent, "key": intent.key, "reason": intent.reason, "count": intent.count}
        entry |= {"first_ns": str(intent.first_ns), "last_ns": str(intent.last_ns)}
        entry["actor"] = intent.agent or entries.ACTOR_GATEWAY
    elif isinstance(intent, Changed):
        entry |= {"actor": intent.actor, "what": intent.what}
        salt, private = _private(intent, entry)
    elif isinstance(intent, Activated):
        entry |= {"actor": intent.actor, "activation": intent.activation, "outcome": intent.outcome}
    elif isinstance(intent, HeadSigned):
        entry |= {"origin": intent.origin, "size": intent.size, "root": intent.root}
    elif isinstance(intent, Erased):
        entry |= {"actor": intent.actor, "what": "content", "why": intent.why}
        entry |= {"decisions_json": entries.document(sorted(intent.decisions)), "count": len(intent.decisions)}
    else:
        entry |= {"boots_json": entries.document(sorted(intent.boots)), "count": 0}
    if not isinstance(intent, Recovered):
        _add(entry, intent.fields)
    if isinstance(intent, _OF_A_CALL) and intent.content is not None:
        _add(entry, {"content_commitment": intent.content.commitment, "content_expires_ns": entries.PLACEHOLDER_TIME})
    size = len(entries.encode(entry))
    entries.check(entry, size)
    most = entries.MAX_LEAF - (_RESERVATION if isinstance(intent, Decided) and intent.reservation else _SLACK)
    if size > most:
        raise AuditError("bad_entry", f"the entry would have {size} bytes, {most} are the most")
    return Draft(intent, entry, salt, private, tuple(draft(each, boot) for each in others) if others else ())


def reserved(entry: entries.Entry, answer: Fields | Denial) -> entries.Entry:
    """Members that its reservation adds to or changes in a `decided` entry. Raises `bad_entry` if not valid."""
    if answer.__class__ is dict and len(answer) == 1 and "reservation_json" not in entry:
        # The kind of nearly all of them. Most of the rules hold for it in any case.
        text = answer.get("reservation_json")
        if text.__class__ is str and text.isascii() and len(text) <= entries.MAX_DOCUMENT:
            return answer
    more: entries.Entry = {}
    if isinstance(answer, Denial):
        more = {"allow": False, "open": False, "reason": answer.reason, "reasons_json": _reasons(answer.reasons)}
        answer = answer.fields
    _check_free(entry, answer)
    # The rest was checked when the draft was made.
    entries.check_members(answer)
    more.update(answer)
    return more


def _add(entry: entries.Entry, fields: Fields) -> None:
    _check_free(entry, fields)
    entry.update(fields)


def _check_free(entry: entries.Entry, fields: Fields) -> None:
    if not entry.keys().isdisjoint(fields):
        taken = "`, `".join(sorted(entry.keys() & fields.keys()))
        raise AuditError("bad_entry", f"`{taken}` cannot be a free field of a `{entry['kind']}` entry")


def _event_id(intent: Intent) -> str:
    identifier = intent.event_id
    if identifier is None:
        return _PREFIXES[intent.kind] + uuid7()
    if not _EVENT_ID.fullmatch(identifier):
        raise AuditError("bad_entry", f"`{identifier}` is not an event id: a prefix, `_`, then letters and digits")
    decision = intent.decision_id if isinstance(intent, Completed) else identifier
    if isinstance(intent, _OF_A_CALL) and not decision.startswith("dec_"):
        raise AuditError("bad_entry", f"`{decision}` is not a decision id: it must begin with `dec_`")
    return identifier


def _decided(intent: Decided, entry: entries.Entry) -> tuple[bytes | None, bytes | None]:
    if intent.open and not intent.allow:
        raise AuditError("bad_entry", "a denial is never open")
    if intent.reservation is not None and not intent.open:
        raise AuditError("bad_entry", "only a decision that stays open can reserve anything")
    entry |= {
        "actor": intent.agent or entries.ACTOR_GATEWAY,
        "agent": intent.agent,
        "key": intent.key,
        "allow": intent.allow,
        "open": intent.open,
        "reason": intent.reason,
        "reasons_json": _reasons(intent.reasons),
    }
    return _private(intent, entry)


def _private(intent: Decided | Changed, entry: entries.Entry) -> tuple[bytes | None, bytes | None]:
    """The salt and the private row of an entry, which gets the commitment to them."""
    if intent.private is None and intent.salt is None:
        return None, None
    salt = intent.salt or os.urandom(entries.SALT_BYTES)
    # Also without an input: then the commitment proves the salt.
    entry["input_commitment"] = entries.commitment(salt, "input", intent.private or b"")
    return salt, intent.private


def _completed(intent: Completed, entry: entries.Entry) -> None:
    entry |= {
        "actor": intent.agent or entries.ACTOR_GATEWAY,
        "agent": intent.agent,
        "decision": intent.decision_id,
        "outcome": intent.outcome,
        "status": intent.status,
        "input_tokens": intent.input_tokens,
        "output_tokens": intent.output_tokens,
    }


def _reasons(reasons: Sequence[str]) -> str:
    """The reasons that policies gave, cut to a size that always fits: a policy must not prevent its own record."""
    if not reasons:
        return "[]"
    kept = [_clip(reason) for reason in reasons[:_REASONS]]
    while True:
        left_out = len(reasons) - len(kept)
        text = entries.document([*kept, f"… and {left_out} more"] if left_out else kept)
        if len(entries.canonical(text)) <= _REASONS_BYTES:
            return text
        kept.pop()  # escapes, which are escaped again in the leaf, made it longer than expected


def _clip(text: str) -> str:
    data = text.encode("utf-8", "replace")  # lone surrogates become question marks
    if len(data) <= _REASON_BYTES:
        return data.decode()
    return data[:_REASON_BYTES].decode("utf-8", "ignore") + "…"
