"""A worker's authorizer on a real registry: who is bound, what is in force, and when that is read again."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from gateway.authorization import Authorizer, build_input
from gateway.errors import Denied
from gateway.exchange import Call
from gateway.identity.principals import Principal, Principals
from gateway.policy_bundle import publish
from gateway.registry import activations, changes
from gateway.registry.reader import RegistryReader
from gateway.registry.records import BundleRecord
from gateway.settings import load_settings

if TYPE_CHECKING:
    from tests.gateway.conftest import Home

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "input.schema.json").read_text("utf-8"))
NOW_NS = 1772618400 * 10**9
ACTOR = "local:0"


class Desk:
    """An agent with a key, and the authorizer it meets."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.reader = RegistryReader(home.data.registry_db)
        self.authorizer = Authorizer(load_settings({"data": str(home.data.path)}, env={}), self.reader)
        home.agent("bot", team="support", capabilities=["chat"])
        self._credential = home.credential(home.key("bot"))
        self._principals = Principals(self.reader, home.peppers)

    def principal(self) -> Principal:
        return self._principals.get(self._credential)

    def activate(self, commit: str, **rules: str) -> list[str]:
        """Publish bundles and put them into force; returns their digests. Nothing is loaded by this."""
        records = []
        for name, text in rules.items():
            manifest = {"roots": [name], "metadata": {"gateway": {"entrypoint": f"data.{name}.authz"}}}
            files = {
                ".manifest": json.dumps(manifest).encode(),
                "authz.rego": f"package {name}.authz\n\n{text}\n".encode(),
            }
            digest = publish(self.home.data.bundles, files)
            entrypoint = f"data.{name}.authz"
            records.append(BundleRecord(name=name, commit=commit, digest=digest, author="x", entrypoint=entrypoint))
        activations.activate(self.home.registry, actor=ACTOR, commit=commit, author="x", bundles=records)
        return [record.digest for record in records]

    def bind(self, bundle: str, effect: str = "grant", kind: str = "agent", subject: str = "bot") -> None:
        changes.bind(
            self.home.registry,
            actor=ACTOR,
            organization="default",
            kind=kind,  # type: ignore[arg-type]
            subject=subject,
            bundle=bundle,
            effect=effect,  # type: ignore[arg-type]
        )


@pytest.fixture
def desk(home: Home) -> Iterator[Desk]:
    made = Desk(home)
    yield made
    made.reader.close()


def test_a_real_principals_input_is_what_the_schema_says(desk: Desk, make_call: Callable[..., Call]) -> None:
    document = build_input(desk.principal(), make_call(), NOW_NS)
    jsonschema.validate(document, SCHEMA, cls=jsonschema.Draft202012Validator)
    assert document["agent"]["team"] == "support"


def test_before_anything_was_activated(desk: Desk, make_call: Callable[..., Call]) -> None:
    refused = desk.authorizer.decide(desk.principal(), make_call(), NOW_NS)
    assert (refused.code, refused.activation) == ("no_policy", "")


def test_bound_but_not_loaded_and_then_loaded(desk: Desk, make_call: Callable[..., Call]) -> None:
    digests = desk.activate("c" * 40, b="allow := true")
    desk.bind("b")
    assert desk.authorizer.decide(desk.principal(), make_call(), NOW_NS).code == "policy_not_loaded"
    desk.authorizer.cache.follow(digests)
    allowed = desk.authorizer.decide(desk.principal(), make_call(), NOW_NS)
    assert allowed.allow
    assert desk.authorizer.confirm(allowed, desk.principal(), make_call()).allow


def test_the_next_request_meets_the_new_activation(desk: Desk, make_call: Callable[..., Call]) -> None:
    desk.authorizer.cache.follow(desk.activate("c" * 40, b="allow := true"))
    desk.bind("b")
    first = desk.authorizer.decide(desk.principal(), make_call(), NOW_NS)
    newer = desk.activate("d" * 40, b='default allow := false\n\ndeny contains "no more"')
    assert desk.authorizer.decide(desk.principal(), make_call(), NOW_NS).code == "policy_not_loaded"
    desk.authorizer.cache.follow(newer)
    second = desk.authorizer.decide(desk.principal(), make_call(), NOW_NS)
    assert (first.allow, second.code, second.reasons) == (True, "policy_denied", ("no more",))
    assert first.activation != second.activation
    assert second.bundles[0].commit == "d" * 40


@pytest.mark.parametrize(("kind", "subject"), [("agent", "bot"), ("team", "support"), ("organization", "default")])
def test_a_guard_of_any_subject(desk: Desk, make_call: Callable[..., Call], kind: str, subject: str) -> None:
    desk.authorizer.cache.follow(desk.activate("c" * 40, b="allow := true", g='deny contains "guarded"'))
    desk.bind("b")
    assert desk.authorizer.decide(desk.principal(), make_call(), NOW_NS).allow
    desk.bind("g", "guard", kind, subject)
    assert desk.authorizer.decide(desk.principal(), make_call(), NOW_NS).reasons == ("guarded",)


def test_rows_are_read_once_per_epoch(
    desk: Desk, make_call: Callable[..., Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.authorizer.cache.follow(desk.activate("c" * 40, b="allow := true"))
    desk.bind("b")
    desk.authorizer.decide(desk.principal(), make_call(), NOW_NS)
    with monkeypatch.context() as patch:
        patch.setattr(desk.reader, "active_bundles", lambda: pytest.fail("the epoch has not changed"))
        assert desk.authorizer.decide(desk.principal(), make_call(), NOW_NS).allow


def test_an_unreadable_registry(desk: Desk, make_call: Callable[..., Call]) -> None:
    asker = desk.principal()
    desk.reader.close()
    with pytest.raises(Denied) as refusal:
        desk.authorizer.decide(asker, make_call(), NOW_NS)
    assert refusal.value.code == "registry_unavailable"
