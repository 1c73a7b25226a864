"""The rows of credentials on SQLite: each is put together from an agent's own part and what it shares with others.

The part that an agent shares with its team and its organization (their states, bindings and limits, stops) is the
same for thousands of agents,
and finding it takes most of the time. So it is kept for as long as the epoch of authority stays
the same. Both parts are as of one state of the registry, because each says of which epoch it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from gateway.identity.principals import CredentialRow

# Columns have the names of the members of `CredentialRow`, `BoundBundle` and `BoundLimit` that they become.
_EPOCH: Final = "(SELECT authority FROM epoch) AS authority"
_BINDINGS: Final = """
(SELECT json_group_array(json_object(
            'id', b.id, 'bundle', b.bundle, 'effect', b.effect, 'pinned', b.pinned, 'shadow', b.shadow))
   FROM binding b
  WHERE b.organization_id = <organization> AND b.removed_ns IS NULL AND <subject>)"""
_LIMITS: Final = """
(SELECT json_group_array(json_object(
            'id', b.id, 'subject_kind', b.subject_kind, 'name', b.name, 'value', b.value, 'upstream', b.upstream,
            'model', b.model, 'counterparty', b.counterparty, 'raised', b.raised, 'raised_until_ns', b.raised_until_ns,
            'by_gateway', b.by_gateway, 'tool', b.tool,
            'mode', b.mode))
   FROM usage_limit b
  WHERE b.organization_id = <organization> AND b.removed_ns IS NULL AND <subject>)"""


def _of(part: str, organization: str, subject: str) -> str:
    return part.replace("<organization>", organization).replace("<subject>", subject)


_IS_AGENT: Final = "b.subject_kind = 'agent' AND b.subject = a.id"
# Every step is a search in an index, whatever the tables hold; written with OR, SQLite would scan all bindings.
_IS_ABOVE: Final = "(b.subject_kind, b.subject) IN (VALUES ('team', :team), ('organization', :organization))"

_OWN: Final = f"""
SELECT {_EPOCH}, a.organization_id, a.review_days AS own_review_days,
       COALESCE(a.reviewed_ns, a.created_ns) AS confirmed_ns,
       {_of(_BINDINGS, "a.organization_id", _IS_AGENT)} AS bindings,
       {_of(_LIMITS, "a.organization_id", _IS_AGENT)} AS limits,
       k.id AS key_id, k.digest, k.pepper, k.expires_ns, k.revoked_ns, k.scope, k.public_key, <upstream> AS upstream,
       a.id AS agent_id, a.name, a.version, a.owner, a.team, a.environment, a.status, a.capabilities, a.labels,
       a.content, a.content_key, a.expires_ns AS agent_expires_ns
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
# The rights of an agent that has no key. It has no proof, so nothing that is presented finds it.
_AGENTS: Final = _OWN.replace("<upstream>", "NULL").replace(
    "<credentials>",
    """(
    SELECT 'key_none' AS id, x'' AS digest, 0 AS pepper, NULL AS expires_ns, NULL AS revoked_ns, NULL AS scope,
           NULL AS public_key, id AS agent_id, organization_id
      FROM agent)""",
)

KEYLESS: Final = _AGENTS + " WHERE a.id = ?"
ADOPTED: Final = _OLD_KEYS + " WHERE k.id = ?"
LEGACY: Final = _OLD_KEYS + " WHERE k.digest IN (<digests>) ORDER BY k.revoked_ns IS NULL DESC, k.id DESC LIMIT 1"

SHARED: Final = f"""
SELECT {_EPOCH}, o.name AS organization, o.status AS organization_status, o.zone, o.review_days, o.suspend_after_days,
       {_of(_BINDINGS, ":organization", _IS_ABOVE)} AS bindings, {_of(_LIMITS, ":organization", _IS_ABOVE)} AS limits,
       (SELECT t.status FROM team t WHERE t.organization_id = :organization AND t.name = :team) AS team_status,
       CASE WHEN EXISTS (SELECT 1 FROM emergency_stop s WHERE s.ended_ns IS NULL AND s.organization_id IS NULL)
            THEN 'all'
            WHEN EXISTS (SELECT 1 FROM emergency_stop s WHERE s.ended_ns IS NULL AND s.organization_id = :organization)
            THEN 'organization' END AS stopped,
       EXISTS (SELECT 1 FROM legacy_key g WHERE g.organization_id = :organization AND g.revoked_ns IS NULL) AS adopting
  FROM organization o
 WHERE o.id = :organization
"""  # noqa: S608  # texts of this file

_DAY_NS: Final = 86_400 * 10**9
_MOST: Final = 4096


class CredentialRows:
    """Finds credentials over one connection, which is in no transaction between calls; used from one thread."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._authority = -1  # the epoch that the next ones are of
        # The part that all agents of a team and an organization share.
        self._shared: dict[tuple[str, str], dict[str, Any]] = {}

    def find(self, statement: str, values: Sequence[Any]) -> CredentialRow | None:
        """The row that one of the statements of this file finds. Raises `sqlite3.Error`."""
        own = self._one(statement, values)
        if own is None:
            return None
        place = own["organization_id"], own["team"]
        shared = self._shared.get(place) if own["authority"] == self._authority else None
        return self._read(statement, values) if shared is None else _together(own, shared)

    def _read(self, statement: str, values: Sequence[Any]) -> CredentialRow | None:
        """Read both parts, in one transaction: nobody changes the registry between them."""
        self._db.execute("BEGIN")
        try:
            own = self._one(statement, values)
            if own is None:
                return None
            place = own["organization_id"], own["team"]
            shared = self._one(SHARED, dict(zip(("organization", "team"), place, strict=True)))
            if shared is None:
                return None  # an agent of no organization is nobody's
        finally:
            self._db.execute("ROLLBACK")
        if own["authority"] != self._authority or len(self._shared) >= _MOST:
            self._shared.clear()
            self._authority = own["authority"]
        self._shared[place] = shared
        return _together(own, shared)

    def _one(self, statement: str, values: Sequence[Any] | dict[str, Any]) -> dict[str, Any] | None:
        """The row that is found, by the names of its columns."""
        cursor = self._db.execute(statement, values)
        row = cursor.fetchone()
        return None if row is None else dict(zip([each[0] for each in cursor.description], row, strict=True))


def _together(own: dict[str, Any], shared: dict[str, Any]) -> CredentialRow:
    found = {**shared, **own, "suspends_ns": None}
    found.update((name, _joined(own[name], shared[name])) for name in ("bindings", "limits"))
    days = own["own_review_days"] if own["own_review_days"] is not None else shared["review_days"]
    if days is not None and shared["suspend_after_days"] is not None:  # as in `review_dates.py`
        found["suspends_ns"] = own["confirmed_ns"] + (days + shared["suspend_after_days"]) * _DAY_NS
    return CredentialRow._make(map(found.__getitem__, CredentialRow._fields))


def _joined(first: str, second: str) -> str:
    """Two JSON arrays as one."""
    if first == "[]":
        return second
    return first if second == "[]" else f"{first[:-1]},{second[1:]}"
