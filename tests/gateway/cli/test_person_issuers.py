"""`gateway issuers add-persons`, and rules by which agents act for persons."""

from __future__ import annotations

import json

import pytest

from tests.gateway.conftest import Home, Run

pytestmark = pytest.mark.slow

URL = "https://login.acme.example"
ADD = ("issuers", "add-persons", "login", "--issuer", URL, "--audience", "chat-app")


def test_an_issuer_of_persons_and_its_rules(at: Run, home: Home) -> None:
    made = at(*ADD, "--claim", "groups", "--claim", "email_domain", "--max-age", "10m", "--algorithm", "ES256")
    assert made.code == 0, made.err
    assert (
        made.out == "issuer login is trusted to say who a person is; claims that policies see: email_domain, groups\n"
    )
    (listed,) = json.loads(at("issuers", "list", "--json").out)
    kept = {name: listed[name] for name in ("purpose", "accepts", "max_age", "claims", "algorithms")}
    assert kept == {
        "purpose": "persons",
        "accepts": "id_token",
        "max_age": 600,
        "claims": ["email_domain", "groups"],
        "algorithms": ["ES256"],
    }
    assert "persons" in at("issuers", "list").out
    assert at("agents", "register", "bot").code == 0
    assert at("agents", "register", "other").code == 0
    rule = at("issuers", "rule", "add", "login", "--agent", "bot", "--claim", "groups=staff")
    assert "agent bot may act for persons whose token of login has groups=staff" in rule.out
    # Without a claim for all of them, and two agents may act for the same persons.
    assert "agent other may act for persons of login" in at("issuers", "rule", "add", "login", "--agent", "other").out
    assert at("issuers", "rule", "add", "login", "--agent", "bot").code == 0
    again = at("issuers", "rule", "add", "login", "--agent", "bot")
    assert (again.code, "has the same claims" in again.err) == (1, True)
    identifier = rule.out.split()[1].rstrip(":")
    assert "which said: agent bot may act" in at("issuers", "rule", "remove", identifier).out
    assert "its rules (2)" in at("issuers", "remove", "login").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--max-age", "30s"), "60 to 86400 seconds"),
        (("--max-age", "2d"), "60 to 86400 seconds"),
        (("--max-age", "soon"), "is not a duration"),
        (("--claim", "sub"), "`sub` need not be chosen"),
        (("--claim", "aud"), "`aud` need not be chosen"),
        (("--claim", "groups=staff"), "is not the name of a claim"),
        (("--algorithm", "HS256"), "HS256"),
        (("--token", "refresh_token"), "refresh_token"),
        (("--jwks-url", "http://login.acme.example/keys"), "reached by https"),
        (("--jwks-url", "https://a.example", "--jwks-file", "keys.json"), "exclude each other"),
    ],
)
def test_what_cannot_be_is_refused(arguments: tuple[str, ...], message: str, at: Run) -> None:
    refused = at(*ADD, *arguments)
    assert refused.code != 0
    assert message in refused.err
    assert "Traceback" not in refused.err


def test_a_rule_names_no_single_person(at: Run) -> None:
    assert at(*ADD).code == 0
    assert at("agents", "register", "bot").code == 0
    for claim in ("sub=00u1", "email=dana@acme.example"):
        refused = at("issuers", "rule", "add", "login", "--agent", "bot", "--claim", claim)
        assert (refused.code, "would name a person" in refused.err) == (1, True)
    # The same issuer for programs needs another audience.
    same = at("issuers", "add", "ci", "--issuer", URL, "--audience", "chat-app")
    assert (same.code, "is registered already" in same.err) == (1, True)
    assert at("issuers", "add", "ci", "--issuer", URL, "--audience", "gateway").code == 0
    none = at("issuers", "rule", "add", "ci", "--agent", "bot")
    assert (none.code, "a rule needs a claim" in none.err) == (1, True)
