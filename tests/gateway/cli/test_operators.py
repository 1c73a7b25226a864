"""`gateway operators`: the first operator, tokens, and what typing errors get."""

from __future__ import annotations

import json

import pytest

from gateway.identity.credentials import parse
from tests.gateway.conftest import Run


@pytest.mark.slow
def test_the_first_operator_and_a_token(at: Run) -> None:
    added = at("operators", "add", "olga", "--role", "owner", "--reason", "first")
    assert added.out.startswith("added owner olga (opr_")
    assert "gateway operators token create olga" in added.err
    made = at("operators", "token", "create", "olga", "--expires", "30d", "--scope", "agents:write", "--scope", "read")
    token = parse(made.out.strip())
    assert token is not None
    assert token.kind == "operator"
    shown = at("operators", "show", "olga", "--json").json
    assert [each["scopes"] for each in shown["tokens"]] == [["agents:write", "read"]]
    assert made.out.strip() not in str(shown)
    assert "is now auditor" in at("operators", "update", "olga", "--role", "auditor").out
    assert at("operators", "update", "olga", "--role", "auditor").out == "operator olga has the role auditor already\n"
    assert at("operators", "token", "revoke", made.out[:19]).out.startswith("revoked token aig_op_")
    assert at("operators", "revoke", "olga").out.startswith("revoked operator olga")
    assert [each["status"] for each in at("operators", "list", "--json").json] == ["revoked"]
    whats = [
        json.loads(line)["entry"]["what"] for line in at("audit", "list", "--org", "system", "--json").out.splitlines()
    ]
    assert whats[-5:] == [
        "operator.added",
        "operator_token.created",
        "operator.updated",
        "operator_token.revoked",
        "operator.revoked",
    ]


@pytest.mark.slow
def test_mistakes(at: Run) -> None:
    at("operators", "add", "olga", "--role", "owner")
    assert "owner" in at("operators", "add", "x", "--role", "boss").complains(2)
    assert "operator `olga` exists already" in at("operators", "add", "olga", "--role", "admin").complains()
    assert "did you mean `olga`?" in at("operators", "show", "olgga").complains()
    assert (
        "did you mean `agents:write`?"
        in at("operators", "token", "create", "olga", "--scope", "agent:write").complains()
    )
    assert "unknown organization" in at("operators", "add", "y", "--role", "owner", "--org", "acme").complains()
    assert "unknown token" in at("operators", "token", "revoke", "otk_x").complains()
