"""Names and keys belong to whoever can show it, or was given them: an organization does not get another's prompts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from gateway.errors import GatewayError
from gateway.identity import possession, public_keys
from gateway.processes import findings, status
from gateway.registry import adoptions, publication
from gateway.registry.agents.registration import register_agent
from gateway.registry.issuers import add_issuer
from gateway.registry.keys.public_keys import add_public_key
from gateway.registry.keys.spiffe_ids import add_spiffe_id
from gateway.registry.organizations import given_names
from gateway.registry.organizations.changes import create_organization
from gateway.registry.upstreams.changes import add_upstream
from gateway.settings import load_settings
from tests.gateway.conftest import ACTOR
from tests.gateway.control.conftest import Client, Control
from tests.rigs.control.nouns import recorded

MINE = "spiffe://mine.example/bot"


@pytest.fixture
def acme(control: Control) -> Client:
    create_organization(control.home.registry, actor=ACTOR, name="acme")
    register_agent(control.home.registry, actor=ACTOR, organization="acme", name="bot")
    return control.operator("ann", organization="acme")


def test_a_public_key_needs_a_proof_that_names_its_agent(control: Control, acme: Client) -> None:
    private = public_keys.generate("p256")
    body = {"agent": "bot", "public_key": public_keys.public_pem(private.public_key())}
    assert acme("POST", "/keys/public", body).problem(422) == "proof_needed"
    deployment = acme("GET", "/me").ok()["deployment"]
    right = {"deployment": deployment, "organization": "acme", "agent": "bot"}
    for wrong in (
        {"deployment": "another"},
        {"organization": "default"},
        {"agent": "other"},
    ):
        proof = possession.prove(private, **{**right, **wrong})
        assert acme("POST", "/keys/public", body | {"proof": proof}).problem(422) == "invalid_proof", wrong
    thiefs = possession.prove(public_keys.generate("p256"), **right)
    for bad in (thiefs, "x" * 86, "!" * 86, ""):
        assert acme("POST", "/keys/public", body | {"proof": bad}).problem(422) == "invalid_proof"
    made = acme("POST", "/keys/public", body | {"proof": possession.prove(private, **right)}).ok(201)
    assert made["agent"] == "bot"
    # An operator of the whole gateway needs none, and one that is wrong is refused all the same.
    owner = control.operator("olga")
    control.home.agent("bot")
    other = {"agent": "bot", "public_key": public_keys.public_pem(public_keys.generate("ed25519").public_key())}
    assert owner("POST", "/keys/public", other | {"proof": thiefs}).problem(422) == "invalid_proof"
    owner("POST", "/keys/public", other).ok(201)


def test_names_of_the_world_are_given(control: Control, acme: Client) -> None:
    owner = control.operator("olga")
    spiffe = {"agent": "bot", "spiffe_id": "spiffe://corp.example/a/bot"}
    issuer = {"name": "ci", "issuer": "https://ci.example", "audience": "acme"}
    asked: list[tuple[str, dict[str, Any], dict[str, str]]] = [
        ("/keys/spiffe", spiffe, {"kind": "trust_domain", "name": "corp.example/a"}),
        ("/issuers", issuer, {"kind": "issuer", "name": "https://ci.example", "audience": "acme"}),
    ]
    for path, body, name in asked:
        assert acme("POST", path, body).problem(403) == "name_not_given"
        assert acme("POST", "/organizations/acme/names", name).problem(403) == "forbidden"
        given = owner("POST", "/organizations/acme/names", name).ok(201)
        assert owner("POST", "/organizations/default/names", name).problem(409) == "name_exists"
        acme("POST", path, body).ok(201)
        assert acme("DELETE", f"/organizations/acme/names/{given['id']}").problem(403) == "forbidden"
    near = spiffe | {"spiffe_id": "spiffe://corp.example/ab/bot"}
    assert acme("POST", "/keys/spiffe", near).problem(403) == "name_not_given"
    names = acme("GET", "/organizations/acme/names").ok()["items"]
    assert [each["name"] for each in names] == ["corp.example/a", "https://ci.example"]
    for each in names:
        owner("DELETE", f"/organizations/acme/names/{each['id']}", reason="over").ok()
    more = spiffe | {"spiffe_id": "spiffe://corp.example/a/other"}
    assert acme("POST", "/keys/spiffe", more).problem(403) == "name_not_given"
    # At the machine, and with one organization, nothing has to be given.
    control.home.agent("bot")
    owner("POST", "/keys/spiffe", {"agent": "bot", "spiffe_id": MINE}).ok(201)
    for name in ({"kind": "trust_domain", "name": "Corp.example"}, {"kind": "issuer", "name": "https://ci.example"}):
        assert owner("POST", "/organizations/acme/names", name).status == 422


def test_a_collision_is_told_to_both(control: Control) -> None:
    home = control.home
    create_organization(home.registry, actor=ACTOR, name="acme")
    common: dict[str, Any] = {"actor": ACTOR}
    key = public_keys.generate("ed25519").public_key()
    for organization in ("default", "acme"):
        register_agent(home.registry, organization=organization, name="bot", **common)
        add_upstream(
            home.registry, home.vault, organization=organization, name="openai", provider="openai",
            base_url="https://api.openai.com/v1", secret="x", **common,
        )  # fmt: skip

    def claim(organization: str) -> list[str]:
        """An organization registers them all."""
        mine = {**common, "organization": organization}
        codes = []
        for attempt in (
            lambda: add_public_key(home.registry, key, agent="bot", **mine),
            lambda: add_spiffe_id(home.registry, MINE, agent="bot", **mine),
            lambda: add_issuer(home.registry, name="ci", issuer="https://ci.example", audience="a", **mine),
            lambda: adoptions.start(
                home.registry, home.peppers, upstream="openai", keys=["sk-" + "shared" * 9], owner="dana",
                expires_ns=time.time_ns() + 10**15, **mine,
            ),
        ):  # fmt: skip
            try:
                attempt()
            except GatewayError as error:
                codes.append(error.code)
        return codes

    assert claim("default") == []
    assert claim("acme") == ["key_exists", "key_exists", "invalid_audience", "key_adopted"]
    claim("acme")  # makes no more entries
    publication.publish(home.registry, home.data)
    by_both = {
        organization: [
            each["contested"] for each in recorded(home, organization) if each.get("what") == "credential.contested"
        ]
        for organization in ("default", "acme")
    }
    assert by_both["default"] == by_both["acme"]
    assert len(by_both["acme"]) == 4
    assert "acme" not in repr([each for each in recorded(home) if each.get("what") == "credential.contested"])
    facts = status.look(load_settings({"data": home.data.path}))
    said = [each.message for each in findings.judge(facts, load_settings({"data": home.data.path}))]
    assert sum("`acme` claims what organization `default` has" in each for each in said) == 3
    assert given_names.given(home.registry, "acme") == []
