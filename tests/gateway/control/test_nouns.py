"""The API's operations on each kind of thing."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.gateway.conftest import ORG
from tests.gateway.control.conftest import Client, Control
from tests.rigs.control.nouns import recorded

LATER = "2031-01-01T00:00:00Z"


def test_an_agent_from_registration_to_its_end(control: Control, owner: Client) -> None:
    made = owner("POST", "/agents", {"name": "bot", "team": "blue", "labels": {"a": "1"}, "expires": LATER})
    agent = made.ok(201)
    assert made.headers["location"] == f"/api/v1/agents/{agent['id']}"
    assert (agent["version"], agent["expires"], made.headers["etag"]) == (1, "2031-01-01T00:00:00.000Z", '"1"')
    patch = {"labels": {"a": None, "b": "2"}, "capabilities": ["x"], "expires": None, "reason": "moved"}
    assert owner("PATCH", "/agents/bot", patch).problem(428) == "if_match_required"
    assert owner("PATCH", "/agents/bot", patch, headers={"if-match": '"2"'}).problem(412) == "changed_meanwhile"
    changed = owner("PATCH", "/agents/bot", patch, headers={"if-match": '"1"'})
    assert (changed.ok()["labels"], changed.json["expires"], changed.json["team"]) == ({"b": "2"}, None, "blue")
    assert changed.headers["etag"] == '"2"'
    assert owner("PATCH", "/agents/bot", {"capabilities": []}, headers={"if-match": "*"}).ok()["capabilities"] == []
    for act, status in (
        ("suspend", "suspended"),
        ("suspend", "suspended"),
        ("resume", "active"),
        ("retire", "retired"),
    ):
        assert owner("POST", f"/agents/{agent['id']}/{act}", {"reason": "drill"}).ok()["status"] == status
    assert owner("POST", f"/agents/{agent['id']}/resume", {}).problem(409) == "agent_retired"
    versions = owner("GET", f"/agents/{agent['id']}/versions").ok()["items"]
    assert [each["status"] for each in versions] == ["active"] * 3 + ["suspended", "active", "retired"]
    me = owner("GET", "/me").ok()["id"]
    assert {each["actor"] for each in versions} == {f"operator:{me}"}
    entries = [each for each in recorded(control.home) if each["what"].startswith("agent.")]
    assert [each["actor"] for each in entries] == [f"operator:{me}"] * 6
    assert entries[1]["reason"] == "moved"


@pytest.mark.slow
def test_an_agent_as_it_was(control: Control, owner: Client) -> None:
    owner("POST", "/agents", {"name": "bot", "owner": "dana"}).ok(201)
    between = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    owner("PATCH", "/agents/bot", {"owner": "kim"}, headers={"if-match": "*"}).ok()
    then = owner("GET", "/agents/bot", at=between)
    assert (then.ok()["owner"], "etag" in then.headers) == ("dana", False)
    assert owner("GET", "/agents/bot").ok()["owner"] == "kim"
    early = owner("GET", "/agents/bot", at="2001-01-01T00:00:00Z")
    assert (early.problem(404), early.json["hint"]) == ("not_yet", "GET /api/v1/agents/bot/versions")


@pytest.mark.slow
def test_pages_of_agents_have_every_agent_once(owner: Client, control: Control) -> None:
    names = [f"bot-{number}" for number in range(7)]
    for name in names:
        control.home.agent(name)
    found, cursor = [], None
    for _ in range(4):
        page = owner("GET", "/agents", limit="2", **({"cursor": cursor} if cursor else {})).ok()
        found += [each["name"] for each in page["items"]]
        cursor = page["next"]
    assert (found, cursor) == (names, None)
    first = owner("GET", "/agents", limit="2").ok()["next"]
    assert owner("GET", "/keys", cursor=first).problem(400) == "invalid_cursor"
    assert owner("GET", "/agents", cursor="AAAA").problem(400) == "invalid_cursor"
    assert owner("GET", "/agents", limit="501").problem(400) == "invalid_parameter"


def test_a_key_is_shown_once(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    made = owner("POST", "/keys", {"agent": "bot", "expires_in": 60, "scope": {"models": ["gpt-4o*"]}}).ok(201)
    assert made["key"].startswith(made["key_id"])
    assert made["scope"] == {"models": ["gpt-4o*"]}
    shown = owner("GET", f"/keys/{made['id']}").ok()
    assert "key" not in shown
    assert shown["status"] == "active"
    assert [each["id"] for each in owner("GET", "/keys", agent="bot").ok()["items"]] == [made["id"]]
    rotated = owner("POST", f"/keys/{made['id']}/rotate", {"overlap": 30}).ok(201)
    assert rotated["scope"] == made["scope"]
    assert owner("GET", f"/keys/{made['id']}").ok()["status"] == "retiring"
    assert owner("POST", f"/keys/{made['id']}/rotate").problem(409) == "already_rotated"
    assert owner("POST", f"/keys/{made['id']}/revoke").ok()["status"] == "revoked"
    assert owner("POST", "/keys", {"agent": "nobody"}).problem(422) == "unknown_agent"
    assert owner("GET", "/keys/nothing").problem(404) == "unknown_key"
    assert (
        owner("POST", "/keys", {"agent": "bot", "scope": {"actions": ["chat.complete"]}}).problem(422)
        == "unknown_action"
    )
    assert made["key"].split("_")[3] not in repr(recorded(control.home))


@pytest.mark.slow
def test_teams(owner: Client) -> None:
    assert owner("POST", "/teams", {"name": "blue", "owner": "dana"}).ok(201)["owner"] == "dana"
    assert owner("POST", "/teams", {"name": "blue"}).problem(409) == "team_exists"
    changed = owner("PATCH", "/teams/blue", {"owner": None}, headers={"if-match": '"1"'})
    assert (changed.ok()["owner"], changed.headers["etag"]) == ("", '"2"')
    assert owner("PATCH", "/teams/blue", {"owner": "x"}, headers={"if-match": '"1"'}).problem(412)
    assert [each["name"] for each in owner("GET", "/teams").ok()["items"]] == ["blue"]
    assert owner("GET", "/teams/red").problem(404) == "unknown_team"
    for act, status in (("suspend", "suspended"), ("resume", "active"), ("revoke", "revoked")):
        assert owner("POST", f"/teams/blue/{act}", {"reason": "drill"}).ok()["status"] == status
    assert owner("POST", "/teams/blue/resume").problem(409) == "team_revoked"


@pytest.mark.slow
def test_bindings(control: Control, owner: Client) -> None:
    control.home.activate("base", "other")
    agent = control.home.agent("bot")
    made = owner("POST", "/bindings", {"subject_kind": "agent", "subject": "bot", "bundle": "base"}).ok(201)
    as_guard = {"subject_kind": "agent", "subject": agent, "bundle": "base", "effect": "guard"}
    refused = owner("POST", "/bindings", as_guard)
    assert (refused.problem(409), refused.json["hint"]) == (
        "other_effect",
        'send "other_effect": true if that is meant',
    )
    nobody = owner("POST", "/bindings", {"subject_kind": "team", "subject": "red", "bundle": "base"})
    assert nobody.problem(409) == "nobody_in_team"
    other = owner("POST", "/bindings", {"subject_kind": "organization", "subject": "acme", "bundle": "base"})
    assert other.problem(422) == "invalid_subject"
    unknown = owner("POST", "/bindings", {"subject_kind": "agent", "subject": "bot", "bundle": "bass"})
    assert unknown.problem(422) == "unknown_bundle"
    assert unknown.json["hint"].endswith("; did you mean `base`?")  # after the missing step
    assert [each["id"] for each in owner("GET", "/bindings", agent="bot").ok()["items"]] == [made["id"]]
    assert owner("DELETE", f"/bindings/{made['id']}").ok()["id"] == made["id"]
    assert owner("DELETE", f"/bindings/{made['id']}").problem(404) == "unknown_binding"
    assert owner("GET", "/bindings").ok() == {"items": [], "next": None}


@pytest.mark.slow
def test_limits(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    wanted = {"subject_kind": "agent", "subject": "bot", "limit": "requests_per_minute", "value": 5}
    made = owner("POST", "/limits", wanted).ok(201)
    assert owner("POST", "/limits", wanted).problem(409) == "limit_exists"
    assert owner("POST", "/limits", wanted | {"limit": "request_per_minute"}).problem(422) == "unknown_limit"
    raised = owner("POST", f"/limits/{made['id']}/raise", {"value": 9, "for_seconds": 60, "reason": "launch"}).ok()
    assert (raised["raised"], raised["reason"]) == (9, "launch")
    assert owner("POST", f"/limits/{made['id']}/raise", {"value": 9, "for_seconds": 60}).problem(404)
    assert owner("DELETE", f"/limits/{raised['id']}").ok()["value"] == 5
    assert owner("GET", "/limits").ok()["items"] == []


@pytest.mark.slow
def test_upstreams_never_show_their_secrets(control: Control, owner: Client) -> None:
    secret = "sk-" + "s3cr3t" * 5
    made = owner("POST", "/upstreams", {"name": "openai", "provider": "openai", "secret": secret})
    assert (made.ok(201)["has_secret"], made.headers["etag"]) == (True, '"1-default"')
    body = {"provider": "openai", "secret": secret + "x"}
    assert owner("PUT", "/upstreams/openai", body).problem(428) == "if_match_required"
    assert owner("PUT", "/upstreams/openai", body, headers={"if-match": '"1"'}).problem(412)
    assert owner("PUT", "/upstreams/openai", body, headers={"if-match": '"1-default"'}).ok()["version"] == 2
    assert owner("PUT", "/upstreams/opena", body, headers={"if-match": "*"}).problem(404) == "unknown_upstream"
    assert owner("POST", "/upstreams", {"name": "x", "provider": "openai"}).problem(422) == "invalid_body"
    bad = owner("POST", "/upstreams", {"name": "x", "provider": "openai", "secret": "two words s3cr3t"})
    assert bad.problem(422) == "invalid_body"
    assert b"s3cr3t" not in bad.raw
    clear = {"name": "x", "provider": "vllm", "base_url": "http://example.com/v1", "secret": None}
    assert owner("POST", "/upstreams", clear).problem(422) == "insecure_url"
    for reply in (made, owner("GET", "/upstreams"), owner("GET", "/upstreams/openai")):
        assert b"s3cr3t" not in reply.raw
    assert "s3cr3t" not in repr(recorded(control.home))
    assert owner("DELETE", "/upstreams/openai").ok()["name"] == "openai"


@pytest.mark.slow
def test_routes(owner: Client) -> None:
    for name in ("openai", "groq"):
        owner("POST", "/upstreams", {"name": name, "provider": name, "secret": "sk-1"}).ok(201)
    members = [{"upstream": "openai", "weight": 3}, {"upstream": "groq", "tier": 2, "models": {"a": "b"}}]
    made = owner("POST", "/routes", {"name": "chat", "members": members})
    assert [each["tier"] for each in made.ok(201)["members"]] == [1, 2]
    assert owner("POST", "/routes", {"name": "chat", "members": members}).problem(409) == "route_exists"
    unknown = owner("POST", "/routes", {"name": "c2", "members": [{"upstream": "grok"}]})
    assert (unknown.problem(422), unknown.json["hint"]) == ("unknown_upstream", "did you mean `groq`?")
    replaced = owner("PUT", "/routes/chat", {"members": members[:1]}, headers={"if-match": '"1"'})
    assert len(replaced.ok()["members"]) == 1
    assert owner("DELETE", "/routes/chat").ok()["version"] == 2
    assert owner("GET", "/routes/chat").problem(404) == "unknown_route"


def test_a_token_is_revoked_by_all_of_its_text(control: Control, owner: Client) -> None:
    made = owner("POST", "/operators/olga/tokens").ok(201)
    for name in (made["token"], made["token_id"], made["token_id"].removeprefix("aig_op_")):
        ended = owner("POST", f"/operators/olga/tokens/{name}/revoke").ok()
        assert (ended["id"], ended["status"]) == (made["id"], "revoked")


@pytest.mark.slow
def test_operators_and_their_tokens(control: Control, owner: Client) -> None:
    made = owner("POST", "/operators", {"name": "vera", "role": "viewer"}, organization=ORG).ok(201)
    assert made["organization"] == ORG
    token = owner("POST", f"/operators/{made['id']}/tokens", {"expires_in": 60}, organization=ORG).ok(201)
    vera = control.client(token["token"])
    assert vera("GET", "/me").ok()["token"]["id"] == token["id"]
    assert vera("POST", "/agents", {"name": "bot"}).problem(403) == "forbidden"
    patched = owner("PATCH", "/operators/vera", {"role": "admin"}, headers={"if-match": '"1"'}, organization=ORG)
    assert patched.ok()["role"] == "admin"
    assert vera("POST", "/agents", {"name": "bot"}).ok(201)["organization"] == ORG
    listed = owner("GET", "/operators/vera/tokens", organization=ORG).ok()["items"]
    assert "token" not in listed[0]
    path = f"/operators/vera/tokens/{token['id']}/revoke"
    assert owner("POST", path, organization=ORG).ok()["status"] == "revoked"
    assert vera("GET", "/me").problem(401) == "bad_credentials"
    assert owner("POST", "/operators/vera/revoke", organization=ORG).ok()["status"] == "revoked"
    assert [each["name"] for each in owner("GET", "/operators").ok()["items"]] == ["olga"]
    assert token["token"].split("_")[3] not in repr(recorded(control.home))


@pytest.mark.slow
def test_organizations(control: Control, owner: Client) -> None:
    assert owner("POST", "/organizations", {"name": "acme"}).ok(201)["agents"] == 0
    assert owner("POST", "/agents", {"name": "bot"}, organization="acme").ok(201)["organization"] == "acme"
    assert [each["name"] for each in owner("GET", "/organizations").ok()["items"]] == ["acme", ORG]
    assert owner("GET", "/organizations/acme").ok()["agents"] == 1
    for act, status in (("suspend", "suspended"), ("resume", "active")):
        assert owner("POST", f"/organizations/acme/{act}").ok()["status"] == status
    patch = {"review_days": 90, "reason": "policy"}
    assert owner("PATCH", "/organizations/acme", patch).problem(428) == "if_match_required"
    assert owner("PATCH", "/organizations/acme", patch, headers={"if-match": '"1"'}).problem(412) == "changed_meanwhile"
    tag = owner("GET", "/organizations/acme").headers["etag"]
    changed = owner("PATCH", "/organizations/acme", patch, headers={"if-match": tag})
    assert (tag, changed.ok()["review_days"], changed.headers["etag"]) == ('"3"', 90, '"4"')
    assert owner("PATCH", "/organizations/acme", {}, headers={"if-match": "*"}).ok() == changed.json
    assert owner("PATCH", "/organizations/acme", {}, headers={"if-match": tag}).problem(412) == "changed_meanwhile"
    bad = owner("PATCH", "/organizations/acme", {"review_days": -1}, headers={"if-match": "*"})
    assert bad.problem(422) == "invalid_review_days"
    never = owner("PATCH", "/organizations/acme", {"review_days": None}, headers={"if-match": "*"})
    assert never.ok()["review_days"] is None
    strict = owner("PATCH", "/organizations/acme", {"suspend_after_days": 14}, headers={"if-match": "*"})
    assert (strict.ok()["review_days"], strict.ok()["suspend_after_days"]) == (None, 14)
    bad = owner("PATCH", "/organizations/acme", {"suspend_after_days": 367}, headers={"if-match": "*"})
    assert bad.problem(422) == "invalid_suspend_after"
    with control.home.registry.write() as session:
        session.connection().exec_driver_sql("UPDATE agent SET created_ns = 1")
    early = owner("PATCH", "/organizations/acme", {"review_days": 90}, headers={"if-match": "*"})
    assert early.problem(409) == "would_suspend"
    assert early.json["hint"] == 'review them first, or send "suspend_now": true if that is meant'
    meant = {"review_days": 90, "suspend_now": True}
    assert owner("PATCH", "/organizations/acme", meant, headers={"if-match": "*"}).ok()["review_days"] == 90
    bot = owner("GET", "/agents", status="suspended", organization="acme").ok()["items"][0]
    assert (bot["name"], bot["status"], bot["suspends"][:7]) == ("bot", "suspended", "1970-04")
    assert owner("POST", f"/agents/{bot['id']}/resume", organization="acme").problem(409) == "review_overdue"
    assert owner("POST", f"/agents/{bot['id']}/review", organization="acme").ok()["status"] == "suspended"
    assert owner("POST", f"/agents/{bot['id']}/resume", organization="acme").ok()["status"] == "active"
    off = {"review_days": None, "suspend_after_days": None}
    assert owner("PATCH", "/organizations/acme", off, headers={"if-match": "*"}).ok()["suspend_after_days"] is None
    moved = owner("PATCH", "/organizations/acme", {"zone": "Europe/Zurich"}, headers={"if-match": "*"})
    assert (moved.ok()["zone"], moved.json["review_days"]) == ("Europe/Zurich", None)
    bad = owner("PATCH", "/organizations/acme", {"zone": "Europe/Zurch"}, headers={"if-match": "*"})
    assert bad.problem(422) == "invalid_zone"
    assert owner("PATCH", "/organizations/acme", {"zone": None}, headers={"if-match": "*"}).ok()["zone"] == "UTC"
    admin = control.operator("adam", "admin", organization="acme")
    assert admin("PATCH", "/organizations/acme", patch, headers={"if-match": "*"}).problem(403) == "forbidden"
    acme = control.operator("ann", organization="acme")
    assert acme("PATCH", f"/organizations/{ORG}", patch, headers={"if-match": "*"}).problem(404)
    assert acme("POST", f"/organizations/{ORG}/suspend").problem(404) == "unknown_organization"
    assert acme("POST", "/organizations/acme/suspend").ok()["status"] == "suspended"
    assert acme("POST", "/organizations", {"name": "evil"}).problem(403) == "forbidden"


@pytest.mark.slow
def test_audit_entries(control: Control, owner: Client) -> None:
    for name in ("one", "two", "three"):
        owner("POST", "/agents", {"name": name}).ok(201)
    page = owner("GET", "/audit/entries", limit="2", kind="change").ok()
    assert [each["entry"]["agent_name"] for each in page["items"]] == ["two", "three"]
    assert owner("GET", "/audit/entries", cursor=page["next"]).ok()["items"] == []
    owner("POST", "/agents", {"name": "four"}).ok(201)
    fresh = owner("GET", "/audit/entries", cursor=page["next"]).ok()["items"]
    assert [each["entry"]["agent_name"] for each in fresh] == ["four"]
    assert owner("GET", "/audit/entries", organization="system").ok()["items"]
    owner("POST", "/keys", {"agent": "one", "expires_in": 60}).ok(201)
    (newest,) = owner("GET", "/audit/entries", limit="1").ok()["items"]
    assert newest["entry"] == recorded(control.home)[-1]
    assert newest["entry"]["expires_ns"].isdecimal()


@pytest.mark.slow
@pytest.mark.parametrize("query", [{"at": "yesterday"}, {"nonsense": "1"}, {"at": "2026-01-01T00:00:00"}])
def test_parameters_that_make_no_sense_are_named(owner: Client, query: dict[str, str]) -> None:
    refused = owner("GET", "/agents/bot", **query)
    assert refused.problem(400) == "invalid_parameter"
    assert refused.json["errors"][0]["parameter"] == next(iter(query))


def test_a_revoked_name_comes_back_only_if_that_is_said(control: Control) -> None:
    owner = control.operator("owner")
    made = owner("POST", "/agents", {"name": "bot"}).ok(201)
    owner("POST", f"/agents/{made['id']}/revoke", {}).ok()
    assert owner("POST", "/agents", {"name": "bot"}).problem(409) == "name_revoked"
    document = {"v": 1, "agents": [{"name": "bot"}]}
    assert owner("POST", "/fleet/plan", {"document": document}).problem(422) == "invalid_fleet"
    planned = owner("POST", "/fleet/plan", {"document": document, "replace_revoked": True}).ok()
    assert [each["name"] for each in planned["steps"]] == ["bot"]
    assert owner("POST", "/agents", {"name": "bot", "replace_revoked": True}).ok(201)["status"] == "active"
