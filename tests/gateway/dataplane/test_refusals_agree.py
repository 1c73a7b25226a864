"""Requests, dry runs and permissions refuse an agent for the same reason, whatever the states that bear on it.

The states are put into the tables: most of them cannot be reached one after the other by changes.
"""

from __future__ import annotations

import itertools
import sqlite3
import time
from collections.abc import Coroutine
from contextlib import closing
from typing import Any, Final, NamedTuple, TypeAlias

import pytest

from gateway.control import dry_runs, permissions
from gateway.control.dry_runs import Question
from gateway.control.permission_calls import calls_of
from gateway.dataplane.dry_run import DryRun
from gateway.errors import Denied
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principal, Principals
from gateway.registry import queries
from gateway.registry.history import as_of
from gateway.registry.reader import RegistryReader
from gateway.settings import load_settings
from tests.gateway.conftest import ORG, Home, at_once

_DAY: Final = 86_400 * 10**9
_AGENTS: Final = ("active", "suspended", "revoked", "retired")
_TIMES: Final = ("", "expired", "overdue", "expired overdue")
_KEYS: Final = ("works", "revoked", "expired")
_ABOVE: Final = ("active", "suspended", "revoked")
_STOPS: Final = ("", "organization", "all")

# For these `permissions` has words of its own.
_WORDS: Final = {"": "no_policy", "suspended": "agent_suspended", "revoked": "no_key", "expired": "no_key"}

Refusal: TypeAlias = tuple[str, str]
"""The reason code and the log's detail; both are empty for who is let in."""


class Case(NamedTuple):
    """An agent with one key."""

    agent: str
    time: str
    key: str
    name: str
    text: str
    key_id: str


def prepare(home: Home) -> list[Case]:
    """An agent for each combination of states of its own and of its key."""
    found = []
    with home.registry.together():
        for status, when, key in itertools.product(_AGENTS, _TIMES, _KEYS):
            name = f"{status}-{when.replace(' ', '-') or 'in-time'}-{key}"
            home.agent(name, team="red")
            text = home.key(name)
            [record] = queries.keys(home.registry, ORG, name)
            found.append(Case(status, when, key, name, text, record.id))
    ago = time.time_ns() - 100 * _DAY
    with closing(sqlite3.connect(home.data.registry_db, isolation_level=None)) as db:
        db.execute("BEGIN")
        become(db, "organization", suspend_after_days=1)
        for each in found:
            days = 30 if "overdue" in each.time else None
            end = ago if "expired" in each.time else None
            become(db, "agent", each.name, status=each.agent, review_days=days, reviewed_ns=ago, expires_ns=end)
            ends = {"works": (None, None), "revoked": (ago, None), "expired": (None, ago)}[each.key]
            db.execute("UPDATE api_key SET revoked_ns = ?, expires_ns = ? WHERE id = ?", (*ends, each.key_id))
        db.execute("COMMIT")
    return found


def become(db: sqlite3.Connection, table: str, name: str = "", **members: object) -> None:
    """Change what these things are now, and add that as a version of theirs."""
    which = f" WHERE name = '{name}'" if name else ""
    columns = [each[1] for each in db.execute(f"PRAGMA table_info({table}_version)") if each[1] != "version"]
    copied = ", ".join(f":{each}" if each in members else each for each in columns)
    changed = ", ".join(f"{each} = :{each}" for each in members)
    db.execute(f"UPDATE {table} SET version = version + 1, {changed}{which}", members)
    db.execute(
        f"INSERT INTO {table}_version (version, {', '.join(columns)}) SELECT version + 1, {copied}"
        f" FROM {table}_version v WHERE {table}_id IN (SELECT id FROM {table}{which})"
        f" AND version = (SELECT max(version) FROM {table}_version WHERE {table}_id = v.{table}_id)",
        members,
    )


def put(home: Home, organization: str, team: str, stopped: str) -> None:
    """Put the organization, its team and emergency stops into these states."""
    with closing(sqlite3.connect(home.data.registry_db, isolation_level=None)) as db:
        db.execute("BEGIN")
        become(db, "organization", status=organization)
        become(db, "team", status=team)
        db.execute("DELETE FROM emergency_stop")
        if stopped:
            (owner,) = db.execute("SELECT id FROM organization").fetchone()
            row = "s", owner if stopped == "organization" else None, "me", "", 1
            insert = (
                "INSERT INTO emergency_stop (id, organization_id, actor, reason, created_ns) VALUES (?, ?, ?, ?, ?)"
            )
            db.execute(insert, row)
        db.execute("COMMIT")


def refusal(asked: Coroutine[Any, Any, Principal]) -> Refusal:
    try:
        at_once(asked)
    except Denied as denied:
        return denied.code, denied.detail
    return "", ""


@pytest.mark.slow
def test_every_path_refuses_for_the_same_reason(home: Home) -> None:
    cases = prepare(home)
    settings, bundles = load_settings({"data": home.data.path}), permissions.Bundles(home.data.bundles)
    [call] = calls_of(home.registry, ORG, ["gpt-4o"], None, None, None)
    wrong: dict[str, list[object]] = {}
    seen: set[Refusal] = set()
    with (
        closing(RegistryReader(home.data.registry_db)) as reader,
        closing(DryRun(settings, home.vault, bundles.load)) as dry_run,
    ):
        principals = Principals([ApiKeys(reader, home.peppers)])
        for above in itertools.product(_ABOVE, _ABOVE, _STOPS):
            put(home, *above)
            then, _ = as_of.page_at(home.registry, ORG, as_of.NOW, after=None, limit=1000)
            epoch = at_once(reader.epochs()).authority
            permitted = {each.agent: each for each in permissions.permissions(bundles, then, [call], time.time_ns())}
            for case in cases:
                credential = home.credential(case.text)
                of_request = refusal(principals.get(credential, epoch))
                seen.add(of_request)
                told = {"a dry run": refusal(dry_run.principal(case.key_id, "api_key"))}
                if above in {("active", "active", ""), ("suspended", "active", "all"), ("active", "revoked", "")}:
                    question = Question(agent=case.name, key=case.text, call={"action": "models.list"})
                    answer = dry_runs.answer(settings, home.registry, home.vault, bundles, ORG, question)
                    refused = answer["reason"] != "no_policy"
                    told["gateway decide"] = (answer["reason"], answer["detail"]) if refused else ("", "")
                # Of agents that have ended, nobody asks what they may.
                if (permission := permitted.get(case.name)) is not None:
                    same = permission.code == _WORDS.get(of_request[1], of_request[1])
                    told["permissions"] = of_request if same else ("", permission.code)
                for path, of_path in told.items():
                    if of_path != of_request:
                        wrong.setdefault(path, []).append((case.name, above, of_path, of_request))
    assert {path: (len(found), found[:3]) for path, found in wrong.items()} == {}
    assert len(seen) == 14, seen
