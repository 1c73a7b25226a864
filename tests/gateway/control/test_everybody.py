"""Every operation of the API, asked by everybody: each role of the gateway and of an organization, tokens for less, and
those who have no token. The rights are written here once more, and not taken from the code.
"""

from __future__ import annotations

import re

import pytest

from gateway.control import operations
from gateway.control.operation import Operation
from gateway.registry.operators import operators
from tests.gateway.conftest import ACTOR, ORG
from tests.gateway.control.conftest import Client, Control

pytestmark = pytest.mark.slow

# Things of the whole gateway: operators of one organization have nothing to do with them.
EVERYBODYS = (
    "/audit/verification",
    "/login-providers",
    "/peers",
    "/peer-keys",
    "/token-keys",
    "/policies",
    "/vault",
    "/peppers",
)
OWNERS = ("organizations", "operators", "token-keys", "secret-keys", "content")
NOT_FOR_VIEWERS = ("operators", "secret-keys", "content", "audit")
# Everybody with a token may ask; the answer depends on what they may read, and has tests of its own.
FOR_ALL = ("me", "fleet")
ASKED = [each for each in operations.every() if not each.public and not each.streams and each.path != "/logout"]


def may(role: str, operation: Operation, writes: bool) -> bool:
    if operation.noun in FOR_ALL:
        return True
    if writes:
        return role == "owner" or (role == "admin" and operation.noun not in OWNERS)
    return role != "viewer" or operation.noun not in NOT_FOR_VIEWERS


def ask(client: Client, operation: Operation) -> int:
    """About things that are not there, with a body that is mostly incomplete: so nothing is changed."""
    path = re.sub(r"\{\w+\}", "nothing", operation.path)
    body = {} if operation.method in ("POST", "PUT", "PATCH") else None
    headers = {"if-match": "*"} if operation.if_match else {}
    return client(operation.method, path, body, headers=headers).status


def writes(operation: Operation) -> bool:
    return operation.method != "GET" and operation.path not in (
        "/fleet/plan",
        "/decide",
        "/audit/verification",
        "/policies/impact",
    )


@pytest.mark.parametrize("role", ["owner", "admin", "auditor", "viewer"])
def test_roles(control: Control, role: str) -> None:
    everywhere, mine = control.operator("all", role), control.operator("one", role, ORG)
    for operation in ASKED:
        allowed = may(role, operation, writes(operation))
        assert (ask(everywhere, operation) != 403) == allowed, operation.path
        reached = ask(mine, operation)
        if operation.path.startswith(EVERYBODYS):
            # 400 and 422: what is wrong with a body is told before it is looked at whose it is.
            assert reached in (400, 403, 422), operation.path
        else:
            assert (reached != 403) == allowed, operation.path


def test_tokens_for_less(control: Control) -> None:
    reader = control.operator("reader", scopes=["read"])
    narrow = control.operator("narrow", scopes=["teams:read"])
    writer = control.operator("writer", scopes=["teams:write"])
    for operation in ASKED:
        if operation.noun in FOR_ALL:
            continue
        assert (ask(reader, operation) == 403) == writes(operation), operation.path
        assert (ask(narrow, operation) != 403) == (operation.noun == "teams" and not writes(operation)), operation.path
        assert (ask(writer, operation) != 403) == (operation.noun == "teams"), operation.path


def test_who_has_no_token(control: Control) -> None:
    control.home.agent("bot")
    revoked, ended = control.operator("rita"), control.operator("otto")
    operators.revoke_operator(control.home.registry, actor=ACTOR, organization=None, operator="rita")
    (token,) = operators.tokens(control.home.registry, None, "otto")
    operators.revoke_token(control.home.registry, actor=ACTOR, organization=None, operator="otto", token=token.id)
    expired = control.operator("erik", lifetime_ns=1)
    texts = [None, control.home.key("bot"), revoked.token, ended.token, expired.token]
    for number, operation in enumerate(ASKED):
        for text in texts:  # an address may fail ten times in a minute
            assert ask(Client(control.api, text, f"198.51.{number}.1"), operation) == 401, operation.path


def test_a_dry_run_is_recorded_only_for_who_may_change_agents(control: Control) -> None:
    control.home.agent("bot")
    asked = {"agent": "bot", "call": {"action": "models.list"}}
    for role, status in (("viewer", 403), ("auditor", 403), ("admin", 200)):
        client = control.operator(role, role, ORG)
        assert client("POST", "/decide", asked).ok()["recorded"] is None
        assert client("POST", "/decide", asked | {"record": True}).status == status
    narrow = control.operator("narrow", scopes=["agents:read"])
    assert narrow("POST", "/decide", asked, organization=ORG).problem(403) == "token_scope"
