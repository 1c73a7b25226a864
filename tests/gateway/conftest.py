"""A gateway's data directory for tests: real files, the real registry, no processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.identity.credentials import Credential, Peppers, parse
from gateway.registry import activations, changes
from gateway.registry.database import Registry
from gateway.registry.records import BundleRecord
from gateway.registry.vault import Vault
from gateway.settings import DataDirectory

ACTOR = "local:0"
ORG = "default"


@dataclass(frozen=True)
class Home:
    """A data directory with the organization `default`, and the shortest way to put something into it."""

    data: DataDirectory
    registry: Registry
    peppers: Peppers
    vault: Vault

    def agent(self, name: str = "bot", **more: object) -> str:
        """Register an agent; returns its id."""
        return changes.register_agent(self.registry, actor=ACTOR, organization=ORG, name=name, **more).id  # type: ignore[arg-type]  # keywords pass through

    def key(self, agent: str = "bot", lifetime_ns: int | None = None) -> str:
        """Create a key; returns its text."""
        return changes.create_key(
            self.registry, self.peppers, actor=ACTOR, organization=ORG, agent=agent, lifetime_ns=lifetime_ns
        ).text

    def credential(self, text: str) -> Credential:
        parsed = parse(text)
        assert parsed is not None
        return parsed

    def activate(self, *names: str, commit: str = "c" * 40) -> str:
        """Put made-up revisions of these bundles into force; returns the activation's id."""
        return activations.activate(
            self.registry,
            actor=ACTOR,
            commit=commit,
            author="dana",
            bundles=[bundle(name, commit) for name in names],
        ).id


def bundle(name: str, commit: str = "c" * 40) -> BundleRecord:
    return BundleRecord(
        name=name,
        commit=commit,
        digest=f"digest-of-{name}-{commit[:4]}",
        author="dana",
        entrypoint=f"data.{name}.authz",
    )


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    data = DataDirectory(tmp_path / "gateway-data")
    data.create()
    registry = Registry.create(data, "test")
    changes.create_organization(registry, actor=ACTOR, name=ORG)
    yield Home(data, registry, Peppers.create(data.keys), Vault.create(data.keys))
    registry.close()
