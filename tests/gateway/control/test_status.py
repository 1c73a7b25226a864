"""`GET /status`: what `gateway status` says, for operators elsewhere."""

from __future__ import annotations

from gateway.registry import changes
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
    changes.create_organization(control.home.registry, actor=ACTOR, name="acme")
    assert control.operator("ann", "owner", "acme")("GET", "/status").problem(403) == "forbidden"
