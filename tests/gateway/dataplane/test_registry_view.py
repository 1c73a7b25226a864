"""What a worker keeps of the registry beside principals, and what makes it read that again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.dataplane import registry_view
from gateway.dataplane.registry_view import RegistryView
from gateway.errors import Denied
from gateway.registry import changes
from gateway.registry.reader import RegistryReader
from gateway.registry.vault import Vault
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
    changes.add_upstream(
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
    changes.bind(home.registry, actor=ACTOR, organization=ORG, kind="agent", subject="bot", bundle="support")
    changes.revoke_agent(home.registry, actor=ACTOR, organization=ORG, agent="bot")
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
