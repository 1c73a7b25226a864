"""The database file: how it is made, what its triggers promise, which versions are refused."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlmodel import SQLModel, select

import gateway.registry.migrations
from gateway.data_directory import DataDirectory
from gateway.errors import Denied, GatewayError
from gateway.identity import organization_keys, token_keys
from gateway.registry import emergency_stops, mandates, peers, queries
from gateway.registry.database import Registry
from gateway.registry.issuers import add_issuer, add_rule
from gateway.registry.limits.usage_limits import set_limit
from gateway.registry.migrations.versions import r0028_tables, r0037_tools, r0042_peers, r0043_mandates
from gateway.registry.migrations.versions.r0028_tables import EVENTS, PARTS, WRITTEN_ONCE
from gateway.registry.models import Agent, LegacyKey
from gateway.registry.operators.operators import add_operator
from gateway.registry.policies.bindings import bind
from gateway.registry.port import FINGERPRINT, FIRST_REVISION, REVISION, TRIGGERS, Epochs, fingerprint
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from gateway.registry.upstreams.routes import NewMember, set_route
from gateway.registry.upstreams.tools import observe
from tests.gateway.conftest import ACTOR, ORG, Home, at_once, copied_home, new_home

CHANGES = r0028_tables.CHANGES | r0037_tools.CHANGES | r0042_peers.CHANGES | r0043_mandates.CHANGES


def execute(home: Home, statement: str) -> int:
    with home.registry.write() as session:
        return session.connection().exec_driver_sql(statement).rowcount


def epoch(home: Home) -> int:
    with home.registry.read() as session:
        return queries.current_epoch(session)


def epochs(home: Home) -> Epochs:
    reader = RegistryReader(home.data.registry_db)
    try:
        return at_once(reader.epochs())
    finally:
        reader.close()


def moved(before: Epochs, after: Epochs) -> set[str]:
    """The parts that have changed; no part may lag behind the state that it changed in."""
    assert after.value == max(after[1:]) if after != before else True
    return {part for part in PARTS if getattr(after, part) != getattr(before, part)}


def test_the_migrations_make_the_models_tables(home: Home) -> None:
    with home.registry.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, SQLModel.metadata) == []


def test_the_reader_is_written_for_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(gateway.registry.migrations.__file__).parent))
    config.set_main_option("path_separator", "os")
    known = ScriptDirectory.from_config(config)
    assert (known.get_bases(), known.get_heads()) == ([FIRST_REVISION], [REVISION])


def test_the_file_has_its_shape_from_the_beginning(home: Home) -> None:
    connection = sqlite3.connect(home.data.registry_db)
    found = {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("auto_vacuum", "journal_mode")}
    connection.close()
    assert found == {"auto_vacuum": 2, "journal_mode": "wal"}
    with home.registry.read() as session:
        pragma = session.connection().exec_driver_sql
        assert pragma("PRAGMA synchronous").scalar() == 2
        assert pragma("PRAGMA secure_delete").scalar() == 1
        assert pragma("PRAGMA foreign_keys").scalar() == 1


def test_only_its_user_reads_the_file(home: Home) -> None:
    for path in home.data.path.glob("registry.db*"):
        assert path.stat().st_mode & 0o777 == 0o600, path


def fill(home: Home) -> None:
    """At least one row in every table."""
    home.agent(team="support")
    home.key()
    home.activate("support")
    bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
    add_upstream(
        home.registry, home.vault, actor=ACTOR, organization=ORG, name="openai", provider="openai",
        base_url="https://api.example.com/v1", secret="sk-x",
    )  # fmt: skip
    add_upstream(
        home.registry, home.vault, actor=ACTOR, organization=ORG, name="tracker", provider="mcp",
        base_url="https://tracker.example.com/mcp", secret=None,
    )  # fmt: skip
    observe(
        home.registry, actor=ACTOR, organization=ORG, upstream="tracker", documents=[{"name": "find"}],
        protocol="2026-07-28",
    )  # fmt: skip
    set_limit(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", name="tokens_per_day", value=1)
    add_issuer(
        home.registry, actor=ACTOR, organization=ORG, name="ci", issuer="https://ci.example.com", audience="gateway"
    )
    add_rule(home.registry, actor=ACTOR, organization=ORG, issuer="ci", claims={"sub": "build"}, agent="bot")
    set_route(home.registry, actor=ACTOR, organization=ORG, name="chat", members=[NewMember("openai", 1, 1)])
    with home.registry.write() as session:
        agent = session.exec(select(Agent)).one()
        session.add(
            LegacyKey(
                id="lgk_1",
                organization_id=agent.organization_id,
                agent_id=agent.id,
                upstream="openai",
                digest=b"d",
                pepper=1,
                created_ns=1,
                expires_ns=2,
                actor=ACTOR,
            )
        )
    of: dict[str, Any] = {"agent": "bot", "to": home.agent("helper"), "actions": ["chat.*"], "purpose": "drill"}
    mandates.grant(home.registry, actor=ACTOR, organization=ORG, amount_microusd=1, for_ns=10**18 // 100, **of)
    add_operator(home.registry, actor=ACTOR, organization=None, name="olga", role="owner")
    emergency_stops.stop(home.registry, actor=ACTOR, organization=ORG, reason="drill")
    keys = organization_keys.public((token_keys.key_of(bytes(32)),)).decode()
    peers.add_peer(home.registry, actor=ACTOR, name="other", jwks=keys, speaks_for=["initech"])


@pytest.fixture(scope="module")
def filled_home(new_registry: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("filled") / "gateway-data"
    with new_home(path, new_registry) as made:
        fill(made)
    return path


@pytest.fixture
def filled(filled_home: Path, tmp_path: Path) -> Iterator[Home]:
    """A data directory with at least one row in every table."""
    with copied_home(filled_home, tmp_path / "gateway-data") as made:
        yield made


COLUMN = dict.fromkeys((*CHANGES, *WRITTEN_ONCE), "id") | {
    "activation_current": "activation_id",
    "agent_version": "agent_id",
    "organization_version": "organization_id",
    "team_version": "team_id",
    "operator_version": "operator_id",
    "bundle": "name",
    "activation_bundle": "name",
}


@pytest.mark.parametrize("table", CHANGES)
def test_a_change_moves_the_epoch_of_its_parts_and_no_other(table: str, filled: Home) -> None:
    connection = sqlite3.connect(filled.data.registry_db, isolation_level=None)  # foreign keys are off here
    row = connection.execute(f"SELECT * FROM {table}").fetchone()
    column = COLUMN[table]
    one = f"rowid = (SELECT min(rowid) FROM {table})"
    for statement, values in (
        (f"UPDATE {table} SET {column} = {column} WHERE {one}", ()),
        (f"DELETE FROM {table} WHERE {one}", ()),
        (f"INSERT INTO {table} VALUES ({', '.join('?' * len(row))})", row),
    ):
        before = epochs(filled)
        assert connection.execute(statement, values).rowcount == 1
        assert moved(before, epochs(filled)) == set(CHANGES[table]), statement
    connection.close()


def test_a_binding_that_pins_a_revision_changes_the_policy_too(filled: Home) -> None:
    connection = sqlite3.connect(filled.data.registry_db, isolation_level=None)
    for statement, parts in (
        ("UPDATE binding SET pinned = 'c'", {"authority", "policy"}),
        ("UPDATE binding SET removed_ns = 1", {"authority", "policy"}),
        ("DELETE FROM binding", {"authority", "policy"}),
    ):
        before = epochs(filled)
        assert connection.execute(statement).rowcount == 1
        assert moved(before, epochs(filled)) == parts, statement
    before = epochs(filled)
    connection.execute(
        "INSERT INTO binding SELECT 'b', id, 'team', 't', 'support', 'grant', 'c', 0, NULL, 0, NULL, NULL "
        "FROM organization"
    )
    assert moved(before, epochs(filled)) == {"authority", "policy"}
    connection.close()


def test_a_registered_agent_is_news_of_authority_alone(filled: Home) -> None:
    before = epochs(filled)
    filled.agent("another")
    filled.key("another")
    bind(filled.registry, actor=ACTOR, organization=ORG, kind="agent", subject="another", bundle="support")
    assert moved(before, epochs(filled)) == {"authority"}


def test_each_authority_table_has_a_trigger_of_its_own(home: Home) -> None:
    """An insert into one table must not be covered by the trigger of another that is filled with it."""
    with home.registry.read() as session:
        rows = session.connection().exec_driver_sql("SELECT tbl_name, name FROM sqlite_master WHERE type = 'trigger'")
        names = {tuple(row) for row in rows}
    for table in CHANGES:
        assert {(table, f"epoch_{table}_{event}") for event in EVENTS} <= names


def test_the_fingerprint_is_that_of_the_migrations(home: Home) -> None:
    with home.registry.read() as session:
        rows = session.connection().exec_driver_sql(TRIGGERS).all()
    assert len(rows) == len(CHANGES) * 3 + 3 + len(WRITTEN_ONCE) * 2
    assert fingerprint(rows) == FINGERPRINT


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER t BEFORE UPDATE ON api_key BEGIN SELECT RAISE(IGNORE); END",
        "CREATE TRIGGER t BEFORE INSERT ON outbox BEGIN SELECT RAISE(IGNORE); END",
        "CREATE VIEW v AS SELECT * FROM agent",
        "DROP TRIGGER epoch_api_key_update",
        "DROP TRIGGER history_bundle_delete",
    ],
)
def test_a_registry_with_other_triggers_is_refused(home: Home, statement: str) -> None:
    """A command would report a revocation that did not happen, or that no worker sees."""
    execute(home, statement)
    for attempt in (
        lambda: Registry.open(home.data),
        lambda: RegistryReader(home.data.registry_db),
        home.registry.migrate,
    ):
        with pytest.raises(GatewayError) as caught:
            attempt()
        assert caught.value.code == "registry_damaged"


@pytest.mark.parametrize("table", WRITTEN_ONCE)
@pytest.mark.parametrize("statement", ["UPDATE {0} SET {1} = {1}", "DELETE FROM {0}"])
def test_history_is_never_changed(table: str, statement: str, filled: Home) -> None:
    with pytest.raises(GatewayError, match="are never changed"):
        execute(filled, statement.format(table, COLUMN[table]))


def test_what_has_no_authority_leaves_the_epoch_alone(filled: Home) -> None:
    before = epoch(filled)
    execute(filled, "DELETE FROM outbox")
    assert epoch(filled) == before


def test_a_failed_change_leaves_nothing(home: Home) -> None:
    before = epoch(home)

    def half() -> None:
        with home.registry.write() as session:
            session.connection().exec_driver_sql("UPDATE organization SET name = 'other'")
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        half()
    assert queries.organizations(home.registry) == [ORG]
    assert epoch(home) == before


def test_writers_take_turns(home: Home) -> None:
    """Eight threads register four agents each: nobody fails, nothing is lost.

    More would be a test of the machine: a writer waits five seconds for its turn, and turns are not dealt fairly.
    """
    failures: list[BaseException] = []

    def register(number: int) -> None:
        try:
            for each in range(4):
                home.agent(f"bot-{number}-{each}")
        except GatewayError as error:
            failures.append(error)

    threads = [threading.Thread(target=register, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(queries.agents(home.registry, ORG)) == 32


def test_migrating_again_changes_nothing(home: Home) -> None:
    home.registry.migrate()
    assert home.registry.revision() == REVISION


def test_a_migration_that_fails_leaves_nothing(home: Home, tmp_path: Path) -> None:
    path = tmp_path / "half.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE outbox (x)")  # the last table that the migration makes
    registry = Registry(path)
    with pytest.raises(GatewayError, match="cannot be migrated: table outbox already exists"):
        registry._make_tables(None)
    registry.close()
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("outbox",)]
    connection.close()


@pytest.mark.parametrize(("revision", "advice"), [("9999", "use that version"), ("0027", "no version migrates it")])
def test_another_version_is_refused(home: Home, revision: str, advice: str) -> None:
    execute(home, f"UPDATE alembic_version SET version_num = '{revision}'")
    for attempt in (
        lambda: Registry.open(home.data),
        lambda: RegistryReader(home.data.registry_db),
        home.registry.migrate,
    ):
        with pytest.raises(GatewayError) as caught:
            attempt()
        assert caught.value.code == "registry_revision"
    with pytest.raises(GatewayError) as caught:
        Registry.open(home.data)
    assert caught.value.hint.startswith(advice)


def test_what_is_no_registry_is_refused(home: Home, tmp_path: Path) -> None:
    data = DataDirectory(tmp_path / "other")
    data.create()
    sqlite3.connect(data.registry_db).close()
    with pytest.raises(GatewayError, match="is not a gateway's registry"):
        Registry.open(data)
    emptied = Registry(data.registry_db)
    with pytest.raises(GatewayError, match="is not a gateway's registry"):
        emptied.migrate()
    emptied.close()
    assert data.registry_db.stat().st_size == 0
    data.registry_db.write_bytes(b"something else entirely" * 100)
    with pytest.raises(GatewayError, match="file is not a database"):
        Registry.open(data)
    with pytest.raises(GatewayError, match="file is not a database"):
        RegistryReader(data.registry_db)
    data.registry_db.unlink()
    with pytest.raises(GatewayError, match="cannot read"):
        RegistryReader(data.registry_db)
    assert not data.registry_db.exists()


def test_a_worker_cannot_write(home: Home) -> None:
    reader = RegistryReader(home.data.registry_db)
    with pytest.raises(Denied, match="registry_unavailable"):
        reader._all("UPDATE epoch SET value = 0")
    reader.close()


def test_a_broken_registry_denies(home: Home) -> None:
    reader = RegistryReader(home.data.registry_db)
    execute(home, "ALTER TABLE api_key RENAME TO gone")
    with pytest.raises(Denied) as caught:
        at_once(reader.credential("x" * 12))
    assert caught.value.code == "registry_unavailable"
    reader.close()


def test_a_registry_of_the_first_revision_is_migrated(home: Home) -> None:
    """What later revisions have added is taken away, as far as rows and tables say; then it comes back."""
    execute(home, "DROP TABLE mandate")
    execute(home, "DROP TABLE approval_look")
    execute(home, "DROP TABLE approval_review")
    execute(home, "DROP TABLE approval_request")
    execute(home, "DROP TABLE upstream_tool")
    execute(home, "DROP TABLE peer")
    for table, column in (
        *(("webhook", each) for each in ("shape", "team", "owner")),
        *(("upstream", each) for each in ("auth", "trust", "protocol")),
    ):
        execute(home, f"ALTER TABLE {table} DROP COLUMN {column}")
    for index in ("agent_organization", "agent_owner", "agent_team", "binding_in_force", "usage_limit_in_force"):
        execute(home, f"DROP INDEX {index}")
    execute(home, "DROP INDEX usage_limit_live")
    execute(home, "ALTER TABLE usage_limit DROP COLUMN counterparty")
    execute(home, "ALTER TABLE usage_limit DROP COLUMN tool")
    execute(home, "CREATE UNIQUE INDEX usage_limit_live ON usage_limit (organization_id)")
    execute(home, f"UPDATE alembic_version SET version_num = '{FIRST_REVISION}'")
    home.registry.migrate()
    assert home.registry.revision() == REVISION
    with home.registry.read() as session:
        assert session.connection().exec_driver_sql("SELECT count(*) FROM approval_request").scalar() == 0
