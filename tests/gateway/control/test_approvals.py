"""Approvals over the control API: who may see what, who may decide, and what the log has of it."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.approvals import batches
from gateway.audit import grants
from gateway.audit.entry import decode
from gateway.audit.log_files import opened_log
from gateway.policy.approvals import Requirement
from gateway.registry.organizations.changes import create_organization
from tests.gateway.approvals.asked import asked
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control


def ask(control: Control, *demanded: Requirement, body: bytes = b'{"model":"m"}') -> str:
    """A request for approval, as a worker makes it."""
    home, found = control.home, _agents(control)
    return asked(home, found[0] if found else home.agent("bot", owner="dana"), *demanded, body=body)


def _agents(control: Control) -> list[str]:
    with control.home.registry.read() as session:
        return list(session.connection().exec_driver_sql("SELECT id FROM agent").scalars())


def told(control: Control) -> list[str]:
    """What the log has of approvals, in order."""
    with opened_log(control.home.data) as log:
        found = log.execute("SELECT leaf FROM entry WHERE kind = 'change' ORDER BY id").fetchall()
    return [what for (leaf,) in found if (what := str(decode(leaf)["what"])).startswith("approval.")]


def test_an_admin_looks_and_approves(control: Control) -> None:
    request, olga = ask(control), control.operator("ada", "admin", ORG)
    (listed,) = olga("GET", "/approvals", state="waiting").ok()["items"]
    assert (listed["id"], listed["state"], listed["missing"]) == (request, "waiting", [1])
    assert "body" not in str(listed["call"])
    shown = olga("POST", f"/approvals/{request}/look").ok()
    assert (shown["body"], shown["headers"]) == ('{"model":"m"}', {"openai-beta": "x"})
    approved = olga("POST", f"/approvals/{request}/approve", {"reason": "fine"}).ok()
    assert (approved["state"], approved["reviews"][0]["name"]) == ("approved", "ada")
    assert told(control) == [grants.REQUESTED, grants.VIEWED, grants.REVIEWED, grants.DECIDED]
    assert olga("POST", f"/approvals/{request}/deny", {"reason": "no"}).problem(409) == "approval_settled"
    assert olga("POST", f"/approvals/{request}/revoke", {"reason": "oops"}).ok()["state"] == "revoked"
    assert olga("GET", "/approvals", state="waiting").ok()["items"] == []


def test_a_denial_needs_a_reason(control: Control, owner: Client) -> None:
    request = ask(control)
    assert owner("POST", f"/approvals/{request}/deny", {"reason": ""}).status == 422
    assert owner("POST", f"/approvals/{request}/deny", {"reason": "no"}).ok()["state"] == "denied"


@pytest.mark.parametrize(
    ("role", "token"),
    [
        ("viewer", {}),
        ("auditor", {}),
        ("owner", {"scopes": ["read"]}),
        ("admin", {"scopes": ["agents:write"]}),
    ],
)
def test_others_neither_look_nor_decide(control: Control, role: str, token: dict[str, Any]) -> None:
    request, other = ask(control), control.operator("vic", role, ORG, **token)
    for verb in ("look", "approve", "deny", "revoke"):
        body = None if verb == "look" else {"reason": "x"}
        assert other("POST", f"/approvals/{request}/{verb}", body).problem(403) in ("forbidden", "token_scope")
    assert set(told(control)) <= {grants.REQUESTED}


def test_another_organizations_owner_finds_nothing(control: Control) -> None:
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    request, eve = ask(control), control.operator("eve", "owner", "acme")
    assert eve("GET", "/approvals").ok()["items"] == []
    assert eve("GET", f"/approvals/{request}").problem(404) == "unknown_approval"
    assert eve("GET", f"/approvals/{request}", organization=ORG).status == 404
    for verb in ("look", "approve", "deny", "revoke"):
        body = None if verb == "look" else {"reason": "x"}
        assert eve("POST", f"/approvals/{request}/{verb}", body).problem(404) == "unknown_approval"
        assert eve("POST", f"/approvals/{request}/{verb}", body, organization=ORG).status == 404
    assert control.operator("ada", "admin", ORG)("GET", f"/approvals/{request}").ok()["state"] == "waiting"


def test_an_agents_key_opens_nothing(control: Control) -> None:
    request = ask(control)
    bot = control.client(control.home.key("bot"))
    assert bot("POST", f"/approvals/{request}/approve", {"reason": "please"}).problem(401) == "bad_credentials"


def test_pages_of_requests(control: Control, owner: Client) -> None:
    made = [ask(control, body=b'{"n":%d}' % number) for number in range(5)]
    first = owner("GET", "/approvals", limit="2").ok()
    second = owner("GET", "/approvals", limit="9", cursor=first["next"]).ok()
    assert [each["id"] for each in [*first["items"], *second["items"]]] == made[::-1]
    assert second["next"] is None


def test_an_admin_looks_and_approves_several(control: Control) -> None:
    olga = control.operator("ada", "admin", ORG)
    first, second, third = (ask(control, body=b'{"n":%d}' % number) for number in range(3))
    for each in (first, second):
        olga("POST", f"/approvals/{each}/look").ok()
    looked = {each["id"]: each["looked"] for each in olga("GET", "/approvals").ok()["items"]}
    assert looked == {first: True, second: True, third: False}
    assert control.operator("bea", "admin", ORG)("GET", f"/approvals/{first}").ok()["looked"] is False
    made = olga("POST", "/approvals/approve", {"approvals": [third, first], "reason": "fine"}).ok()["items"]
    assert [(each["id"], each["state"]) for each in made] == [(third, None), (first, "approved")]
    assert made[0]["refused"]["code"] == "not_looked_at"
    assert made[1]["refused"] is None
    denied = olga("POST", "/approvals/deny", {"approvals": [first, second, third], "reason": "no"}).ok()["items"]
    assert [each["refused"] and each["refused"]["code"] for each in denied] == ["approval_settled", None, None]
    reviewed = [grants.REVIEWED, grants.DECIDED]
    assert told(control) == [*[grants.REQUESTED] * 3, *[grants.VIEWED] * 2, *reviewed * 3]


def test_a_repeated_batch_is_answered_as_before(control: Control, owner: Client) -> None:
    requests = [ask(control, body=b'{"n":%d}' % number) for number in range(2)]
    body, key = {"approvals": requests, "reason": "no"}, {"idempotency-key": "once"}
    first = owner("POST", "/approvals/deny", body, headers=key).ok()
    assert owner("POST", "/approvals/deny", body, headers=key).ok() == first
    assert [each["state"] for each in first["items"]] == ["denied"] * 2


def test_all_that_wait_are_counted_and_denied(control: Control, owner: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "MOST", 2)
    requests = [ask(control, Requirement("big" if number else "small"), body=b"%d" % number) for number in range(6)]
    assert owner("GET", "/approvals/waiting", matching="small").ok()["count"] == 1
    found = owner("GET", "/approvals/waiting", matching="big").ok()
    assert (found["count"], found["agents"]) == (5, 1)
    late, cursor, denied = ask(control, Requirement("big")), found["cursor"], []
    while cursor:
        assert owner("GET", "/approvals/waiting", matching="big", cursor=cursor).ok()["count"] == 5 - len(denied)
        body = {"reason": "not today", "matching": "big", "cursor": cursor}
        reply = owner("POST", "/approvals/deny-all", body).ok()
        denied += [each["id"] for each in reply["items"] if each["state"] == "denied"]
        cursor = reply["next"]
    assert denied == requests[1:]
    left = {each["id"] for each in owner("GET", "/approvals", state="waiting").ok()["items"]}
    assert left == {requests[0], late}
    other = {"reason": "not today", "cursor": found["cursor"]}  # the cursor is for the choice that was counted
    assert owner("POST", "/approvals/deny-all", other).problem(400) == "invalid_cursor"
    assert owner("POST", "/approvals/deny-all", {"reason": "x", "agent": "nobody"}).problem(422) == "unknown_agent"


def test_batches_are_bounded_and_a_denial_says_why(control: Control, owner: Client) -> None:
    many = [f"apr_{number}" for number in range(101)]
    for body in ({"approvals": many}, {"approvals": []}, {}):
        for verb in ("approve", "deny"):
            assert owner("POST", f"/approvals/{verb}", {**body, "reason": "x"}).problem(422) == "invalid_body"
    assert len(owner("POST", "/approvals/deny", {"approvals": many[:100], "reason": "x"}).ok()["items"]) == 100
    for path, body in (("deny", {"approvals": ["apr_x"]}), ("deny-all", {})):
        for reason in ({}, {"reason": ""}):
            assert owner("POST", f"/approvals/{path}", {**body, **reason}).problem(422) == "invalid_body"
    assert owner("POST", "/approvals/deny-all", {"reason": "x"}).ok() == {"items": [], "next": None}


@pytest.mark.parametrize(("role", "token"), [("viewer", {}), ("auditor", {}), ("owner", {"scopes": ["read"]})])
def test_others_review_no_batch(control: Control, role: str, token: dict[str, Any]) -> None:
    request, other = ask(control), control.operator("vic", role, ORG, **token)
    for path, body in (("approve", {"approvals": [request]}), ("deny", {"approvals": [request]}), ("deny-all", {})):
        code = other("POST", f"/approvals/{path}", {**body, "reason": "x"}).problem(403)
        assert code in ("forbidden", "token_scope")
    assert other("GET", "/approvals/waiting").ok() == {"count": 0, "agents": 0, "cursor": None}


def test_batches_find_nothing_of_another_organization(control: Control) -> None:
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    request, eve = ask(control), control.operator("eve", "owner", "acme")
    for verb in ("approve", "deny"):
        (mine,) = eve("POST", f"/approvals/{verb}", {"approvals": [request], "reason": "x"}).ok()["items"]
        (nobodys,) = eve("POST", f"/approvals/{verb}", {"approvals": ["apr_x"], "reason": "x"}).ok()["items"]
        assert mine["refused"]["code"] == nobodys["refused"]["code"] == "unknown_approval"
    assert eve("GET", "/approvals/waiting").ok()["count"] == 0
    assert eve("POST", "/approvals/deny-all", {"reason": "x"}).ok()["items"] == []
    owner = control.operator("ada", "admin", ORG)
    cursor = owner("GET", "/approvals/waiting").ok()["cursor"]
    assert eve("POST", "/approvals/deny-all", {"reason": "x", "cursor": cursor}).problem(400) == "invalid_cursor"
    assert owner("GET", f"/approvals/{request}").ok()["state"] == "waiting"
