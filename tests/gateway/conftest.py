"""A gateway's data directory for tests, with the real registry in it, and the command line as a process."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest

from gateway import identifiers
from gateway.data_directory import DataDirectory
from gateway.identity.credentials import Credential, Peppers, parse
from gateway.registry.agents.registration import register_agent
from gateway.registry.database import Registry
from gateway.registry.keys.changes import create_key
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies import activations
from gateway.registry.records import BundleRecord
from gateway.secrets.vault import Vault

ACTOR = "local:0"
ORG = "default"

_MAIN = "import sys; from gateway.cli import main; sys.exit(main())"
_ROOT = Path(__file__).resolve().parents[2]

T = TypeVar("T")


def at_once(asked: Coroutine[Any, Any, T]) -> T:
    """The answer of a coroutine that has no need to wait. Fails if it does: no event loop runs here."""
    try:
        asked.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # what a coroutine returns
    asked.close()
    raise AssertionError("it waits for something")


@dataclass(frozen=True)
class Home:
    """A data directory with the organization `default`, and the shortest way to put something into it."""

    data: DataDirectory
    registry: Registry
    peppers: Peppers
    vault: Vault

    def agent(self, name: str = "bot", **more: object) -> str:
        """Register an agent; returns its id."""
        return register_agent(self.registry, actor=ACTOR, organization=ORG, name=name, **more).id  # type: ignore[arg-type]  # keywords pass through

    def key(self, agent: str = "bot", lifetime_ns: int | None = None) -> str:
        """Create a key; returns its text."""
        return create_key(
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


@pytest.fixture(autouse=True)
def _no_handler_stays() -> Iterator[None]:
    """A command that logs, run in this process, writes to a standard error that is closed after its test."""
    root = logging.getLogger()
    before = root.handlers[:]
    yield
    for handler in root.handlers[:]:
        if handler not in before and type(handler) is logging.StreamHandler:
            root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _no_id_of_the_future_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that moves the clock ahead and makes ids must not leave the next tests with ids of that time."""
    monkeypatch.setattr(identifiers, "_last", identifiers._last)  # put back when the test ends


@pytest.fixture(scope="session")
def new_registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a registry with the organization `default`: to copy it is quicker than to run all migrations."""
    data = DataDirectory(tmp_path_factory.mktemp("new") / "gateway-data")
    data.create()
    registry = Registry.create(data, "test")
    create_organization(registry, actor=ACTOR, name=ORG)
    registry.close()
    assert not data.registry_db.with_name(data.registry_db.name + "-wal").exists()  # all of it is in the one file
    return data.registry_db


@contextmanager
def new_home(path: Path, new_registry: Path) -> Iterator[Home]:
    """A new data directory at this path."""
    data = DataDirectory(path)
    data.create()
    shutil.copy(new_registry, data.registry_db)
    with closing(Registry.open(data)) as registry:
        yield Home(data, registry, Peppers.create(data.keys), Vault.create(data.keys))


@contextmanager
def copied_home(template: Path, path: Path) -> Iterator[Home]:
    """A copy of a data directory that nobody has open, at this path."""
    data = DataDirectory(path)
    shutil.copytree(template, path)
    with closing(Registry.open(data)) as registry:
        yield Home(data, registry, Peppers.load(data.keys), Vault.load(data.keys))


@pytest.fixture
def home(tmp_path: Path, new_registry: Path) -> Iterator[Home]:
    with new_home(tmp_path / "gateway-data", new_registry) as made:
        yield made


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)

    def complains(self, code: int = 1) -> str:
        """The one line of its error; fails if there was none, or more, or a traceback."""
        assert (self.code, self.out) == (code, ""), (self.out, self.err)
        assert self.err.startswith("error: "), self.err
        assert self.err.count("\n") == 1, self.err
        return self.err.removeprefix("error: ").rstrip("\n")


Run = Callable[..., Done]


def environment(**more: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AIG_")}
    return clean | {"PYTHONPATH": str(_ROOT), "AIG_NO_CHECK": "1"} | more


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run `gateway` with these arguments in an empty working directory."""
    place = tmp_path / "cwd"
    place.mkdir()

    def gateway(*arguments: str, **variables: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, *arguments],
            capture_output=True,
            text=True,
            cwd=place,
            env=environment(**variables),
            timeout=300,
            check=False,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return gateway
