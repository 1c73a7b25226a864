"""A fleet file over the control API: who may apply what, which plan, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from sqlmodel import select

from gateway.identity import credentials
from gateway.registry.fleet import posted
from gateway.registry.models import RepeatableRequest
from gateway.registry.organizations.changes import create_organization
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control
from tests.rigs.control.fleet import FLEET, SECRET, agents, body

ANY = {"if-match": "*"}


@pytest.mark.slow
def test_the_plan_that_was_shown_is_applied_or_none(control: Control, owner: Client) -> None:
    planned = owner("POST", "/fleet/plan", body())
    assert [f"{each['action']} {each['noun']} {each['name']}" for each in planned.ok()["steps"]] == [
        "add team support",
        "add team sales",
        "add upstream openai",
        "add agent lead",
        "add agent helper",
        "add limit requests_per_day of team sales",
    ]
    assert (planned.json["applied"], agents(control)) == (False, set())
    tag = {"if-match": planned.headers["etag"]}
    assert owner("POST", "/fleet/apply", body()).problem(428) == "if_match_required"
    # Neither another file nor another registry is what was shown, and no other secret.
    for other in (
        body({**FLEET, "teams": [{"name": "support", "owner": "sam"}]}),
        body(secrets={"openai": "sk-another"}),
        body(prune=True),
    ):
        assert owner("POST", "/fleet/apply", other, headers=tag).problem(412) == "changed_meanwhile"
    owner("POST", "/teams", {"name": "sales"}).ok(201)
    assert owner("POST", "/fleet/apply", body(), headers=tag).problem(412) == "changed_meanwhile"
    assert agents(control) == set()
    tag = {"if-match": owner("POST", "/fleet/plan", body()).headers["etag"]}
    done = owner("POST", "/fleet/apply", body(), headers=tag).ok()
    assert (done["applied"], len(done["steps"]), agents(control)) == (True, 5, {"lead", "helper"})
    assert owner("POST", "/fleet/apply", body(), headers=ANY).ok()["steps"] == []
    entries = owner("GET", "/audit/entries", limit="500").ok()["items"]
    made = [each["entry"] for each in entries if each["entry"].get("reason") == "a test"]
    assert len(made) == 5
    assert all(each["actor"].startswith("operator:opr_") for each in made)
    exported = owner("GET", "/fleet").ok()
    assert owner("POST", "/fleet/apply", {"document": exported, "prune": True}, headers=ANY).ok()["steps"] == []
    assert SECRET not in str(exported)


def test_each_step_needs_the_right_to_take_it(control: Control, owner: Client) -> None:
    may = control.operator("ci", "admin", scopes=["agents:write"])
    only = {"v": 1, "agents": FLEET["agents"]}
    # The operator must be able to read what it compares with, and to change what it changes, before anything is done.
    for path in ("/fleet/plan", "/fleet/apply"):
        assert may("POST", path, body(), headers=ANY).problem(403) == "token_scope"
    for document in (
        {**only, "limits": [{"organization": True, "limit": "requests_per_day", "value": 5}]},
        {**only, "upstreams": [{"name": "local", "key": {"none": True}, "base_url": "https://x.example"}]},
        {**only, "settings": {"zone": "Europe/Zurich"}},
        {**only, "teams": [{"name": "support", "owner": "sam"}]},
    ):
        reader = control.operator(f"r{len(document)}{list(document)[-1]}", scopes=["read", "agents:write"])
        assert reader("POST", "/fleet/plan", {"document": document}).ok()["steps"]
        refused = reader("POST", "/fleet/apply", {"document": document}, headers=ANY)
        assert (refused.problem(403), "may not change" in refused.json["detail"]) == ("token_scope", True)
    refused = may("POST", "/fleet/apply", {"document": only, "keys": {}}, headers=ANY)
    assert (refused.problem(403), refused.json["detail"]) == (
        "token_scope",
        "this token is for agents:write: it may not read keys",
    )
    assert agents(control) == set()
    # A team is made because an agent is in it, as when one agent is registered.
    assert len(may("POST", "/fleet/apply", {"document": only}, headers=ANY).ok()["steps"]) == 4
    assert may("GET", "/fleet").problem(403) == "token_scope"
    viewer = control.operator("vera", "viewer")
    assert viewer("GET", "/fleet").ok()["organization"] == ORG
    assert viewer("POST", "/fleet/plan", {"document": only}).ok()["steps"] == []
    more = {**only, "agents": [*only["agents"], {"name": "third"}]}
    assert viewer("POST", "/fleet/apply", {"document": more}, headers=ANY).problem(403) == "forbidden"
    admin = control.operator("anna", "admin")
    settings = {"document": {"v": 1, "settings": {"zone": "Europe/Zurich"}}}
    assert admin("POST", "/fleet/apply", settings, headers=ANY).problem(403) == "forbidden"


@pytest.mark.slow
def test_who_only_reads_finds_out_no_secret(control: Control, owner: Client) -> None:
    owner("POST", "/fleet/apply", body(), headers=ANY).ok()
    viewer = control.operator("vera", "viewer")
    for client, told in ((owner, [["another key"]]), (viewer, [])):
        planned = client("POST", "/fleet/plan", body(secrets={"openai": "sk-a-guess"})).ok()["steps"]
        assert [each["changes"] for each in planned] == told
        assert client("POST", "/fleet/plan", body()).ok()["steps"] == []
        none = {"document": {"v": 1, "upstreams": [{"name": "openai", "key": {"none": True}}]}}
        assert [each["changes"] for each in client("POST", "/fleet/plan", none).ok()["steps"]] == (
            [["no key"]] if client is owner else []
        )


@pytest.mark.slow
def test_an_operator_of_an_organization_changes_that_one(control: Control, owner: Client) -> None:
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    acme = control.operator("anna", "owner", "acme")
    for document in ({"v": 1, "organization": ORG, "agents": [{"name": "a"}]},):
        for path in ("/fleet/plan", "/fleet/apply"):
            assert acme("POST", path, {"document": document}, headers=ANY).problem(422) == "invalid_organization"
    assert acme("GET", "/fleet", organization=ORG).problem(404) == "unknown_organization"
    for base_url in ("http://10.0.0.1/v1", "https://10.0.0.1/v1", "https://vault/v1"):
        inside = {"v": 1, "upstreams": [{"name": "in", "base_url": base_url, "key": {"none": True}, "insecure": True}]}
        for path in ("/fleet/plan", "/fleet/apply"):
            assert acme("POST", path, {"document": inside}, headers=ANY).problem(403) == "forbidden"
        assert owner("POST", "/fleet/plan", {"document": inside}).ok()["steps"]
    done = acme("POST", "/fleet/apply", body(), headers=ANY).ok()
    assert (done["organization"], agents(control, "acme"), agents(control)) == ("acme", {"lead", "helper"}, set())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"agents": [{"name": "a"}, {"name": "a"}]}, "this was said in {first} already"),
        ({"agents": [{"name": "a"}, {"name": "a", "parent": "b"}]}, "this was said in {first} already"),
        ({"agents": [{"name": "a"}, {"name": "b", "parent": "c"}]}, "agent b: its parent `c` is no agent"),
        ({"agents": [{"name": "a"}, {"name": "b", "onwer": "c"}]}, "agents[1]: unknown member `onwer`"),
        (
            {"agents": [{"name": "a"}, {"name": "b", "review_days": 5.0}]},
            "agents.1.review_days: must be a whole number",
        ),
        ({"agents": [{"name": "a"}, {"name": "b"}], "bindings": []}, ""),
    ],
)
@pytest.mark.slow
def test_mistakes_are_told_by_place_or_line(owner: Client, change: dict[str, Any], message: str) -> None:
    document = {"v": 1, **change}
    for lines, first, where in (
        (None, "/document/agents/0", {"pointer": "/document/agents/1"}),
        ({"agents": [7, 9]} | {name: [] for name in change if name != "agents"}, "line 7", {"line": 9}),
    ):
        reply = owner("POST", "/fleet/apply", {"document": document, "lines": lines}, headers=ANY)
        if not message:
            assert reply.ok()["applied"]
            continue
        assert reply.problem(422) == "invalid_fleet"
        [error] = reply.json["errors"]
        assert error["message"].startswith(message.format(first=first)), error
        at = {
            name: str(value)[: len(str(where[name]))] if name == "pointer" else value
            for name, value in error.items()
            if name != "message"
        }
        assert at == where
    wrong = owner("POST", "/fleet/plan", {"document": document, "lines": {"agents": [1]}})
    assert wrong.status == 422


@pytest.mark.slow
def test_a_repeated_request_is_carried_out_once(control: Control, owner: Client) -> None:
    made = {"lead": credentials.generate("agent").text, "helper": credentials.generate("agent").text}
    sent = {**ANY, "idempotency-key": "one"}
    done = owner("POST", "/fleet/apply", body(keys=made), headers=sent).ok()
    assert [each["agent"] for each in done["keys"]] == ["lead", "helper"]
    again = owner("POST", "/fleet/apply", body(keys=made), headers=sent)
    assert (again.ok(), again.headers["idempotency-replayed"]) == (done, "true")
    assert owner("POST", "/fleet/apply", body(), headers=sent).problem(422) == "idempotency_mismatch"
    [listed] = owner("GET", "/keys", agent="lead").ok()["items"]
    assert listed["id"] == done["keys"][0]["id"]
    assert made["lead"].startswith(listed["key_id"])
    with control.home.registry.read() as session:
        kept = b"".join(each.answer or b"" for each in session.exec(select(RepeatableRequest)))
    assert b"support" in kept
    assert not [each for each in (SECRET, *made.values()) if each.encode() in kept]


@pytest.mark.slow
def test_keys_are_new_and_for_those_that_have_none(control: Control, owner: Client) -> None:
    document = {"v": 1, "agents": [{"name": "lead"}, {"name": "helper"}]}
    keys = [credentials.generate(kind).text for kind in ("agent", "agent", "operator")]
    taken = control.home.key(control.home.agent("other"))
    for given in (
        {},
        {"lead": keys[0]},
        {"lead": keys[0], "helper": keys[1], "third": keys[1]},
        {"lead": keys[0], "helper": keys[0]},
        {"lead": keys[0], "helper": keys[2]},
        {"lead": keys[0], "helper": keys[1][:-1] + "!"},
        {"lead": keys[0], "helper": taken},
    ):
        refused = owner("POST", "/fleet/apply", {"document": document, "keys": given}, headers=ANY)
        assert refused.problem(422) == "invalid_key", given
        assert not [each for each in [*keys, taken] if each in refused.raw.decode()]
    assert agents(control) == {"other"}
    owner(
        "POST", "/fleet/apply", {"document": document, "keys": {"lead": keys[0], "helper": keys[1]}}, headers=ANY
    ).ok()
    planned = owner("POST", "/fleet/plan", {"document": document, "with_keys": True}).ok()
    assert planned["steps"] == []


@pytest.mark.slow
def test_a_fleet_may_be_larger_than_other_bodies(owner: Client) -> None:
    many = {"v": 1, "agents": [{"name": f"a-{number}", "labels": {"of": "x" * 200}} for number in range(1500)]}
    planned = owner("POST", "/fleet/plan", {"document": many, "rehearse": False}).ok()
    assert len(planned["steps"]) == 1500
    assert owner("POST", "/fleet/plan", raw=b" " * (posted.MAX_BYTES + 1)).problem(413) == "too_large"
    assert owner("POST", "/fleet/plan", raw=b"[" + b"0," * posted.MAX_VALUES + b"0]").status in (400, 413)
