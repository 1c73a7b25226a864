"""A worker's copy of the registry beside principals, and the changes that make it read that again."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gateway.dataplane import registry_view
from gateway.dataplane.registry_view import RegistryView
from gateway.errors import Denied
from gateway.registry.agents.changes import revoke_agent
from gateway.registry.policies.bindings import bind
from gateway.registry.reader import RegistryReader
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.key_source import KeySource
from gateway.secrets.vault import Vault
from gateway.storage import secret_files
from gateway.upstream import routing
from tests.gateway.conftest import ACTOR, ORG, Home, at_once


@pytest.fixture
def view(home: Home) -> Iterator[RegistryView]:
    upstream(home, "openai")
    home.activate("support")
    reader = RegistryReader(home.data.registry_db)
    yield RegistryView(reader, home.vault)
    reader.close()


def upstream(home: Home, name: str) -> None:
    add_upstream(
        home.registry, home.vault, actor=ACTOR, organization=ORG, name=name, provider="openai",
        base_url="https://api.example.com/v1", secret="sk-x",
    )  # fmt: skip


def kept(view: RegistryView) -> tuple[object, object]:
    """The routes and the active set as a request finds them now."""
    epochs = at_once(view.epochs())
    return at_once(view.routes(epochs.upstreams)), at_once(view.active(epochs.policy))


def test_a_new_agent_rebuilds_nothing(home: Home, view: RegistryView) -> None:
    routes, active = kept(view)
    home.agent()
    home.key()
    bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
    revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
    after = kept(view)
    assert after[0] is routes
    assert after[1] is active


def test_each_part_is_read_again_when_it_has_changed(home: Home, view: RegistryView) -> None:
    routes, active = kept(view)
    upstream(home, "another")
    changed, same = kept(view)
    assert changed is not routes
    assert same is active
    home.activate("support", commit="d" * 40)
    same, new = kept(view)
    assert same is changed
    assert new is not active


def test_a_secret_that_could_not_be_opened_is_tried_again(
    home: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its upstream stayed unusable until the worker was restarted, although the key was back long ago."""
    monkeypatch.setattr(registry_view, "RETRY_SECONDS", 0.0)
    upstream(home, "openai")
    kek = home.data.keys / "kek"
    kek.rename(kek.with_name("away"))
    wanted = routing.target("POST", b"/openai/v1/chat/completions")
    reader = RegistryReader(home.data.registry_db)
    view = RegistryView(reader, Vault.create(home.data.keys))

    def secret() -> str | None:
        epochs = at_once(view.epochs())
        return at_once(view.routes(epochs.upstreams)).resolve(ORG, wanted).destination.secret

    for _ in range(3):
        with pytest.raises(Denied, match="upstream") as caught:
            secret()
        assert "sealed under another key" in caught.value.detail
    assert len(caplog.records) == 1  # which says it once
    kek.with_name("away").rename(kek)
    assert secret() == "sk-x"
    reader.close()


GIVE = """
import pathlib, sys, time
pathlib.Path(sys.argv[1]).open("a").write("asked\\n")
if not pathlib.Path(sys.argv[2]).exists():
    time.sleep(600)
print(pathlib.Path(sys.argv[2]).read_text())
"""


def test_a_command_that_hangs_keeps_nobody_waiting_but_those_who_need_its_key(home: Home) -> None:
    """Every request of every organization waited for it, up to ten seconds, again and again."""
    asyncio.run(_while_a_command_hangs(home))


async def _while_a_command_hangs(home: Home) -> None:
    key, asked, given = os.urandom(32), home.data.path / "asked", home.data.path / "given"
    upstream(home, "openai")  # under the key that the worker has
    add_upstream(
        home.registry, Vault(key), actor=ACTOR, organization=ORG, name="sealed", provider="openai",
        base_url="https://api.example.com/v1", secret="sk-sealed",
    )  # fmt: skip
    source = KeySource(home.data.keys, command=(sys.executable, "-c", GIVE, str(asked), str(given)))
    reader = RegistryReader(home.data.registry_db)
    view = RegistryView(reader, Vault(secret_files.read(home.data.keys / "kek"), source))
    epoch = (await view.epochs()).upstreams
    usable, sealed = (routing.target("POST", f"/{name}/v1/chat/completions".encode()) for name in ("openai", "sealed"))
    for _ in range(20):
        table = await view.routes(epoch)
        found = table.resolve(ORG, usable)
        assert isinstance(found, routing.Match)
        assert found.destination.secret == "sk-x"
        assert not given.exists(), "the command has ended: this test has waited for it"
    with pytest.raises(Denied) as caught:
        table.resolve(ORG, sealed)
    waiting = asyncio.create_task(view.resolve_again(caught.value, epoch, ORG, sealed))
    while not asked.exists():  # noqa: ASYNC110  # another process makes it
        await asyncio.sleep(0.01)
    assert asked.read_text() == "asked\n", "it was run once for all"
    assert not waiting.done()
    # A hanging program is ended by its time limit; here, by hand. Then it is asked once more and gives the key.
    given.write_text(base64.b64encode(key).decode())
    for child in started_with(str(asked)):
        os.kill(child, signal.SIGKILL)
    with pytest.raises(Denied):
        await waiting
    view._vault._pauses.clear()
    view._retry = 0.0
    await view.routes(epoch)
    again = await view.resolve_again(caught.value, epoch, ORG, sealed)
    assert isinstance(again, routing.Match)
    assert again.destination.secret == "sk-sealed"
    reader.close()


def started_with(argument: str) -> list[int]:
    """The processes that were started with this argument."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if argument.encode() in path.read_bytes().split(b"\0") and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
    return found
