"""Decisions on a real registry: what it says of who is bound and what is in force, as a worker reads it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import jsonschema
import pytest

from gateway.call import Call
from gateway.identity.api_keys import ApiKeys
from gateway.identity.principals import Principal, Principals
from gateway.policy import authorization
from gateway.policy.authorization import Authorization, build_input, decide
from gateway.policy.bundle import publish
from gateway.policy.cache import PolicyCache
from gateway.registry.policies import activations, bindings
from gateway.registry.reader import RegistryReader
from gateway.registry.records import BundleRecord
from tests.gateway.conftest import at_once

if TYPE_CHECKING:
    from tests.gateway.conftest import Home

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas" / "input.schema.json").read_text("utf-8"))
NOW_NS = 1772618400 * 10**9
ACTOR = "local:0"


class Desk:
    """An agent with a key, and what a worker decides with when it asks."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.reader = RegistryReader(home.data.registry_db)
        self.cache = PolicyCache(home.data.bundles)
        home.agent("bot", team="support", capabilities=["chat"])
        self._credential = home.credential(home.key("bot"))
        self._principals = Principals([ApiKeys(self.reader, home.peppers)])

    def principal(self) -> Principal:
        return at_once(self._principals.get(self._credential, at_once(self.reader.epochs()).authority))

    def decide(self, asked: Call) -> Authorization:
        principal = self.principal()
        judges = authorization.panel(principal, at_once(self.reader.active_bundles()), self.cache)
        return decide(judges, principal, asked, NOW_NS, ends=time.monotonic() + 10)

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
        bindings.bind(
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
    refused = desk.decide(make_call())
    assert (refused.code, refused.fields()["activation"]) == ("no_policy", "")


def test_bound_but_not_loaded_and_then_loaded(desk: Desk, make_call: Callable[..., Call]) -> None:
    digests = desk.activate("c" * 40, b="allow := true")
    desk.bind("b")
    assert desk.decide(make_call()).code == "policy_not_loaded"
    desk.cache.follow(digests)
    allowed = desk.decide(make_call())
    assert allowed.allow


def test_the_next_request_meets_the_new_activation(desk: Desk, make_call: Callable[..., Call]) -> None:
    desk.cache.follow(desk.activate("c" * 40, b="allow := true"))
    desk.bind("b")
    first = desk.decide(make_call())
    newer = desk.activate("d" * 40, b='default allow := false\n\ndeny contains "no more"')
    assert desk.decide(make_call()).code == "policy_not_loaded"
    desk.cache.follow(newer)
    second = desk.decide(make_call())
    assert (first.allow, second.code, second.reasons) == (True, "policy_denied", ("no more",))
    assert first.fields()["activation"] != second.fields()["activation"]
    assert second.panel.members[0].ref.commit == "d" * 40


@pytest.mark.parametrize(("kind", "subject"), [("agent", "bot"), ("team", "support"), ("organization", "default")])
def test_a_guard_of_any_subject(desk: Desk, make_call: Callable[..., Call], kind: str, subject: str) -> None:
    desk.cache.follow(desk.activate("c" * 40, b="allow := true", g='deny contains "guarded"'))
    desk.bind("b")
    assert desk.decide(make_call()).allow
    desk.bind("g", "guard", kind, subject)
    assert desk.decide(make_call()).reasons == ("guarded",)
