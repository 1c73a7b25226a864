"""A PostgreSQL server for these tests, if there is one to be had."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from sqlalchemy import URL, text

from tests.gateway.postgres import server
from tests.gateway.postgres.store import PostgresRegistry, engine

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    """A database at the newest migration, to make others from."""
    pytest.importorskip("psycopg", reason='psycopg is not installed: pip install -e ".[postgres]"')
    folder = server.programs()
    if folder is None:
        pytest.skip("PostgreSQL is not installed: apt-get install -y postgresql")
    with server.running(folder) as url:
        yield url


@pytest.fixture(scope="session")
def template(postgres: URL) -> URL:
    """A registry that has nothing in it."""
    url = _created(postgres, "registry", "template0")
    registry = PostgresRegistry(url)
    registry.make()
    registry.close()
    return url


def copied(template: URL) -> PostgresRegistry:
    """A registry of one's own."""
    return PostgresRegistry(_created(template.set(database="postgres"), f"copy{next(_numbers)}", "registry"))


def empty(postgres: URL) -> URL:
    return _created(postgres, f"empty{next(_numbers)}", "template0")


def _created(url: URL, name: str, template: str) -> URL:
    with engine(url).connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    return url.set(database=name)
