"""`gateway operators login-provider|login-rule|readmit`: what they do, and what typing errors get."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gateway.conftest import Run

ISSUER = ("--issuer", "https://login.acme.example", "--client-id", "gateway")


@pytest.mark.slow
def test_a_provider_and_its_rules(at: Run, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("the secret of a client\n")
    added = at("operators", "login-provider", "add", "acme", *ISSUER, "--client-secret-file", str(secret))
    assert added.out == "operators can log in with acme, for 8h at a time\n"
    assert "http://127.0.0.1/callback" in added.err
    rule = at("operators", "login-rule", "add", "acme", "--claim", "groups=platform", "--role", "admin", "--json").json
    assert (rule["organization"], rule["claims"]) == (None, {"groups": "platform"})
    made = at(
        "operators", "login-rule", "add", "acme", "--claim", "email=x@y.example", "--role", "viewer", "--org", "default"
    )
    assert "whoever has email=x@y.example at acme is viewer of organization default" in made.out
    shown = at("operators", "login-provider", "show", "acme", "--json").json
    assert (shown["has_secret"], len(shown["rules"])) == (True, 2)
    changed = at("operators", "login-provider", "update", "acme", "--session", "90m", "--no-client-secret")
    assert changed.out == "changed login provider acme (public, 90m)\n"
    removed = at("operators", "login-rule", "remove", rule["id"])
    assert removed.out.endswith("logins ended: 0\n")
    removed = at("operators", "login-provider", "remove", "acme", "--reason", "moved")
    assert removed.out == "removed login provider acme with its rules (1); logins ended: 0\n"
    whats = [
        (entry["org"], entry["what"])
        for line in at("audit", "list", "--kind", "change", "--json").out.splitlines()
        if (entry := json.loads(line)["entry"])["what"].startswith("login_")
    ]
    assert sorted(whats) == [
        ("default", "login_rule.added"),
        ("system", "login_provider.added"),
        ("system", "login_provider.removed"),
        ("system", "login_provider.updated"),
        ("system", "login_rule.added"),
        ("system", "login_rule.removed"),
    ]


@pytest.mark.slow
def test_mistakes(at: Run) -> None:
    provider = ("operators", "login-provider")
    rule = ("operators", "login-rule")
    plain = ("--issuer", "http://login.acme.example", "--client-id", "x")
    for options in (plain, (*plain, "--insecure")):
        complaint = at(*provider, "add", "acme", *options).complains()
        assert complaint == (
            "the issuer must be reached by https, and `http://login.acme.example` is plain http: write it as the "
            "provider does: https://login.acme.example"
        )
    assert "5 minutes to 24 hours" in at(*provider, "add", "acme", *ISSUER, "--session", "30d").complains()
    at(*provider, "add", "acme", *ISSUER)
    assert "is login provider `acme` already" in at(*provider, "add", "b", *ISSUER).complains()
    assert "did you mean `acme`?" in at(*provider, "show", "acne").complains()
    assert "would let everybody in" in at(*rule, "add", "acme", "--role", "owner").complains()
    assert "groups=platform" in at(*rule, "add", "acme", "--role", "owner", "--claim", "groups").complains()
    assert "is checked for every token" in at(*rule, "add", "acme", "--role", "owner", "--claim", "aud=x").complains()
    assert (
        "unknown organization"
        in at(*rule, "add", "acme", "--role", "owner", "--claim", "a=b", "--org", "nowhere").complains()
    )
    assert "unknown login rule" in at(*rule, "remove", "lgr_x").complains()
    at("operators", "add", "olga", "--role", "owner")
    assert at("operators", "readmit", "olga").out == "no login is barred by operator olga\n"
