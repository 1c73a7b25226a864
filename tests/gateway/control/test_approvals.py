"""Approvals over the control API: who may see what, who may decide, and what the log has of it."""

from __future__ import annotations

from typing import Any

import pytest

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
