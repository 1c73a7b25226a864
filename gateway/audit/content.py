"""Content that the log keeps for agents which opted in: sealed, beside the entry that commits to it.

A part of a call (the request, the answer) is sealed with AES-256-GCM under a key of its agent, and bound to the
organization, the agent, the decision and the part: it opens in no other place. Sealed content is

    format (1) | SHA-256 of the key (32) | nonce (12) | ciphertext and tag

The digest tells a destroyed or foreign key from damage, and makes sure that no second key opens the same bytes to
another text. The leaf has a salted commitment to the sealed bytes. So a log can be verified without any key, and once
the row is erased, or the key destroyed, nothing of the content is left. Specification: content.md.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit import entry as entries
from gateway.audit.errors import AuditError
from gateway.audit.log_reader import LogIndex

REQUEST: Final = "request"
ANSWER: Final = "answer"
KEY_BYTES: Final = 32
DAY_NS: Final = 24 * 3600 * 10**9

_FORMAT: Final = b"\x01"
_NONCE: Final = 12
_HEAD: Final = len(_FORMAT) + 32
_MINIMUM: Final = _HEAD + _NONCE + 16

TABLE: Final = """
-- What was said in calls of agents whose content is kept, until it expires: sealed, one row beside each entry.
CREATE TABLE content (
    entry_id INTEGER PRIMARY KEY REFERENCES entry,
    log_id INTEGER NOT NULL REFERENCES log,
    decision TEXT NOT NULL,
    agent TEXT NOT NULL,
    expires_ns INTEGER NOT NULL,
    salt BLOB NOT NULL,
    sealed BLOB NOT NULL
) STRICT;
CREATE INDEX content_decision ON content (decision);
CREATE INDEX content_agent ON content (agent);
CREATE INDEX content_expires ON content (expires_ns);
"""


ROWS: Final = """
SELECT entry_id, log_id, decision, agent, expires_ns, salt, sealed FROM content WHERE entry_id > ? ORDER BY entry_id
"""
"""All of it after an entry, in the order of entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sealed:
    """One part of a call's content, ready to be kept for `days` from the time of its entry."""

    agent: str
    data: bytes = field(repr=False)
    days: int
    salt: bytes = field(default_factory=lambda: os.urandom(entries.SALT_BYTES), repr=False)

    @property
    def commitment(self) -> str:
        return commitment(self.salt, self.data)


def commitment(salt: bytes, sealed: bytes) -> str:
    """The member `content_commitment` of the entry."""
    return entries.commitment(salt, "content", sealed)


def seal(key: bytes, text: bytes, *, organization: str, agent: str, decision: str, part: str) -> bytes:
    """Seal one part of a call's content under its agent's key."""
    nonce = os.urandom(_NONCE)
    bound = _bound(organization, agent, decision, part)
    return _FORMAT + _digest(key) + nonce + AESGCM(key).encrypt(nonce, text, bound)


def unseal(key: bytes | None, sealed: bytes, *, organization: str, agent: str, decision: str, part: str) -> bytes:
    """The content sealed for this place. Raises `content_unreadable` for anything else, and without the key."""
    if len(sealed) < _MINIMUM or not sealed.startswith(_FORMAT):
        raise _unreadable(decision, "it is damaged")
    if key is None or sealed[len(_FORMAT) : _HEAD] != _digest(key):
        raise _unreadable(decision, "its key was destroyed, or is not the one of this registry")
    nonce, ciphertext = sealed[_HEAD : _HEAD + _NONCE], sealed[_HEAD + _NONCE :]
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, _bound(organization, agent, decision, part))
    except InvalidTag:
        raise _unreadable(decision, "it is damaged or belongs to another entry") from None


def rows(db: LogIndex, decision: str) -> list[tuple[str, bytes]]:
    """The kept content of a decision: the parts in order, each with its sealed bytes."""
    query = """
        SELECT entry.kind, content.sealed FROM content JOIN entry ON entry.id = content.entry_id
         WHERE content.decision = ? ORDER BY entry.id
    """
    return [(REQUEST if kind == "decided" else ANSWER, sealed) for kind, sealed in db.execute(query, (decision,))]


def expired(db: LogIndex, now_ns: int, limit: int) -> list[tuple[str, str]]:
    """Organizations and decisions of which some content has expired, those that expired first at the beginning."""
    query = """
        SELECT DISTINCT log.organization, content.decision FROM content JOIN log ON log.id = content.log_id
         WHERE content.expires_ns <= ? ORDER BY content.expires_ns LIMIT ?
    """
    return list(db.execute(query, (now_ns, limit)))


def of_agent(db: LogIndex, agent: str, limit: int) -> list[tuple[str, str]]:
    """Organizations and decisions of an agent of which some content is kept."""
    query = """
        SELECT DISTINCT log.organization, content.decision FROM content JOIN log ON log.id = content.log_id
         WHERE content.agent = ? LIMIT ?
    """
    return list(db.execute(query, (agent, limit)))


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(b"gateway content key\x00" + key).digest()


def _bound(organization: str, agent: str, decision: str, part: str) -> bytes:
    places = (organization, agent, decision, part)
    if any("|" in each for each in places):
        raise ValueError("a `|` inside a part would let two places share one text")
    return "|".join(("content", *places)).encode()


def _unreadable(decision: str, why: str) -> AuditError:
    return AuditError("content_unreadable", f"the content of `{decision}` cannot be opened: {why}", subject=decision)
