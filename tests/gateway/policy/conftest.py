"""Bundles compiled for a test, and somebody who asks."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gateway.call import Call, Tool
from gateway.identity.principals import BoundBundle, Effect, Principal
from gateway.policy import authorization
from gateway.policy.authorization import Authorization, decide, enforce
from gateway.policy.bundle import publish
from gateway.policy.cache import PolicyCache
from gateway.registry.port import ActiveSet, BundleRef

COMMIT = "c" * 40
NOW_NS = 1772618400 * 10**9  # Wednesday, 2026-03-04 10:00 UTC


def principal(*bindings: BoundBundle) -> Principal:
    document = {
        "id": "agt_1",
        "organization": "acme",
        "name": "support-bot",
        "version": 3,
        "team": "support",
        "owner": "dana@acme.example",
        "environment": "prod",
        "capabilities": ["chat"],
        "labels": {"cost-center": "4711"},
        "credential": {"id": "key_1", "method": "api_key", "strength": 1},
        "delegation": [],
    }
    return Principal(
        organization="acme",
        agent_id="agt_1",
        name="support-bot",
        version=3,
        owner="dana@acme.example",
        team="support",
        environment="prod",
        capabilities=("chat",),
        labels={"cost-center": "4711"},
        key_id="key_1",
        lookup="abc",
        method="api_key",
        strength=1,
        status="active",
        bindings=bindings,
        authority_epoch=7,
        document=document,
    )


def call(**changes: Any) -> Call:
    body = {"model": "gpt-4o-mini", "temperature": 0.2, "messages": [{"role": "user", "content": "Hello"}]}
    values: dict[str, Any] = {
        "action": "chat.completions",
        "upstream": "openai",
        "provider": "openai",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw": json.dumps(body).encode(),
        "body": body,
        "model": "gpt-4o-mini",
        "models": ("gpt-4o-mini",),
        "tools": (Tool("function", "get_order"), Tool("web_search", "")),
        "roles": ("user",),
        "messages": 1,
    }
    return Call(**(values | changes))


class Court:
    """Published and loaded bundles, and what they decide. Every bundle's package is `<name>.authz`."""

    def __init__(self, directory: Path) -> None:
        self.cache = PolicyCache(directory)
        self.refs: dict[str, BundleRef] = {}
        self.pinned: dict[tuple[str, str], BundleRef] = {}
        self.bindings: list[BoundBundle] = []
        self._directory = directory

    def publish(self, name: str, rules: str, data: Mapping[str, Any] | None = None, **settings: Any) -> BundleRef:
        """`settings` are further members of the manifest's `metadata.gateway`."""
        entrypoint = f"data.{name}.authz"
        files = {
            ".manifest": json.dumps({"roots": [name], "metadata": {"gateway": {"entrypoint": entrypoint, **settings}}}),
            "authz.rego": f"package {name}.authz\n\n{rules}\n",
        }
        if data is not None:
            files["data.json"] = json.dumps({name: data})
        digest = publish(self._directory, {path: text.encode() for path, text in files.items()})
        return BundleRef(name, digest, COMMIT, entrypoint)

    def seat(
        self,
        name: str,
        rules: str,
        effect: Effect = "grant",
        data: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Publish, load, activate and bind a bundle."""
        self.refs[name] = self.publish(name, rules, data, **settings)
        self.cache.load(self.refs[name].digest)
        self.bind(name, effect)

    def bind(self, name: str, effect: Effect = "grant", pinned: str | None = None) -> None:
        self.bindings.append(BoundBundle(f"bnd_{len(self.bindings)}", name, effect, pinned))

    @property
    def active(self) -> ActiveSet:
        return ActiveSet("act_1", COMMIT, 7, dict(self.refs), dict(self.pinned))

    def decide(self, asked: Call | None = None, **options: Any) -> Authorization:
        options.setdefault("ends", time.monotonic() + 10)  # a busy machine must not decide
        asking = principal(*self.bindings)
        judges = authorization.panel(asking, self.active, self.cache)
        return decide(judges, asking, asked or call(), NOW_NS, **options)

    def enforce(
        self, first: Authorization, asked: Call, apply: Callable[..., tuple[Call, tuple[str, ...]]], **options: Any
    ) -> tuple[Authorization, Call, tuple[str, ...]]:
        options.setdefault("ends", time.monotonic() + 10)
        asking = principal(*self.bindings)
        return enforce(first, asking, asked, apply, **options)


@pytest.fixture
def court(tmp_path: Path) -> Court:
    return Court(tmp_path)


@pytest.fixture
def make_call() -> Callable[..., Call]:
    return call


@pytest.fixture
def make_principal() -> Callable[..., Principal]:
    return principal
