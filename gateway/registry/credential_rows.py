"""The rows of credentials on SQLite: each is put together from an agent's own part and what it shares with others.

What an agent shares with its team and its organization (their states, bindings and limits, stops) is the same for
thousands of agents, and finding it takes most of the time. So it is kept for as long as the epoch of authority stays
the same. Both parts are as of one state of the registry, because each says of which epoch it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from gateway.identity.principals import CredentialRow

_EPOCH: Final = "(SELECT authority FROM epoch)"
_BINDINGS: Final = """
(SELECT json_group_array(json_array(b.id, b.bundle, b.effect, b.pinned, b.shadow))
   FROM binding b
  WHERE b.organization_id = <organization> AND b.removed_ns IS NULL AND <subject>)"""
_LIMITS: Final = """
(SELECT json_group_array(json_array(
            b.id, b.subject_kind, b.name, b.value, b.upstream, b.model, b.raised, b.raised_until_ns, b.by_gateway,
            b.mode))
   FROM usage_limit b
  WHERE b.organization_id = <organization> AND b.removed_ns IS NULL AND <subject>)"""


def _of(part: str, organization: str, subject: str) -> str:
    return part.replace("<organization>", organization).replace("<subject>", subject)


_IS_AGENT: Final = "b.subject_kind = 'agent' AND b.subject = a.id"
# Every step is a search in an index, whatever the tables hold; written with OR, SQLite would scan all bindings.
_IS_ABOVE: Final = "(b.subject_kind, b.subject) IN (VALUES ('team', :team), ('organization', :organization))"

_OWN: Final = f"""
SELECT {_EPOCH}, a.organization_id, a.review_days, COALESCE(a.reviewed_ns, a.created_ns),
       {_of(_BINDINGS, "a.organization_id", _IS_AGENT)}, {_of(_LIMITS, "a.organization_id", _IS_AGENT)},
       k.id, k.digest, k.pepper, k.expires_ns, k.revoked_ns, k.scope, k.public_key, <upstream>,
       a.id, a.name, a.version, a.owner, a.team, a.environment, a.status, a.capabilities, a.labels,
       a.content, a.content_key, a.expires_ns
  FROM <credentials> k
  JOIN agent a ON a.id = k.agent_id AND a.organization_id = k.organization_id
"""  # noqa: S608  # texts of this file
_KEYS: Final = _OWN.replace("<credentials>", "api_key").replace("<upstream>", "NULL")
# A rule is a credential of its agent, which ends with the rule.
_RULES: Final = _OWN.replace("<upstream>", "NULL").replace(
    "<credentials>",
    """(
    SELECT id, x'' AS digest, 0 AS pepper, NULL AS expires_ns, removed_ns AS revoked_ns, NULL AS scope,
           NULL AS public_key, agent_id, organization_id
      FROM issuer_rule)""",
)
_OLD_KEYS: Final = _OWN.replace("<upstream>", "k.upstream").replace(
    "<credentials>",
    """(
    SELECT id, digest, pepper, expires_ns, revoked_ns, NULL AS scope, NULL AS public_key, agent_id, organization_id,
           upstream
      FROM legacy_key)""",
)

CREDENTIAL: Final = _KEYS + " WHERE k.credential_id = ?"
KEY: Final = _KEYS + " WHERE k.id = ?"
WORKLOAD: Final = _KEYS + " WHERE k.spiffe_id = ? ORDER BY k.revoked_ns IS NOT NULL, k.id DESC LIMIT 1"
RULE: Final = _RULES + " WHERE k.id = ?"
LEGACY: Final = _OLD_KEYS + " WHERE k.digest IN (<digests>) ORDER BY k.revoked_ns IS NULL DESC, k.id DESC LIMIT 1"

SHARED: Final = f"""
SELECT {_EPOCH}, o.name, o.status, o.zone, o.review_days, o.suspend_after_days,
       {_of(_BINDINGS, ":organization", _IS_ABOVE)}, {_of(_LIMITS, ":organization", _IS_ABOVE)},
       (SELECT t.status FROM team t WHERE t.organization_id = :organization AND t.name = :team),
       CASE WHEN EXISTS (SELECT 1 FROM emergency_stop s WHERE s.ended_ns IS NULL AND s.organization_id IS NULL)
            THEN 'all'
            WHEN EXISTS (SELECT 1 FROM emergency_stop s WHERE s.ended_ns IS NULL AND s.organization_id = :organization)
            THEN 'organization' END,
       EXISTS (SELECT 1 FROM legacy_key g WHERE g.organization_id = :organization AND g.revoked_ns IS NULL)
  FROM organization o
 WHERE o.id = :organization
"""  # noqa: S608  # texts of this file

_DAY_NS: Final = 86_400 * 10**9
_MOST: Final = 4096


class _Own(NamedTuple):
    """What only this credential and its agent have."""

    authority: int
    organization_id: str
    review_days: int | None
    confirmed_ns: int
    bindings: str
    limits: str
    key_id: str
    digest: bytes
    pepper: int
    expires_ns: int | None
    revoked_ns: int | None
    scope: str | None
    public_key: bytes | None
    upstream: str | None
    agent_id: str
    name: str
    version: int
    owner: str
    team: str
    environment: str
    status: str
    capabilities: str
    labels: str
    content: str | None
    content_key: bytes | None
    agent_expires_ns: int | None


class _Shared(NamedTuple):
    """What all agents of a team and an organization have."""

    authority: int
    organization: str
    organization_status: str
    zone: str
    review_days: int | None
    suspend_after_days: int | None
    bindings: str
    limits: str
    team_status: str | None
    stopped: str | None
    adopting: int


class CredentialRows:
    """Finds credentials over one connection, which is in no transaction between calls; used from one thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._authority = -1  # the epoch that the next ones are of
        self._shared: dict[tuple[str, str], _Shared] = {}

    def find(self, statement: str, values: Sequence[Any]) -> CredentialRow | None:
        """The row that one of the statements of this file finds. Raises `sqlite3.Error`."""
        row = self._db.execute(statement, values).fetchone()
        if row is None:
            return None
        own = _Own._make(row)
        shared = self._shared.get((own.organization_id, own.team)) if own.authority == self._authority else None
        return self._read(statement, values) if shared is None else _together(own, shared)

    def _read(self, statement: str, values: Sequence[Any]) -> CredentialRow | None:
        """Read both parts, in one transaction: nobody changes the registry between them."""
        self._db.execute("BEGIN")
        try:
            row = self._db.execute(statement, values).fetchone()
            if row is None:
                return None
            own = _Own._make(row)
            place = own.organization_id, own.team
            above = self._db.execute(SHARED, {"organization": own.organization_id, "team": own.team}).fetchone()
            if above is None:
                return None  # an agent of no organization is nobody's
            shared = _Shared._make(above)
        finally:
            self._db.execute("ROLLBACK")
        if own.authority != self._authority or len(self._shared) >= _MOST:
            self._shared.clear()
            self._authority = own.authority
        self._shared[place] = shared
        return _together(own, shared)


def _together(own: _Own, shared: _Shared) -> CredentialRow:
    days = own.review_days if own.review_days is not None else shared.review_days
    suspends_ns = None
    if days is not None and shared.suspend_after_days is not None:  # as in `review_dates.py`
        suspends_ns = own.confirmed_ns + (days + shared.suspend_after_days) * _DAY_NS
    return CredentialRow(
        own.key_id,
        own.digest,
        own.pepper,
        own.expires_ns,
        own.revoked_ns,
        own.agent_id,
        shared.organization,
        own.name,
        own.version,
        own.owner,
        own.team,
        own.environment,
        own.status,
        own.capabilities,
        own.labels,
        _joined(own.bindings, shared.bindings),
        _joined(own.limits, shared.limits),
        own.content,
        own.content_key,
        own.scope,
        own.agent_expires_ns,
        own.public_key,
        shared.organization_status,
        shared.team_status,
        shared.stopped,
        shared.adopting,
        own.upstream,
        shared.zone,
        suspends_ns,
    )


def _joined(first: str, second: str) -> str:
    """Two JSON arrays as one."""
    if first == "[]":
        return second
    return first if second == "[]" else f"{first[:-1]},{second[1:]}"
