"""Shared parts of the tests in `tests/gateway/control/test_fleet.py`."""

from __future__ import annotations

from typing import Any

from gateway.registry import queries
from tests.gateway.conftest import ORG
from tests.gateway.control.conftest import Control

SECRET = "sk-of-the-provider"
FLEET: dict[str, Any] = {
    "v": 1,
    "teams": [{"name": "support"}],
    "agents": [{"name": "lead", "team": "support"}, {"name": "helper", "team": "sales", "parent": "lead"}],
    "upstreams": [{"name": "openai", "key": {"env": "KEY"}}],
    "limits": [{"team": "sales", "limit": "requests_per_day", "value": 5}],
}


def body(document: dict[str, Any] = FLEET, **more: Any) -> dict[str, Any]:
    return {"document": document, "secrets": {"openai": SECRET}, "reason": "a test", **more}


def agents(control: Control, organization: str = ORG) -> set[str]:
    return {each.name for each in queries.agents(control.home.registry, organization)}
