"""`GET /status`: what `gateway status` says, for operators elsewhere."""

from __future__ import annotations

from typing import Any

import orjson
from dulwich.repo import Repo

from gateway.registry import emergency_stops, publication, webhooks
from gateway.registry.agents.registration import register_agent
from gateway.registry.organizations.changes import create_organization
from gateway.registry.policies import activations
from gateway.registry.upstreams.changes import add_upstream
from gateway.secrets.vault import Vault
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Control


def test_who_is_told_how_the_gateway_is(control: Control) -> None:
    watching = control.operator("mona", "viewer", scopes=["status:read"])
    found = watching("GET", "/status").ok()
    assert found["needs_a_person"] is True
    assert ("problem", "the gateway is not running") in [(each["level"], each["message"]) for each in found["findings"]]
    assert {"name": "gateway", "text": "not running"} in found["lines"]
    assert watching("GET", "/agents").problem(403) == "token_scope"
    assert control.operator("kay", "owner", scopes=["keys:write"])("GET", "/status").problem(403) == "token_scope"


def test_operators_of_an_organization_are_told_of_its_part(control: Control) -> None:
    home = control.home
    registry, vault = home.registry, Vault.load(home.data.keys)
    for name in ("acme", "globex"):
        create_organization(registry, actor=ACTOR, name=name)
        common: dict[str, Any] = {"actor": ACTOR, "organization": name}
        register_agent(registry, **common, name=f"bot-of-{name}")
        base = f"https://{name}.example/v1"
        add_upstream(registry, vault, **common, name="openai", provider="openai", base_url=base, secret="sk-x")
        hook: dict[str, Any] = {"events": [], "secret": "s" * 32, "since": 0}
        webhooks.add_webhook(registry, vault, **common, url=f"https://hooks.{name}.example/", **hook)
    emergency_stops.stop(registry, actor=ACTOR, organization=None, reason="globex was broken into")
    whole = control.operator("mona", "viewer")("GET", "/status").ok()
    named = [each["text"].partition("  ")[0] for each in whole["lines"] if each["name"] == "upstream"]
    assert {"openai of acme (default)", "openai of globex (default)"} <= set(named), "whose each of them is"

    found = control.operator("ann", "viewer", "acme")("GET", "/status").ok()
    said = orjson.dumps(found).decode()
    assert found["needs_a_person"] is True
    messages = [each["message"] for each in found["findings"]]
    assert "agent `bot-of-acme` has no key that works" in messages
    assert [each["text"].partition("  ")[0] for each in found["lines"] if each["name"] == "upstream"] == [
        "openai (default)"
    ]
    assert [each["name"] for each in found["lines"]].count("webhook") == 1
    assert [each["organization"] for each in found["upstreams"]] == ["acme"]
    assert len(found["stops"]) == 1
    assert found["stops"][0]["organization"] is None, "their agents are stopped, too"
    for foreign in ("globex", "default`", str(home.data.path), "not running", ACTOR, "starter", "entries owed"):
        assert foreign not in said, foreign
    assert (
        control.operator("kim", "owner", "acme", scopes=["keys:write"])("GET", "/status").problem(403) == "token_scope"
    )


def test_a_refusal_of_a_commit_that_the_branch_has_left_is_history(control: Control) -> None:
    home = control.home
    with Repo.init(str(home.data.policies), mkdir=True, default_branch=b"main") as repo:
        first, second = (
            repo.get_worktree().commit(message, author=b"d <d@a>", committer=b"d <d@a>", sign=False)
            for message in (b"good", b"bad")
        )
        more: dict[str, Any] = {"actor": ACTOR, "author": "d", "outcome": "compile_failed", "detail": "no"}
        activations.refuse_activation(home.registry, commit=second.decode(), **more)
        publication.publish(home.registry, home.data)
        mona = control.operator("mona", "viewer")
        assert mona("GET", "/policies").ok()["refused"]["commit"] == second.decode()
        repo.refs[repo.refs.follow(b"HEAD")[0][-1]] = first
    found = mona("GET", "/policies").ok()
    assert found["refused"] is None
    assert [each["commit"] for each in found["attempts"]] == [second.decode()], "the log has it all the same"
