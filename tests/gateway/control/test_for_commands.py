"""Operations of the control API for the command line (remote.md). Each answer is checked against the document."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from gateway.registry import publication
from gateway.registry.policies import activations
from tests.gateway.control.conftest import Client, Control


def test_all_of_an_agent(control: Control, owner: Client) -> None:
    control.home.activate("base")
    control.home.agent("boss")
    control.home.agent("bot", parent="boss")
    key = owner("POST", "/keys", {"agent": "bot"}).ok(201)
    owner("POST", "/bindings", {"subject_kind": "agent", "subject": "bot", "bundle": "base"}).ok(201)
    limit = {"subject_kind": "agent", "subject": "bot", "limit": "requests_per_day"}
    owner("POST", "/limits", limit | {"value": 5}).ok(201)
    found = owner("GET", "/agents/bot/overview").ok()
    assert [each["id"] for each in found["keys"]] == [key["id"]]
    assert found["bindings"][0]["revision"]["digest"] == "digest-of-base-cccc"
    assert (found["parent_name"], found["limits"][0]["value"]) == ("boss", 5)
    assert found["standing"] == {"organization": "active", "team": None, "stopped": None}
    (state,) = owner("GET", "/limits/states", subject_kind="agent", subject="bot").ok()["items"]
    assert (state["spent"], state["left"]) == (0, 5)
    then = datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
    owner("POST", "/limits/raise", limit | {"value": 9, "for_seconds": 60, "reason": "launch"}).ok()
    owner("POST", "/limits/remove", limit | {"reason": "over"}).ok()
    owner("POST", "/bindings/unbind", {"subject_kind": "agent", "subject": "bot", "bundle": "base"}).ok()
    assert owner("GET", "/agents/bot/overview").ok()["bindings"] == []
    assert len(owner("GET", "/agents/bot/overview", at=then).ok()["bindings"]) == 1
    narrow = control.operator("anna", "admin", scopes=["agents:read", "keys:read"])
    assert narrow("GET", "/agents/bot/overview").problem(403) == "token_scope"


@pytest.mark.slow
def test_pages_of_agents_after_one_and_at_a_time(control: Control, owner: Client) -> None:
    ids = [control.home.agent(name) for name in ("c", "a", "b")]
    then = datetime.fromtimestamp(time.time(), UTC).isoformat().replace("+00:00", "Z")
    assert [each["id"] for each in owner("GET", "/agents", after="c").ok()["items"]] == ids[1:]
    assert owner("GET", "/agents", after="nobody").problem(422) == "unknown_agent"
    owner("POST", "/agents/c/retire", {}).ok()
    first = owner("GET", "/agents", at=then, limit="2", status="active").ok()
    assert [each["id"] for each in first["items"]] == ids[:2]
    second = owner("GET", "/agents", at=then, limit="2", status="active", cursor=first["next"]).ok()
    assert [each["id"] for each in second["items"]] == ids[2:]


def test_the_key_of_an_agent_is_replaced(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    old = owner("POST", "/keys", {"agent": "bot"}).ok(201)
    made = owner("POST", "/agents/bot/keys/rotate", {"overlap": 60}).ok(201)
    assert (made["replaces"]["id"], made["replaces"]["replaced_by"]) == (old["id"], made["id"])
    assert owner("POST", "/agents/bott/keys/rotate", {}).problem(404) == "unknown_agent"


@pytest.mark.slow
def test_hints_for_the_command_line(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    body = {"agent": "bot"}
    owner("POST", "/keys", body)
    owner("POST", "/keys", body)
    plain = owner("POST", "/keys", body)
    assert plain.problem(409) == "too_many_keys"
    assert "`gateway" not in plain.json["hint"]
    hinted = owner("POST", "/keys", body, headers={"gateway-client": "command-line"})
    assert "gateway keys revoke" in hinted.json["hint"]
    assert hinted.json["detail"] == plain.json["detail"]


def test_a_hint_about_something_unknown_names_commands_for_the_command_line_alone(
    control: Control, owner: Client
) -> None:
    control.home.agent("bot")
    for method, path, body, hint in (
        ("GET", "/agents/zzz", None, "GET /api/v1/agents lists them"),
        ("GET", "/keys/zzz", None, "GET /api/v1/keys lists them"),
        ("POST", "/decide", {"agent": "bot", "key": "zzz", "call": {"action": "models.list"}}, None),
    ):
        assert owner(method, path, body).json.get("hint") == hint
        told = owner(method, path, body, headers={"gateway-client": "command-line"}).json["hint"]
        assert told.startswith("type `gateway ")


@pytest.mark.slow
def test_versions_of_an_organization(control: Control, owner: Client) -> None:
    owner("POST", "/organizations", {"name": "acme"}).ok(201)
    owner("POST", "/organizations/acme/suspend", {"reason": "unpaid"}).ok()
    found = owner("GET", "/organizations/acme/versions").ok()["items"]
    assert [(each["status"], each["reason"]) for each in found] == [("active", ""), ("suspended", "unpaid")]
    stranger = control.operator("anna", "admin", "default")
    assert stranger("GET", "/organizations/acme/versions").problem(404) == "unknown_organization"
    missed = owner("GET", "/agents", organization="acne")
    assert missed.problem(404) == "unknown_organization"
    assert missed.json["hint"] == "did you mean `acme`?"
    assert "hint" not in stranger("GET", "/agents", organization="acne").json or "acme" not in str(
        stranger("GET", "/agents", organization="acne").json
    )


def test_operators_and_tokens_as_commands_name_them(control: Control, owner: Client) -> None:
    owner("POST", "/organizations", {"name": "acme"}).ok(201)
    owner("POST", "/operators", {"name": "ann", "role": "owner", "reason": "first"}, organization="acme").ok(201)
    owner("PATCH", "/operators/ann", {"role": "admin"}, organization="acme", headers={"if-match": "*"}).ok()
    found = owner("GET", "/operators/ann/versions", organization="acme").ok()["items"]
    assert [(each["role"], each["reason"]) for each in found] == [("owner", "first"), ("admin", "")]
    made = owner("POST", "/operators/ann/tokens", {}, organization="acme").ok(201)
    beginning = made["token_id"]
    for reference in (made["id"], beginning):
        assert owner("GET", f"/operator-tokens/{reference}", organization="acme").ok()["operator"] == "ann"
        assert owner("GET", f"/operator-tokens/{reference}").problem(404) == "unknown_token"  # of the whole gateway
    stranger = control.operator("sam", "owner", "default")
    body = {"reason": "leaked"}
    for organization in ({}, {"organization": "acme"}):
        assert stranger("POST", f"/operator-tokens/{made['id']}/revoke", body, **organization).status == 404
    every = [each["name"] for each in owner("GET", "/operators", everywhere="true").ok()["items"]]
    assert every == ["olga", "ann", "sam"]
    assert [each["name"] for each in owner("GET", "/operators").ok()["items"]] == ["olga"]
    assert [each["name"] for each in stranger("GET", "/operators", everywhere="true").ok()["items"]] == ["sam"]
    auditor = control.operator("audrey", "auditor")
    assert (
        auditor("POST", f"/operator-tokens/{made['id']}/revoke", body, organization="acme").problem(403) == "forbidden"
    )
    assert owner("POST", f"/operator-tokens/{made['id']}/revoke", body, organization="acme").ok()["revoked"] is not None
    assert control.client(made["token"])("GET", "/me").problem(401) == "bad_credentials"


def test_teams_and_bindings_name_their_agents_if_they_are_asked(control: Control, owner: Client) -> None:
    control.home.activate("base")
    for name in ("zoe", "bot", "gone"):
        control.home.agent(name, team="support")
    control.home.agent("other")
    owner("POST", "/agents/gone/retire", {}).ok()
    bound = owner("POST", "/bindings", {"subject_kind": "team", "subject": "support", "bundle": "base"}).ok(201)
    assert "agents" not in owner("GET", "/teams/support").ok()
    for team in (owner("GET", "/teams/support", members="true").ok(), *_items(owner, "/teams")):
        assert (team["agents"], team["bundles"]) == (["bot", "zoe"], ["base"])
    for binding in (owner("GET", f"/bindings/{bound['id']}", members="true").ok(), *_items(owner, "/bindings")):
        assert binding["agents"] == ["bot", "zoe"]
    assert owner("GET", "/bindings", members="true", at="2026-01-01T00:00:00Z").problem(400) == "invalid_parameter"
    narrow = control.operator("anna", "admin", scopes=["teams:write", "bindings:write"])
    for path in ("/teams", "/teams/support", "/bindings", f"/bindings/{bound['id']}"):
        narrow("GET", path).ok()
        assert narrow("GET", path, members="true").problem(403) == "token_scope"


def _items(owner: Client, path: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = owner("GET", path, members="true").ok()["items"]
    assert len(found) == 1
    return found


def test_policies_are_those_of_the_whole_gateway(control: Control, owner: Client) -> None:
    assert owner("GET", "/policies").ok() == {"in_force": None, "attempts": [], "refused": None}
    control.home.activate("crm", commit="d" * 40)
    control.home.activate("crm", "support")
    refused = {"actor": "gateway", "commit": "e" * 40, "author": "sam", "outcome": "tests_failed", "detail": "crm: x"}
    activations.refuse_activation(control.home.registry, **refused)
    publication.publish(control.home.registry, control.home.data)
    found = control.operator("ci", "viewer", scopes=["policies:read"])("GET", "/policies").ok()
    assert (found["in_force"]["commit"], [each["name"] for each in found["in_force"]["bundles"]]) == (
        "c" * 40,
        ["crm", "support"],
    )
    told = [(each["commit"][0], each["outcome"], each["detail"], each["bundles"]) for each in found["attempts"]]
    assert told == [("e", "tests_failed", "crm: x", []), ("c", "ok", "", ["crm", "support"]), ("d", "ok", "", ["crm"])]
    assert found["refused"]["commit"] == "e" * 40  # of the attempts, the one that the branch still has
    assert len(owner("GET", "/policies", limit="1").ok()["attempts"]) == 1
    # Bundles and tests of others are none of a tenant's business.
    owner("POST", "/organizations", {"name": "acme"}).ok(201)
    assert control.operator("anna", "owner", "acme")("GET", "/policies").problem(403) == "forbidden"
    narrow = control.operator("carl", "auditor", scopes=["usage:read"])
    assert narrow("GET", "/policies").problem(403) == "token_scope"
