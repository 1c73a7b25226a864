"""Rights: tokens, roles, scopes, and what one organization's operator learns of another."""

from __future__ import annotations

import pytest

from gateway.control import gate
from gateway.control.gate import Failures
from gateway.control.problems import Problem
from gateway.control.server import ControlApi
from gateway.errors import GatewayError
from gateway.identity import operator_roles
from gateway.identity.credentials import generate
from gateway.registry.operators import operators
from gateway.registry.organizations.changes import create_organization
from gateway.registry.secret_keys import peppers
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control, elsewhere


def test_wrong_tokens_get_one_answer(control: Control, owner: Client) -> None:
    control.home.agent("bot")
    assert owner.token is not None
    revoked = control.operator("rita")
    operators.revoke_operator(control.home.registry, actor=ACTOR, organization=None, operator="rita")
    expired = control.operator("erik", lifetime_ns=1)
    other_secret = generate("operator").text
    answers = {
        client("GET", "/me").raw for client in (revoked, expired, control.client(other_secret, address="198.51.100.7"))
    }
    assert len(answers) == 1
    missing = control.client(None, address="198.51.100.8")("GET", "/me")
    assert (missing.problem(401), missing.headers["www-authenticate"][:6]) == ("bad_credentials", "Bearer")
    key = control.client(control.home.key("bot"), address="198.51.100.9")("GET", "/agents")
    assert key.problem(401) == "bad_credentials"
    lowly = owner("GET", "/me", headers={"authorization": f"bearer {owner.token}"})
    assert lowly.ok()["name"] == "olga"
    # In another header, or in the URL, it is none.
    for more in ({"headers": {"x-api-key": owner.token}}, {"token": owner.token}):
        assert control.client(None, address="198.51.100.10")("GET", "/me", **more).problem(401)


@pytest.mark.slow
def test_an_address_that_fails_often_is_refused_but_not_its_operator(control: Control, owner: Client) -> None:
    owner("GET", "/me").ok()
    wrong = control.client(generate("operator").text, address=owner.address)
    statuses = [wrong("GET", "/me").status for _ in range(gate.FAILURES + 3)]
    assert statuses == [401] * gate.FAILURES + [429] * 3
    assert int(wrong("GET", "/me").headers["retry-after"]) >= 1
    owner("GET", "/me").ok()
    # Another token of the same operator was never right from here.
    assert control.operator("oscar")("GET", "/me").status == 429
    assert control.client(owner.token, address="198.51.100.1")("GET", "/me").status == 200


def test_failures_are_forgotten() -> None:
    now = [0.0]
    failures = Failures(lambda: now[0])
    for _ in range(gate.FAILURES):
        failures.count("2001:db8::1")
    with pytest.raises(Problem):
        failures.check("2001:db8::ffff", b"")  # the same customer
    failures.check("2001:db8:1::1", b"")
    now[0] = gate.WINDOW_SECONDS
    failures.check("2001:db8::1", b"")
    failures.count("2001:db8::1")
    failures.check("2001:db8::1", b"")


@pytest.mark.slow
@pytest.mark.parametrize("role", operator_roles.ROLES)
def test_roles(control: Control, role: str) -> None:
    control.home.agent("bot")
    client = control.operator("x", role, ORG)
    reads = {"/agents": 200, "/operators": 200, "/audit/entries": 200}
    if role == "viewer":
        reads |= {"/operators": 403, "/audit/entries": 403}
    assert {path: client("GET", path).status for path in reads} == reads
    changes_things = role in ("owner", "admin")
    assert client("POST", "/keys", {"agent": "bot"}).status == (201 if changes_things else 403)
    adds = client("POST", "/operators", {"name": "y", "role": "owner"}).status
    assert adds == (201 if role == "owner" else 403)


@pytest.mark.slow
def test_scopes_of_tokens(control: Control) -> None:
    client = control.operator(scopes=["agents:write", "operators:write"])
    client("POST", "/agents", {"name": "bot"}).ok(201)
    client("GET", "/agents").ok()
    assert client("POST", "/keys", {"agent": "bot"}).problem(403) == "token_scope"
    assert client("GET", "/teams").problem(403) == "token_scope"
    assert client("POST", "/operators/olga/tokens", {}).problem(403) == "token_scope"
    assert client("POST", "/operators/olga/tokens", {"scopes": ["agents:read", "read"]}).problem(403) == "token_scope"
    client("POST", "/operators/olga/tokens", {"scopes": ["agents:read"]}).ok(201)


def test_a_token_makes_none_that_outlives_it(control: Control) -> None:
    """Otherwise a token that was stolen, or somebody who may log in no longer, would make itself one for ever."""
    client = control.operator(lifetime_ns=3600 * 10**9)
    mine = client("GET", "/me").ok()["token"]["expires"]
    for lifetime in ({}, {"expires_in": None}, {"expires_in": 3601}):
        refused = client("POST", "/operators/olga/tokens", lifetime)
        assert refused.problem(403) == "token_outlives_maker"
        assert "which ends in 3" in refused.json["detail"]
        assert "expires_in" in refused.json["hint"]
    assert client("POST", "/operators/olga/tokens", {"expires_in": 3590}).ok(201)["expires"] < mine
    assert len(client("GET", "/operators/olga/tokens").ok()["items"]) == 2
    forever = control.operator("emil")
    assert forever("POST", "/operators/olga/tokens", {}).ok(201)["expires"] is None


@pytest.fixture
def acme(control: Control) -> Client:
    """An operator of another organization, which has one of everything."""
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    control.home.activate("base")
    client = control.operator("ann", organization="acme")
    client("POST", "/agents", {"name": "secret-bot", "team": "secret-team"}).ok(201)
    client("POST", "/upstreams", {"name": "secret-up", "provider": "openai", "secret": "sk-1"}).ok(201)
    client("POST", "/routes", {"name": "secret-route", "members": [{"upstream": "secret-up"}]}).ok(201)
    return client


def test_what_is_another_organizations_is_like_what_is_not_there(control: Control, acme: Client) -> None:
    mine = control.operator("dora", organization=ORG)
    agent = acme("GET", "/agents/secret-bot").ok()["id"]
    key = acme("POST", "/keys", {"agent": agent}).ok(201)
    binding = acme("POST", "/bindings", {"subject_kind": "agent", "subject": agent, "bundle": "base"}).ok(201)["id"]
    wanted = {"subject_kind": "agent", "subject": agent, "limit": "requests_per_day", "value": 1}
    limit = acme("POST", "/limits", wanted).ok(201)["id"]
    ann = acme("GET", "/me").ok()["id"]
    star = {"if-match": "*"}
    for method, path, body in (
        ("GET", "/agents/{}", None),
        ("PATCH", "/agents/{}", {"owner": "x"}),
        ("POST", "/agents/{}/revoke", {}),
        ("GET", "/agents/{}/versions", None),
    ):
        theirs = mine(method, path.format(agent), body, headers=star)
        absent = mine(method, path.format("agt_01938c5e-0000-7000-8000-000000000000"), body, headers=star)
        assert theirs.problem(404) == absent.problem(404) == "unknown_agent"
        assert theirs.raw.replace(agent.encode(), b"") == absent.raw.replace(
            b"agt_01938c5e-0000-7000-8000-000000000000", b""
        )
    for path in (f"/keys/{key['id']}", f"/keys/{key['key_id']}", f"/bindings/{binding}", f"/limits/{limit}",
                 "/upstreams/secret-up", "/routes/secret-route", "/teams/secret-team", f"/operators/{ann}",
                 "/organizations/acme"):  # fmt: skip
        assert mine("GET", path).problem(404).startswith("unknown_"), path
    assert mine("GET", "/agents", organization="acme").problem(404) == "unknown_organization"
    assert mine("GET", "/agents", organization="acme").raw == mine("GET", "/agents", organization="acmx").raw.replace(
        b"acmx", b"acme"
    )
    assert mine("GET", "/audit/entries", organization="system").problem(404) == "unknown_organization"
    assert mine("POST", "/keys", {"agent": agent}).problem(422) == "unknown_agent"
    assert mine("POST", "/agents", {"name": "b", "parent": agent}).problem(422) == "unknown_agent"
    assert mine("POST", "/routes", {"name": "r", "members": [{"upstream": "secret-up"}]}).problem(422)
    cursor = acme("GET", "/audit/entries").ok()["next"]
    assert mine("GET", "/audit/entries", cursor=cursor).problem(400) == "invalid_cursor"


@pytest.mark.slow
def test_a_hash_moves_to_the_newest_pepper(control: Control) -> None:
    home = control.home
    client = control.operator()
    peppers.add(home.registry, home.data.keys, ACTOR)
    (first, second) = peppers.uses(home.registry, home.data.keys)
    assert (first.keys, second.keys) == (1, 0)
    with pytest.raises(GatewayError, match="hashed under pepper 1"):
        peppers.remove(home.registry, home.data.keys, ACTOR, 1)
    api = ControlApi.open(elsewhere, home.data, "1.2.3")  # as after a restart
    try:
        for _ in range(2):
            Client(api, client.token)("GET", "/me").ok()
    finally:
        api.close()
    assert [each.keys for each in peppers.uses(home.registry, home.data.keys)] == [0, 1]
