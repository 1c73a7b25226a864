"""Every statement that the registry sends is one that PostgreSQL takes, with the tables of the migrations.

The tests of the registry and of the control API run on SQLite, and what they send is compiled for PostgreSQL and
prepared there (`capture.py`): each table, column, function and type must exist.
"""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy import URL

_REPOSITORY: Final = Path(__file__).resolve().parents[3]
_TESTS: Final = (
    "tests/gateway/registry",
    "tests/gateway/approvals/test_batches.py",
    "tests/gateway/approvals/test_reviews.py",
    *(
        f"tests/gateway/control/test_{each}.py"
        for each in ("access", "approvals", "for_commands", "more_nouns", "nouns", "requests")
    ),
    "tests/gateway/cli/test_fleet.py",
    "tests/gateway/cli/test_stops.py",
    "tests/gateway/dataplane/test_proposals.py",
)

SQLITE_ONLY: Final = (
    "BEGIN",
    "PRAGMA ",
    # True if the triggers are those of the migrations; PostgreSQL has them elsewhere.
    "SELECT name, tbl_name, sql FROM sqlite_master",
)
"""Texts for the driver that belong to the one database: how a transaction begins, and how its file is looked at."""

NEVER_PREPARED: Final = ("SAVEPOINT ", "RELEASE SAVEPOINT ", "ROLLBACK TO SAVEPOINT ")
"""PostgreSQL takes these as they are, and only within a transaction."""

NOT_REACHED: Final = frozenset(
    {
        "approvals/escalation.py:_escalate",
        "approvals/escalation.py:escalate",
        "approvals/reviewers.py:counts",
        "approvals/reviews.py:find",
        "approvals/reviewers.py:_is_responsible",
        "approvals/reviewers.py:_named",
        "approvals/reviewers.py:person",
        "approvals/reviews.py:record",
        "approvals/reviewers.py:_reviewer",
        "approvals/reviewers.py:reviews_of",
        "approvals/reviewers.py:_still_may",
        "approvals/reviews.py:listed",
        "approvals/reviews.py:why_closed",
        "approvals/tending.py:_candidates",
        "approvals/tending.py:_forget",
        "approvals/tending.py:_outcome",
        "processes/metrics.py:upstreams",
        "registry/adoptions.py:_agent",
        "registry/adoptions.py:_end_before",
        "registry/adoptions.py:_live",
        "registry/adoptions.py:stop",
        "registry/contests.py:tell",
        "registry/fleet/key_items.py:check_return",
        "registry/history/as_of.py:_bindings",
        "registry/history/as_of.py:page_at",
        "registry/inventory.py:_tenant",
        "registry/inventory.py:_upstreams",
        "registry/inventory.py:beginning",
        "registry/inventory.py:take",
        "registry/issuers.py:find_issuer",
        "registry/issuers.py:issuers",
        "registry/issuers.py:remove_rule",
        "registry/keys/leaked.py:_revoke",
        "registry/keys/leaked.py:_row",
        "registry/keys/public_keys.py:add_public_key",
        "registry/keys/retiring.py:in_last_hours",
        "registry/keys/spiffe_ids.py:add_spiffe_id",
        "registry/operators/login_providers.py:_end_tokens",
        "registry/operators/login_providers.py:remove_rule",
        "registry/operators/login_providers.py:rules",
        "registry/operators/logins.py:_operators_of",
        "registry/operators/logins.py:enter",
        "registry/operators/logins.py:enter_by_link",
        "registry/organizations/given_names.py:_of",
        "registry/organizations/given_names.py:give",
        "registry/organizations/given_names.py:take",
        "registry/organizations/queries.py:standing",
        "registry/organizations/queries.py:versions",
        "registry/pages.py:keys_of",
        "registry/queries.py:_find_bundle",
        "registry/queries.py:above",
        "registry/queries.py:find_route",
        "registry/limits/usage_limits.py:page",
        "registry/pages.py:agents",
        "registry/secret_keys/peppers.py:_record",
        "registry/secret_keys/peppers.py:_uses",
        "registry/secret_keys/peppers.py:move",
        "registry/secret_keys/token_keys.py:rotate",
        "registry/upstreams/routes.py:set_route",
        "registry/webhooks.py:agent_name",
        "registry/webhooks.py:by_organization",
        "registry/webhooks.py:remove_webhook",
        "registry/webhooks.py:webhooks",
        "webhooks/notices.py:record",
    }
)
"""Functions whose statements none of these tests sends: their own tests are slow, run processes, or the data plane."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Statement:
    text: str
    raw: bool
    lines: list[str]


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> list[Statement]:
    folder = tmp_path_factory.mktemp("statements")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.gateway.postgres.capture",
        "-m",
        "not slow",
        "-n",
        "0",
        *_TESTS,
    ]
    command += ["--ignore=tests/gateway/registry/test_machine.py"]  # others send the same statements
    environment = os.environ | {"STATEMENTS": str(folder)}
    done = subprocess.run(command, cwd=_REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    return [
        Statement(**json.loads(line)) for each in sorted(folder.iterdir()) for line in each.read_text().splitlines()
    ]


def test_postgresql_takes_every_statement(template: URL, statements: list[Statement]) -> None:
    import psycopg

    refused = []
    where = {"host": template.query["host"], "user": template.username, "dbname": template.database}
    with psycopg.connect(**where, autocommit=True) as connection:  # type: ignore[arg-type]  # texts
        for each in statements:
            if each.raw and each.text.strip().startswith(SQLITE_ONLY):
                continue
            if each.text.startswith(NEVER_PREPARED):
                continue
            try:
                connection.execute(b"PREPARE one AS " + each.text.encode())
                connection.execute(b"DEALLOCATE one")
            except psycopg.Error as error:
                refused.append((str(error), each.text, each.lines))
    assert refused == []
    assert len(statements) > 150


def test_every_function_that_sends_one_was_reached(statements: list[Statement]) -> None:
    reached: dict[str, set[int]] = {}
    for line in (line for each in statements for line in each.lines):
        name, _, number = line.rpartition(":")
        reached.setdefault(name, set()).add(int(number))
    missing = {
        f"{name}:{function}"
        for name, function, call in _calls()
        if reached.get(name, set()).isdisjoint(range(call.lineno, (call.end_lineno or call.lineno) + 1))
    }
    assert not (missing - NOT_REACHED), "\n".join(sorted(missing - NOT_REACHED))


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    """The places where the gateway's code has a session send something: file, function and call."""
    for path in sorted((_REPOSITORY / "gateway").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            for node in ast.walk(function) if isinstance(function, ast.FunctionDef) else ():
                if (
                    isinstance(node, ast.Call)
                    and isinstance(node.func, ast.Attribute)
                    and node.func.attr in ("exec", "execute", "scalar", "scalars", "get", "get_one")
                    and isinstance(node.func.value, ast.Name)
                    and node.func.value.id == "session"
                ):
                    yield str(path.relative_to(_REPOSITORY / "gateway")), function.name, node
