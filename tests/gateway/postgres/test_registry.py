"""The registry's migrations and its own code on PostgreSQL, against the model that they are held to on SQLite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from gateway.data_directory import DataDirectory
from gateway.errors import GatewayError
from gateway.registry.agents.registration import register_agent
from gateway.registry.organizations.changes import create_organization
from gateway.registry.port import REVISION
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.postgres.conftest import copied, empty
from tests.gateway.postgres.store import PostgresRegistry, engine
from tests.gateway.registry.model import ORGS
from tests.gateway.registry.whole_machine import WholeMachine
from tests.rigs.registry.machine import run_machine

pytestmark = pytest.mark.slow

_SHAPE = {
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "checks": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
    "WHERE connamespace = 'public'::regnamespace",
    "columns": "SELECT table_name, column_name, data_type, is_nullable FROM information_schema.columns "
    "WHERE table_schema = 'public'",
}


@pytest.fixture
def registry(template: URL) -> Iterator[PostgresRegistry]:
    made = copied(template)
    create_organization(made, actor=ACTOR, name=ORG)
    yield made
    made.close()


def test_the_migrations_make_what_the_models_say(postgres: URL, registry: PostgresRegistry) -> None:
    assert registry.revision() == REVISION
    with registry.read() as session:
        context = MigrationContext.configure(session.connection())
        assert compare_metadata(context, SQLModel.metadata) == []
    models = engine(empty(postgres))
    SQLModel.metadata.create_all(models)
    for what, question in _SHAPE.items():
        with models.connect() as expected, registry.read() as session:
            wanted = {tuple(row) for row in expected.execute(text(question))}
            found = {tuple(row) for row in session.connection().execute(text(question))}
        assert {each for each in found if "alembic_version" not in str(each)} == wanted, what


def test_triggers_bump_the_epoch_and_protect_history(registry: PostgresRegistry) -> None:
    def epochs() -> Any:
        with registry.read() as session:
            return session.connection().execute(text("SELECT value, authority, upstreams, policy FROM epoch")).one()

    before = epochs()
    register_agent(registry, actor=ACTOR, organization=ORG, name="bot")
    after = epochs()
    assert after.value > before.value
    assert after.authority > before.authority
    assert (after.upstreams, after.policy) == (before.upstreams, before.policy)
    with pytest.raises(GatewayError, match="rows of agent_version are never changed"), registry.write() as session:
        session.connection().execute(text("UPDATE agent_version SET owner = 'x'"))


def test_an_organization_has_several_upstreams_and_one_default(registry: PostgresRegistry, tmp_path: Any) -> None:
    data = DataDirectory(tmp_path / "data")
    data.create()
    vault = Vault.create(data.keys)
    for name in ("openai", "other", "third"):
        add_upstream(
            registry, vault, actor=ACTOR, organization=ORG, name=name, provider="openai",
            base_url="https://api.openai.com/v1", secret="x",
        )  # fmt: skip
    with pytest.raises((GatewayError, DBAPIError)), registry.write() as session:
        session.connection().execute(text("UPDATE upstream SET is_default = true"))


def test_the_model_holds_on_postgresql(template: URL) -> None:
    class Machine(WholeMachine):
        stride = 10

        def opened(self, data: DataDirectory) -> PostgresRegistry:
            made = copied(template)
            for name in ORGS:
                create_organization(made, actor=ACTOR, name=name)
            return made

        def reader_of(self, data: DataDirectory) -> RegistryReader | None:
            return None

    run_machine(Machine, int(os.environ.get("POSTGRES_EXAMPLES", "4")), 50)
